# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent: write beside, fsync, rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from camseg_core.errors import CamsegError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it becomes ``path``, on error it vanishes.

    The temporary name keeps the suffix of ``path``, because writers choose a format by it.

    Raises:
        CamsegError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CamsegError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a reader finds the old file or the whole new one.

    Raises:
        CamsegError: the folder cannot be written, or the disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
