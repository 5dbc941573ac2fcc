# SPDX-License-Identifier: Apache-2.0
"""Download of the published CAM-Seg weights with the hub's own library."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from tqdm.auto import tqdm

from camseg_core.errors import CamsegError, in_one_line
from camseg_core.system.files import sha256_of_file
from camseg_core.weights.published_format import PUBLISHED_FILES

_REPOSITORY = "mahmed10/CAM-Seg"


def fetch_published_weights(out: Path, *, endpoint: str | None = None) -> list[Path]:
    """Put the published weight files below ``out`` and return their paths, in published order.

    A file that is there already is compared with the sha256 that the server states, and not
    downloaded again. The final name only ever holds a complete file of that sha256.

    Args:
        out: Folder for the files, created if absent.
        endpoint: Base URL of the server; the library's own (``HF_ENDPOINT``) if not given.

    Raises:
        CamsegError: there is no network, the server refuses, a file cannot be written, or a file
            has another sha256 than the server states; the text says what to do by hand.
    """
    return [
        _fetch(relative_path, out / relative_path, endpoint) for relative_path in PUBLISHED_FILES
    ]


def _fetch(relative_path: str, destination: Path, endpoint: str | None) -> Path:
    name = f"pretrained_models/{relative_path}"
    url = hf_hub_url(_REPOSITORY, name, endpoint=endpoint)
    by_hand = f"or download {url} by hand and put it at {destination.absolute()}"
    try:
        metadata = get_hf_file_metadata(url, endpoint=endpoint)
        stated = metadata.etag
        if destination.exists():
            _check(destination, stated, by_hand)
            return destination
        destination.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".download-", dir=destination.parent) as folder:
            bar = _bar_that_ends(name, metadata.size)
            path = Path(
                hf_hub_download(
                    _REPOSITORY, name, local_dir=folder, endpoint=endpoint, tqdm_class=bar
                )
            )
            _check(path, stated, by_hand)
            path.replace(destination)
    except CamsegError:
        raise
    except Exception as error:  # the library's HTTP client has errors of its own
        raise CamsegError(
            f"cannot fetch {relative_path}: {in_one_line(error)}; run this command again, {by_hand}"
        ) from error
    return destination


def _bar_that_ends(name: str, size: int | None) -> type[tqdm[Any]]:
    """Return the library's progress bar, which ends a download beyond the size that was stated.

    The library itself compares sizes when all is there: a server may fill the disk until then.
    """

    class Bar(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
        bytes_seen = 0

        def update(self, n: float | None = 1) -> bool | None:
            self.bytes_seen += int(n or 0)
            if size is not None and self.bytes_seen > size:
                raise CamsegError(f"{name} is longer than the {size} bytes that the server states")
            return super().update(n)

    return Bar


def _check(path: Path, stated: str | None, by_hand: str) -> None:
    actual = sha256_of_file(path)
    if actual != stated:
        raise CamsegError(
            f"{path} has sha256 {actual}, not {stated} as the server states: delete it if it is "
            f"still there and run this command again, {by_hand}"
        )
