# SPDX-License-Identifier: Apache-2.0
"""Download of the published CAM-Seg weights: resumable, verified, whole or absent."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3 import Retry

from camseg_core.errors import CamsegError
from camseg_core.system.files import sha256_of_file


class PublishedFile(NamedTuple):
    """One published weight file.

    ``name`` is what the user calls it, ``relative_path`` where it lies below the output folder
    (and below ``pretrained_models`` in the repository).
    """

    name: str
    relative_path: str


PUBLISHED_FILES = (
    PublishedFile("city768.16.pth", "mar/city768.16.pth"),
    PublishedFile("modelf16.ckpt", "vae/modelf16.ckpt"),
)

_REPOSITORY = "mahmed10/CAM-Seg"
_DEFAULT_ENDPOINT = "https://huggingface.co"
_CHUNK_BYTES = 256 * 1024
_TIMEOUT_SECONDS = (10, 60)  # to connect, between two received bytes
_SHA256 = re.compile(r"[0-9a-f]{64}")
# A server's Retry-After may be hours: the user can run the command again instead.
_RETRY = Retry(
    total=3,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    raise_on_status=False,
    respect_retry_after_header=False,
)


def fetch_published_weights(
    out: Path, *, sha256: Mapping[str, str] | None = None, endpoint: str | None = None
) -> list[Path]:
    """Put the published weight files below ``out`` and return their paths, in published order.

    A file that is there already is verified and not downloaded again. A download goes to a
    ``.part`` file beside the final one, which a later call continues; the final name only ever
    holds a complete, verified file.

    Args:
        out: folder for the files, created if absent.
        sha256: expected sha256 (64 hexadecimal digits) by file name. It wins over the one that
            the server states, and lets a file that is there be verified without a network.
        endpoint: base URL of the server; by default the environment's ``HF_ENDPOINT``, or else
            ``https://huggingface.co``.

    Raises:
        CamsegError: bad argument, no network or the server refuses (the text then says what to
            do by hand), broken connection, wrong sha256, or a file that cannot be written.
    """
    given_hashes = _checked_hashes(sha256 or {})
    base = (endpoint or os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT).rstrip("/")
    destinations = []
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=_RETRY))
        session.mount("https://", HTTPAdapter(max_retries=_RETRY))
        for published in PUBLISHED_FILES:
            destination = out / published.relative_path
            url = _url(base, "resolve", published)
            try:
                _fetch_one(session, url, destination, given_hashes.get(published.name))
            except requests.RequestException as error:
                raise CamsegError(_by_hand(base, out, error)) from error
            except OSError as error:
                raise CamsegError(
                    f"cannot write {destination}: {error.strerror or error}; "
                    "free or change the folder, then run this command again"
                ) from error
            destinations.append(destination)
    return destinations


def _fetch_one(session: requests.Session, url: str, destination: Path, given: str | None) -> None:
    if given is not None and destination.exists():
        _verify_present(destination, given, "given")
        return
    with _get(session, url, "bytes=0-0") as response:
        stated, total = _stated_sha256(response), _total_bytes(response)
    expected, source = (given, "given") if given is not None else (stated, "stated by the server")
    if expected is None:
        raise CamsegError(
            f"{url} states no sha256 and none was given, so {destination} cannot be verified; "
            f"run this command again with --sha256 {destination.name}=HEX"
        )
    if destination.exists():
        _verify_present(destination, expected, source)
        return

    destination.parent.mkdir(parents=True, exist_ok=True)
    # Named after the content it belongs to, so that parts of two versions are never joined.
    part = destination.with_name(f"{destination.name}.{(stated or expected)[:16]}.part")
    for stale in destination.parent.glob(f"{destination.name}.*.part"):
        if stale != part:
            stale.unlink()
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CamsegError(f"another process is downloading {part}; wait for it") from error
        _append_rest(session, url, file, total)
        file.flush()
        os.fsync(file.fileno())
        actual = sha256_of_file(part)
        if actual != expected:
            # Whole by the server's own hash: kept, so that a corrected --sha256 needs no download.
            if actual != stated:
                part.unlink()
            raise CamsegError(
                f"the download of {destination.name} has sha256 {actual}, not {expected} "
                f"({source}), so {destination} was not written; the server states {stated}: "
                "check the given value, or run this command again"
            )
        part.replace(destination)


def _append_rest(session: requests.Session, url: str, file: BinaryIO, total: int | None) -> None:
    """Append to the part ``file`` what it lacks of the ``total`` bytes at ``url``."""
    have = file.seek(0, os.SEEK_END)
    if total is None or have > total:  # nothing to measure the part by, or not a part of this
        have = file.truncate(0)
    if have == total:
        return
    with _get(session, url, f"bytes={have}-" if have else None) as response:
        if have and response.status_code != requests.codes.partial_content:
            have = file.truncate(0)  # a server without ranges sends the whole file
        name = Path(url).name
        with tqdm(
            desc=name, total=total, initial=have, unit="B", unit_scale=True, disable=None
        ) as bar:
            try:
                for chunk in response.iter_content(_CHUNK_BYTES):
                    file.write(chunk)
                    have += len(chunk)
                    bar.update(len(chunk))
                # Older urllib3 takes a body that ends early for a whole one.
                cut_off = total is not None and have < total
            except requests.RequestException:
                cut_off = True
    if cut_off:
        raise CamsegError(
            f"the connection broke after {have} of {total or 'unknown'} bytes of {name}; "
            f"they are kept in {file.name}: run this command again to go on from there"
        )


def _get(session: requests.Session, url: str, byte_range: str | None) -> requests.Response:
    # A compressed body would make neither lengths nor ranges those of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": byte_range} if byte_range else {})
    response = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS)
    response.raise_for_status()
    return response


def _stated_sha256(response: requests.Response) -> str | None:
    # The hub states it on its redirect. The storage that it redirects to has an ETag of 64 digits
    # too, but that is another kind of hash: an ETag counts only where there was no redirect.
    hops = [*response.history, response]
    stated = [hop.headers["X-Linked-Etag"] for hop in hops if "X-Linked-Etag" in hop.headers]
    etag = stated[0] if stated else "" if response.history else response.headers.get("ETag", "")
    value = etag.removeprefix("W/").strip('"').lower()
    return value if _SHA256.fullmatch(value) else None


def _total_bytes(response: requests.Response) -> int | None:
    if response.status_code == requests.codes.partial_content:
        length = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _verify_present(path: Path, expected: str, source: str) -> None:
    actual = sha256_of_file(path)
    if actual != expected:
        raise CamsegError(
            f"{path} is there but has sha256 {actual}, not {expected} ({source}); "
            "move it away or delete it, then run this command again"
        )


def _checked_hashes(sha256: Mapping[str, str]) -> dict[str, str]:
    names = [published.name for published in PUBLISHED_FILES]
    checked = {}
    for name, value in sha256.items():
        if name not in names:
            raise CamsegError(f"sha256 given for {name!r}; the files are {' and '.join(names)}")
        checked[name] = value.strip().lower()
        if not _SHA256.fullmatch(checked[name]):
            raise CamsegError(
                f"sha256 {value!r} given for {name} is not 64 hexadecimal digits: correct it"
            )
    return checked


def _url(base: str, view: str, published: PublishedFile) -> str:
    return f"{base}/{_REPOSITORY}/{view}/main/pretrained_models/{published.relative_path}"


def _by_hand(base: str, out: Path, error: requests.RequestException) -> str:
    cause: BaseException = error  # its root is what a user can act on: "Connection refused"
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    lines = [f"cannot fetch the published weights from {base}: {cause}", "To do it by hand:"]
    for published in PUBLISHED_FILES:
        path = (out / published.relative_path).absolute()
        lines += [
            f"  download  {_url(base, 'resolve', published)}",
            f"  to        {path}",
            f"  check     sha256sum {shlex.quote(str(path))}",
            f"  against   the SHA256 shown on {_url(base, 'blob', published)}",
        ]
    return "\n".join(lines)
