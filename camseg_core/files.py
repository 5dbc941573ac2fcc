# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent (write beside, fsync, rename), and their hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from camseg_core.errors import CamsegError

# There is no other way to ask for the mask; at import no other thread makes files meanwhile.
_UMASK = os.umask(0o077)
os.umask(_UMASK)
NEW_FILE_MODE = 0o666 & ~_UMASK
"""Permissions that the user's shell gives a new file."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it becomes ``path``, on error it vanishes.

    The temporary name keeps the suffix of ``path``, because writers choose a format by it.

    Raises:
        CamsegError: the folder cannot be written, or the disk is full.
    """
    if not path.name:
        raise CamsegError(f"cannot write {path}: that is a folder, a file name is needed")
    suffix = path.suffix if len(path.suffix) < 32 else ""
    temporary = path.parent / f".{uuid4().hex}{suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(NEW_FILE_MODE)  # safetensors would let nobody else read its files
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


def sha256_of_file(path: Path) -> str:
    """Give the sha256 of the bytes of ``path`` as 64 lower-case hexadecimal digits.

    Raises:
        CamsegError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()
