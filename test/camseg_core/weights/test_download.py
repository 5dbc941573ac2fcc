# SPDX-License-Identifier: Apache-2.0
"""The download of the published weights, over real HTTP against a server on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm  # type: ignore[import-untyped]

from camseg_core.errors import CamsegError
from camseg_core.weights import download as fetch_weights
from camseg_core.weights.download import PUBLISHED_FILES, fetch_published_weights

MODEL = "mar/city768.16.pth"
AUTOENCODER = "vae/modelf16.ckpt"
RESOLVE = "/mahmed10/CAM-Seg/resolve/main/pretrained_models/"
STORAGE = "/storage/"
ASK = "bytes=0-0"


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class HubServer(ThreadingHTTPServer):
    """Answers as the hub does: a redirect that states the sha256, to a storage with ranges."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.contents = {
            MODEL: random.Random(1).randbytes(3 * 256 * 1024 + 1234),
            AUTOENCODER: random.Random(2).randbytes(5678),
        }
        self.stated: dict[str, str | None] = {}  # by default the true one
        self.redirects = True
        self.ranges = True
        self.lengths = True
        self.cut_after: int | None = None  # bytes of the next download, then the line is cut
        self.statuses: list[int] = []  # of the next answers
        self.storage_requests: list[tuple[str, str | None]] = []  # relative path, Range

    def stated_sha256(self, relative_path: str) -> str | None:
        return self.stated.get(relative_path, sha256_of(self.contents[relative_path]))

    def downloads(self) -> list[tuple[str, str | None]]:
        """Return and forget the requests for content, without those that only ask the length."""
        seen, self.storage_requests = self.storage_requests, []
        return [request for request in seen if request[1] != ASK]


