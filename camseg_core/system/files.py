# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent (write beside, fsync, rename), and their hashes."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import yaml

from camseg_core.errors import CamsegError

MOST_ALIASES = 20
"""Number of aliases that a YAML file may have. Nested ones multiply: a file of 400 bytes can stand
for more than a machine can hold."""


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, which alone lets the last of two equal keys win and aliases multiply."""

    aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MOST_ALIASES:
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                text = f"more than {MOST_ALIASES} aliases"
                raise yaml.composer.ComposerError(None, None, text, mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file; a pipe or a device might never end.

    Raises:
        CamsegError: the file cannot be read.
    """
    try:
        check_is_regular(path)
        return path.read_bytes()
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error


def check_is_regular(path: Path) -> None:
    """Refuse a pipe, a device or a socket, which might never end.

    Raises:
        CamsegError: it is one.
        OSError: there is nothing.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # of a folder, reading tells what is wrong
        raise CamsegError(f"cannot read {path}: it is no regular file")


def read_yaml(path: Path) -> Any:
    """Read a YAML file as plain data.

    Raises:
        CamsegError: unreadable, no YAML, or a key stands twice; with the line where it is known.
    """
    return parse_yaml(read_bytes(path), str(path))


def parse_yaml(content: bytes | str, source: str) -> Any:
    """Read YAML as plain data; ``source`` begins the message of an error.

    Raises:
        CamsegError: see `read_yaml`.
    """
    try:
        return _StrictLoader(content).get_single_data()
    # Besides its own errors: bad encodings, keys that are lists, senseless dates, endless nesting.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise CamsegError(f"{source}{line}: not YAML: {reason}") from error


# There is no other way to ask for the mask; at import no other thread makes files meanwhile.
_UMASK = os.umask(0o077)
os.umask(_UMASK)
NEW_FILE_MODE = 0o666 & ~_UMASK
"""Permissions that the user's shell gives a new file."""


TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}(\.\w+)?")
"""Names of what is written beside its place, and of what a killed process left of it."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside ``path``: on success it is renamed to ``path``, else removed.

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


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Lend an empty folder beside ``path``: on success it is renamed to ``path``, else removed.

    Raises:
        CamsegError: there is something at ``path`` already, other than an empty folder; the folder
            above cannot be written, or the disk is full.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise CamsegError(f"{path} is not empty; an absent or empty folder is needed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".", dir=path.parent) as home:
            folder = Path(home) / "folder"
            folder.mkdir()
            yield folder
            for file in folder.iterdir():
                with file.open("rb+") as written:
                    os.fsync(written.fileno())
            folder.replace(path)
    except OSError as error:
        raise CamsegError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a reader finds the old file or the whole new one.

    Raises:
        CamsegError: the folder cannot be written, or the disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of the bytes of ``path`` as 64 lower-case hexadecimal digits.

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
