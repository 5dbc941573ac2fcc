# SPDX-License-Identifier: Apache-2.0
"""The download of the published weights, over real HTTP against a server on this machine."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from camseg_core.errors import CamsegError
from camseg_core.weights.download import fetch_published_weights
from camseg_core.weights.published_format import PUBLISHED_FILES

MODEL, AUTOENCODER = PUBLISHED_FILES
RESOLVE = "/mahmed10/CAM-Seg/resolve/main/pretrained_models/"
STORAGE = "/storage/"


class HubServer(ThreadingHTTPServer):
    """Answers as the hub does: a redirect that states the sha256, to a storage with ranges."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.contents = {
            MODEL: random.Random(1).randbytes(200_000),
            AUTOENCODER: random.Random(2).randbytes(5678),
        }
        self.stated: dict[str, str] = {}  # by default the true one
        self.cut_after: int | None = None  # bytes of the next download, then the line is cut
        self.never_ends = False  # the next download goes on until the line is cut
        self.downloads: list[tuple[str, str | None]] = []  # relative path, Range


class HubHandler(BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        relative_path = self.path.removeprefix(STORAGE).removeprefix(RESOLVE)
        content = self.server.contents.get(relative_path)
        if content is None:
            self.answer(404, {"Content-Length": "0", "X-Error-Code": "EntryNotFound"})
        elif self.path.startswith(RESOLVE):
            digest = hashlib.sha256(content).hexdigest()
            headers = {
                # Another host, as the hub has it: the library stops there to read these headers.
                "Location": f"http://localhost:{self.server.server_port}{STORAGE}{relative_path}",
                "X-Repo-Commit": "c" * 40,
                "X-Linked-Etag": f'"{self.server.stated.get(relative_path, digest)}"',
                "X-Linked-Size": str(len(content)),
                "Content-Length": "0",
            }
            self.answer(302, headers)
        else:
            self.send_content(relative_path, content)

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_content(self, relative_path: str, content: bytes) -> None:
        asked = self.headers["Range"]
        self.server.downloads.append((relative_path, asked))
        if self.server.never_ends:
            self.answer(200, {"Connection": "close"})
            with suppress(ConnectionError):
                while True:
                    self.wfile.write(content)
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        headers = {"Content-Length": str(len(content) - first)}
        if asked:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.answer(206 if asked else 200, headers)
        with suppress(ConnectionError):
            self.wfile.write(content[first:][: self.server.cut_after])
        self.server.cut_after = None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def assert_complete(out: Path, hub: HubServer) -> None:
    files = [str(path.relative_to(out)) for path in sorted(out.rglob("*")) if path.is_file()]
    assert files == [MODEL, AUTOENCODER]
    for relative_path, content in hub.contents.items():
        assert (out / relative_path).read_bytes() == content


def test_fresh_download(hub: HubServer, tmp_path: Path) -> None:
    out = tmp_path / "new" / "pretrained_models"
    assert fetch_published_weights(out, endpoint=hub.endpoint) == [out / MODEL, out / AUTOENCODER]
    assert_complete(out, hub)
    assert hub.downloads == [(MODEL, None), (AUTOENCODER, None)]


def test_files_that_are_there_are_compared_and_not_downloaded_again(
    hub: HubServer, tmp_path: Path
) -> None:
    for relative_path, content in hub.contents.items():
        put(tmp_path / relative_path, content)
    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.downloads == []
    assert_complete(tmp_path, hub)


def test_a_download_that_was_cut_off_is_continued(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the library's own attempts
    hub.cut_after = 30_000
    fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert hub.downloads == [(MODEL, None), (MODEL, "bytes=30000-"), (AUTOENCODER, None)]
    assert_complete(tmp_path, hub)


def test_a_download_ends_at_the_size_that_was_stated(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.never_ends = True
    with pytest.raises(CamsegError, match="is longer than the 200000 bytes that the server states"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_another_file_of_that_name_is_reported_and_kept(hub: HubServer, tmp_path: Path) -> None:
    path = put(tmp_path / MODEL, b"another model")
    with pytest.raises(CamsegError, match=f"^{path} has sha256 .*: delete it") as caught:
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"another model"
    assert hub.downloads == []


def test_a_download_with_another_hash_is_not_kept(hub: HubServer, tmp_path: Path) -> None:
    hub.stated[MODEL] = "0" * 64
    with pytest.raises(CamsegError, match=f"has sha256 .*, not {'0' * 64} as the server states"):
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def assert_by_hand(error: CamsegError, endpoint: str, out: Path) -> None:
    text = str(error)
    assert text.startswith(f"cannot fetch {MODEL}: ")
    assert text.endswith(f"download {endpoint}{RESOLVE}{MODEL} by hand and put it at {out / MODEL}")
    assert "\n" not in text


def test_what_is_missing_on_the_server_is_said_with_what_to_do_by_hand(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del hub.contents[MODEL]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CamsegError) as caught:
        fetch_published_weights(Path("weights"), endpoint=hub.endpoint)
    assert "404" in str(caught.value)
    assert_by_hand(caught.value, hub.endpoint, tmp_path / "weights")


def test_offline_is_said_with_what_to_do_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(CamsegError, match="offline mode is enabled") as caught:
        fetch_published_weights(tmp_path, endpoint=endpoint)
    assert_by_hand(caught.value, endpoint, tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(hub: HubServer, tmp_path: Path) -> None:
    put(tmp_path / "mar", b"in the way")
    with pytest.raises(CamsegError, match=r"FileExistsError.*put it at ") as caught:
        fetch_published_weights(tmp_path, endpoint=hub.endpoint)
    assert_by_hand(caught.value, hub.endpoint, tmp_path)