class HubHandler(BaseHTTPRequestHandler):
    server: HubServer

    def do_GET(self) -> None:
        if self.server.statuses:
            self.answer(self.server.statuses.pop(0), {})
        elif self.path.startswith(STORAGE):
            # Storage ETags look like a sha256 and are none.
            self.send_content(self.path.removeprefix(STORAGE), "e" * 64)
        elif (relative_path := self.path.removeprefix(RESOLVE)) not in self.server.contents:
            self.answer(404, {})
        elif self.server.redirects:
            headers = {"Location": STORAGE + relative_path}
            if stated := self.server.stated_sha256(relative_path):
                headers["X-Linked-Etag"] = f'"{stated}"'
            self.answer(302, headers)
        else:
            self.send_content(relative_path, self.server.stated_sha256(relative_path))

    def answer(self, status: int, headers: dict[str, str], length: int | None = 0) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def send_content(self, relative_path: str, etag: str | None) -> None:
        content = self.server.contents[relative_path]
        asked = self.headers["Range"]
        self.server.storage_requests.append((relative_path, asked))
        headers = {"ETag": f'"{etag}"'} if etag else {}
        body, status = content, 200
        if asked and self.server.ranges:
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", asked).groups()  # type: ignore[union-attr]
            end = int(last) + 1 if last else len(content)
            if int(first) >= len(content):
                self.answer(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            body, status = content[int(first) : end], 206
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
        self.answer(status, headers, len(body) if self.server.lengths else None)
        if asked != ASK and self.server.cut_after is not None:
            body, self.server.cut_after = body[: self.server.cut_after], None
        with suppress(ConnectionError):  # the client read the headers only, or was killed
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setattr(fetch_weights, "_RETRY", fetch_weights._RETRY.new(backoff_factor=0))


@pytest.fixture
def dead_endpoint() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def only_part(out: Path) -> Path:
    (part,) = out.rglob("*.part")
    return part


def put(out: Path, relative_path: str, content: bytes) -> Path:
    path = out / relative_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def assert_complete(out: Path, hub: HubServer) -> None:
    assert files_below(out) == [MODEL, AUTOENCODER]
    for relative_path, content in hub.contents.items():
        assert (out / relative_path).read_bytes() == content


def test_fresh_download(hub: HubServer, tmp_path: Path) -> None:
    out = tmp_path / "new" / "pretrained_models"
    paths = fetch_published_weights(out, endpoint=hub.endpoint)
    assert paths == [out / MODEL, out / AUTOENCODER]
    assert_complete(out, hub)
    assert hub.downloads() == [(MODEL, None), (AUTOENCODER, None)]


def test_published_files() -> None:
    assert [tuple(published) for published in PUBLISHED_FILES] == [
        ("city768.16.pth", MODEL),
        ("modelf16.ckpt", AUTOENCODER),
    ]


@pytest.mark.parametrize("lengths", [True, False])
def test_cut_off_download_is_resumed(hub: HubServer, tmp_path: Path, lengths: bool) -> None:
    hub.lengths = lengths  # without one, the end of the connection looks like the end of the file
    total = len(hub.contents[MODEL])
    hub.cut_after = total - 1000
    with pytest.raises(CamsegError, match="run this command again to go on") as raised:
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    part = only_part(tmp_path)
    have = part.stat().st_size
    assert 0 < have <= total - 1000
    assert f"broke after {have} of {total} bytes of city768.16.pth" in str(raised.value)
    assert str(part) in str(raised.value)
    assert part.read_bytes() == hub.contents[MODEL][:have]
    assert part.parent == tmp_path / "mar"
    assert not (tmp_path / MODEL).exists()
    assert hub.downloads() == [(MODEL, None)]

    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.downloads() == [(MODEL, f"bytes={have}-"), (AUTOENCODER, None)]
    assert_complete(tmp_path, hub)


def test_killed_download_is_resumed(hub: HubServer, tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from camseg_core import fetch_weights

class KillingBar(fetch_weights.tqdm):
    def update(self, n=1):
        os.kill(os.getpid(), signal.SIGKILL)

fetch_weights.tqdm = KillingBar
fetch_weights.fetch_published_weights(Path(sys.argv[1]), endpoint=sys.argv[2])
"""
    repository = Path(fetch_weights.__file__).parents[2]
    finished = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), hub.endpoint],
        env=os.environ | {"PYTHONPATH": str(repository)},
        check=False,
        timeout=60,
    )
    assert finished.returncode == -signal.SIGKILL
    have = only_part(tmp_path).stat().st_size
    assert have == 256 * 1024
    assert files_below(tmp_path) == [str(only_part(tmp_path).relative_to(tmp_path))]
    hub.downloads()

    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.downloads() == [(MODEL, f"bytes={have}-"), (AUTOENCODER, None)]
    assert_complete(tmp_path, hub)


def test_bar_starts_where_the_part_ends(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[Any] = []

    class RecordedBar(tqdm):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options | {"disable": False})
            bars.append(self)

    monkeypatch.setattr(fetch_weights, "tqdm", RecordedBar)
    hub.cut_after = 2 * 256 * 1024
    with pytest.raises(CamsegError, match="connection broke"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    total = len(hub.contents[MODEL])
    assert [(bar.desc, bar.initial, bar.n, bar.total) for bar in bars] == [
        ("city768.16.pth", 0, 2 * 256 * 1024, total),
        ("city768.16.pth", 2 * 256 * 1024, total, total),
        ("modelf16.ckpt", 0, 5678, 5678),
    ]


def test_changed_file_is_not_joined_with_the_old_part(hub: HubServer, tmp_path: Path) -> None:
    hub.cut_after = 2 * 256 * 1024
    with pytest.raises(CamsegError, match="connection broke"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    hub.contents[MODEL] = random.Random(3).randbytes(len(hub.contents[MODEL]))
    hub.downloads()
    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.downloads() == [(MODEL, None), (AUTOENCODER, None)]
    assert_complete(tmp_path, hub)


def test_changed_file_behind_an_unchanged_hash_is_refused(hub: HubServer, tmp_path: Path) -> None:
    old, new = hub.contents[MODEL], random.Random(3).randbytes(len(hub.contents[MODEL]))
    hub.stated[MODEL] = sha256_of(old)
    hub.cut_after = 2 * 256 * 1024
    with pytest.raises(CamsegError, match="connection broke"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    hub.contents[MODEL] = new
    mixed = sha256_of(old[: 2 * 256 * 1024] + new[2 * 256 * 1024 :])
    with pytest.raises(CamsegError, match=f"has sha256 {mixed}, not {sha256_of(old)}"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert files_below(tmp_path) == []


def test_server_without_ranges_sends_the_whole_file(hub: HubServer, tmp_path: Path) -> None:
    hub.ranges = False
    hub.cut_after = 2 * 256 * 1024
    with pytest.raises(CamsegError, match="connection broke"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    hub.downloads()
    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.downloads() == [(MODEL, f"bytes={2 * 256 * 1024}-"), (AUTOENCODER, None)]
    assert_complete(tmp_path, hub)


def test_server_without_lengths_is_asked_for_the_whole_file(hub: HubServer, tmp_path: Path) -> None:
    hub.ranges = hub.lengths = False
    put(tmp_path, f"{MODEL}.{sha256_of(hub.contents[MODEL])[:16]}.part", hub.contents[MODEL])
    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.downloads() == [(MODEL, None), (AUTOENCODER, None)]
    assert_complete(tmp_path, hub)


def test_part_longer_than_the_file_is_discarded(hub: HubServer, tmp_path: Path) -> None:
    content = hub.contents[MODEL]
    put(tmp_path, f"{MODEL}.{sha256_of(content)[:16]}.part", content + b"x")
    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.downloads() == [(MODEL, None), (AUTOENCODER, None)]
    assert_complete(tmp_path, hub)


def test_damaged_part_is_found_and_discarded(hub: HubServer, tmp_path: Path) -> None:
    content = hub.contents[MODEL]
    part = put(tmp_path, f"{MODEL}.{sha256_of(content)[:16]}.part", bytes(1000))
    damaged = sha256_of(bytes(1000) + content[1000:])
    with pytest.raises(CamsegError, match=f"sha256 {damaged}, not {sha256_of(content)}"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert not part.exists()
    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert_complete(tmp_path, hub)


def test_wrong_hash_of_the_server(hub: HubServer, tmp_path: Path) -> None:
    hub.stated[MODEL] = "0" * 64
    actual = sha256_of(hub.contents[MODEL])
    expected_text = f"sha256 {actual}, not {'0' * 64} \\(stated by the server\\)"
    with pytest.raises(CamsegError, match=expected_text):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert files_below(tmp_path) == []


def test_wrong_given_hash_then_right_one_downloads_once(hub: HubServer, tmp_path: Path) -> None:
    actual = sha256_of(hub.contents[MODEL])
    with pytest.raises(CamsegError) as raised:
        fetch_published_weights(
            tmp_path, sha256={"city768.16.pth": "1" * 64}, endpoint=hub.endpoint
        )
    assert f"sha256 {actual}, not {'1' * 64} (given)" in str(raised.value)
    assert f"the server states {actual}" in str(raised.value)
    assert not (tmp_path / MODEL).exists()
    assert hub.downloads() == [(MODEL, None)]

    fetch_published_weights(tmp_path, sha256={"city768.16.pth": actual}, endpoint=hub.endpoint)
    assert hub.downloads() == [(AUTOENCODER, None)]
    assert_complete(tmp_path, hub)


@pytest.mark.parametrize("stated", ["0" * 64, None])
def test_given_hash_wins_over_the_stated_one(
    hub: HubServer, tmp_path: Path, stated: str | None
) -> None:
    hub.stated[MODEL] = stated
    given = sha256_of(hub.contents[MODEL]).upper()
    fetch_published_weights(tmp_path, sha256={"city768.16.pth": given}, endpoint=hub.endpoint)
    assert_complete(tmp_path, hub)


def test_etag_of_a_server_that_does_not_redirect_is_the_hash(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.redirects = False
    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert_complete(tmp_path, hub)
    hub.stated[MODEL] = "0" * 64
    with pytest.raises(CamsegError, match=f"not {'0' * 64} "):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)


def test_no_hash_at_all_is_refused_before_the_download(hub: HubServer, tmp_path: Path) -> None:
    hub.stated[MODEL] = None
    with pytest.raises(CamsegError, match=r"again with --sha256 city768\.16\.pth=HEX"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.downloads() == []
    assert files_below(tmp_path) == []


def test_files_that_are_there_are_not_downloaded_again(hub: HubServer, tmp_path: Path) -> None:
    for relative_path, content in hub.contents.items():
        put(tmp_path, relative_path, content)
    before = [(tmp_path / path).stat().st_mtime_ns for path in hub.contents]
    assert fetch_published_weights(tmp_path, endpoint=hub.endpoint) == [
        tmp_path / MODEL,
        tmp_path / AUTOENCODER,
    ]
    assert hub.downloads() == []
    assert [(tmp_path / path).stat().st_mtime_ns for path in hub.contents] == before
    assert_complete(tmp_path, hub)


def test_given_hashes_verify_without_a_network(
    hub: HubServer, tmp_path: Path, dead_endpoint: str
) -> None:
    hashes = {}
    for published in PUBLISHED_FILES:
        content = hub.contents[published.relative_path]
        put(tmp_path, published.relative_path, content)
        hashes[published.name] = sha256_of(content)
    assert fetch_published_weights(tmp_path, sha256=hashes, endpoint=dead_endpoint) == [
        tmp_path / MODEL,
        tmp_path / AUTOENCODER,
    ]


@pytest.mark.parametrize("given", [None, "2" * 64])
def test_wrong_file_that_is_there_is_reported_and_kept(
    hub: HubServer, tmp_path: Path, given: str | None
) -> None:
    path = put(tmp_path, MODEL, b"another model")
    sha256 = {} if given is None else {"city768.16.pth": given}
    expected = given or sha256_of(hub.contents[MODEL])
    with pytest.raises(CamsegError, match="move it away or delete it") as raised:
        fetch_published_weights(tmp_path, sha256=sha256, endpoint=hub.endpoint)
    text = f"{path} is there but has sha256 {sha256_of(b'another model')}, not {expected} "
    assert str(raised.value).startswith(text)
    assert path.read_bytes() == b"another model"
    assert hub.downloads() == []


def assert_by_hand(text: str, endpoint: str, out: Path) -> None:
    for relative_path in (MODEL, AUTOENCODER):
        assert f"download  {endpoint}{RESOLVE}{relative_path}\n" in text
        assert f"to        {out / relative_path}\n" in text
        assert f"check     sha256sum {out / relative_path}\n" in text
        page = f"{endpoint}/mahmed10/CAM-Seg/blob/main/pretrained_models/{relative_path}"
        assert f"against   the SHA256 shown on {page}" in text


def test_nothing_listening_says_what_to_do_by_hand(
    tmp_path: Path, dead_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CamsegError) as raised:
        fetch_published_weights(Path("pretrained_models"), endpoint=f"{dead_endpoint}/")
    first_line = str(raised.value).splitlines()[0]
    assert first_line.startswith(f"cannot fetch the published weights from {dead_endpoint}: ")
    assert first_line.endswith("Connection refused")
    assert_by_hand(str(raised.value), dead_endpoint, tmp_path / "pretrained_models")
    assert files_below(tmp_path) == []


def test_missing_on_the_server_says_what_to_do_by_hand(hub: HubServer, tmp_path: Path) -> None:
    del hub.contents[MODEL]
    with pytest.raises(CamsegError, match="404 Client Error: Not Found") as raised:
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert_by_hand(str(raised.value), hub.endpoint, tmp_path)
    assert files_below(tmp_path) == []


def test_endpoint_of_the_environment(
    hub: HubServer, tmp_path: Path, dead_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    fetch_published_weights(tmp_path)
    assert_complete(tmp_path, hub)
    with pytest.raises(CamsegError, match=f"from {dead_endpoint}: "):
        fetch_published_weights(tmp_path, endpoint=dead_endpoint)


def test_busy_server_is_asked_again(hub: HubServer, tmp_path: Path) -> None:
    hub.statuses = [503, 429, 500]
    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.statuses == []
    assert_complete(tmp_path, hub)


def test_server_that_stays_busy_is_given_up(hub: HubServer, tmp_path: Path) -> None:
    hub.statuses = [503] * 5
    with pytest.raises(CamsegError, match="503 Server Error: Service Unavailable"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.statuses == [503]


def test_two_downloads_at_once_are_refused(hub: HubServer, tmp_path: Path) -> None:
    part = put(tmp_path, f"{MODEL}.{sha256_of(hub.contents[MODEL])[:16]}.part", b"")
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CamsegError, match=f"another process is downloading {part}"):
            fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.downloads() == []


def test_folder_that_cannot_be_made(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "mar").write_text("in the way")
    with pytest.raises(CamsegError, match=f"cannot write {tmp_path / MODEL}: File exists"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)


@pytest.mark.parametrize(
    ("sha256", "message"),
    [
        (
            {"city.pth": "0" * 64},
            r"'city\.pth'; the files are city768\.16\.pth and modelf16\.ckpt$",
        ),
        ({"modelf16.ckpt": "0" * 63}, f"'{'0' * 63}' given for modelf16.ckpt is not 64 hexa"),
        ({"modelf16.ckpt": "g" * 64}, f"'{'g' * 64}' given for modelf16.ckpt is not 64 hexa"),
    ],
)
def test_bad_given_hashes(tmp_path: Path, sha256: dict[str, str], message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        fetch_published_weights(tmp_path, sha256=sha256)
