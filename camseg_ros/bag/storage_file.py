# SPDX-License-Identifier: Apache-2.0
"""Open one file of a bag: with the rosbags library if it is whole, else up to the damage."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import zstandard
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from camseg_core.errors import CamsegError, in_one_line
from camseg_ros.bag.contents import BagFile, BagMessage, BagTopic, described_type, merge_topics
from camseg_ros.bag.damaged_mcap import DamagedMcap, has_full_index
from camseg_ros.bag.damaged_sqlite import (
    DamagedSqlite,
    copy_whole_pages,
    copy_with_journals,
    find_journals,
    is_cut_off,
)
from camseg_ros.bag.serialization import UnreadableMessageError, Wire, decompressed

MCAP, SQLITE, ZSTD = ".mcap", ".db3", ".zstd"
ROS1_SUFFIXES = (".bag", ".active")
"""Suffixes of ROS 1 bags; a recorder that is not done yet writes ``.bag.active``."""

ROS1_MAGIC = b"#ROSBAG V2.0"

URI_CHARACTERS = "#?%"
"""Characters that the library does not escape in the path of a SQLite file."""


def is_storage(path: Path) -> bool:
    """Return whether a name is that of a rosbag2 file, compressed as a whole or not."""
    suffix = Path(path.stem).suffix if path.suffix == ZSTD else path.suffix
    return suffix in (MCAP, SQLITE)


def open_storage(path: Path, stack: ExitStack) -> tuple[BagFile, str]:
    """Open one file according to its suffix.

    Args:
        path: Path to the file.
        stack: Stack that closes the file, and removes temporary copies of it.

    Returns:
        The file, and a short description of its damage, which is empty for a whole one.

    Raises:
        CamsegError: The suffix is unknown, or the file is a ROS 1 bag without an index.
        OSError: The file cannot be read.
    """
    if path.suffix == MCAP:
        return _open_mcap(path, stack)
    if path.suffix == SQLITE:
        return _open_sqlite(path, stack)
    if path.suffix in ROS1_SUFFIXES:
        return _open_rosbag1(path, stack)
    if is_storage(path):
        return _open_decompressed(path, stack)
    raise CamsegError(
        f"{path} is not a bag: a folder, or a file that ends in {MCAP}, {SQLITE}, {MCAP}{ZSTD}, "
        f"{SQLITE}{ZSTD} or {ROS1_SUFFIXES[0]} is needed"
    )


class WholeFile:
    """A `BagFile` that the rosbags library reads."""

    def __init__(self, reader: Any, wire: Wire, stack: ExitStack, advice: str = "") -> None:
        """Open the library's reader; raise whatever it raises.

        Args:
            reader: The library's reader, which is not open yet.
            wire: Layout of the messages' bytes.
            stack: Stack that closes the reader.
            advice: Advice on damage that is found while messages are read.
        """
        self._reader, self._wire, self.advice = reader, wire, advice
        self._reader.open()
        stack.callback(self._reader.close)
        count = self._reader.message_count
        self.start_ns: int | None = int(self._reader.start_time) if count else None
        # The library's end is one nanosecond after the last message.
        self.end_ns: int | None = int(self._reader.end_time) - 1 if count else None
        self._types = {c.id: described_type(c.msgtype, _encoding(c)) for c in reader.connections}
        self.topics = merge_topics(
            BagTopic(c.topic, self._types[c.id], c.msgcount) for c in reader.connections
        )

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Return the messages of some topics by log time."""
        connections = [c for c in self._reader.connections if c.topic in topics]
        if not connections:  # the library takes an empty list for all of them
            return
        for connection, log_ns, raw in self._reader.messages(connections):
            content = raw
            with suppress(UnreadableMessageError):  # it costs itself: decoding it tells
                content = decompressed(raw) if self._wire == "cdr" else raw
            message_type = self._types[connection.id]
            yield BagMessage(connection.topic, message_type, int(log_ns), content, self._wire)


def _encoding(connection: Any) -> str:
    """Return the encoding of a connection's messages; a ROS 1 bag states none."""
    return str(getattr(connection.ext, "serialization_format", "ros1"))


def _open_mcap(path: Path, stack: ExitStack) -> tuple[BagFile, str]:
    try:
        if has_full_index(path):
            return WholeFile(Reader2(path), "cdr", stack), ""
    except OSError:
        raise
    except Exception:  # libraries raise many types on damaged bytes # noqa: S110 - read below
        pass
    # The library refuses, or reads only in part, valid files without an index or a profile.
    file = DamagedMcap(path)
    return file, "" if file.is_whole else f"{path.name} is cut off or torn"


def _open_sqlite(path: Path, stack: ExitStack) -> tuple[BagFile, str]:
    advice = f"`sqlite3 {path.name} .recover` may find more"
    if is_cut_off(path):
        reason = f"{path.name} is cut off (shorter than its header says); {advice}"
        return DamagedSqlite(copy_whole_pages(path, _folder(stack))), reason
    file = path
    if find_journals(path):
        try:
            file = copy_with_journals(path, _folder(stack))
        except sqlite3.Error as error:
            lacks = f"the journal beside {path.name} cannot be merged into it ({error})"
            return DamagedSqlite(path), f"{lacks}; {advice}"
    elif any(character in str(path) for character in URI_CHARACTERS):
        file = _folder(stack) / f"bag{SQLITE}"
        file.symlink_to(path.resolve())
    try:
        return WholeFile(Reader2(file), "cdr", stack, advice), ""
    except OSError:
        raise
    except Exception as error:  # libraries raise many types on damaged bytes
        reason = " ".join(str(error).replace(str(file), path.name).split())[:200]
        return DamagedSqlite(file), f"{path.name} is cut off or torn ({reason}); {advice}"


def _open_rosbag1(path: Path, stack: ExitStack) -> tuple[BagFile, str]:
    try:
        return WholeFile(Reader1(path), "ros1", stack), ""
    except OSError:
        raise
    except Exception as error:  # libraries raise many types on damaged bytes
        with path.open("rb") as file:
            if file.read(len(ROS1_MAGIC)) != ROS1_MAGIC:
                raise CamsegError(
                    f"{path} is not a ROS 1 bag: it does not begin like one"
                ) from error
        raise CamsegError(
            f"{path} is a ROS 1 bag without a whole index: it was cut off or never closed "
            f"({in_one_line(error)[:100]}); `rosbag reindex {path.name}` makes one"
        ) from error


def _open_decompressed(path: Path, stack: ExitStack) -> tuple[BagFile, str]:
    storage = _folder(stack) / path.stem
    decompressor = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)
    # If the compressed file is damaged, the reader of the content finds out what is missing.
    with path.open("rb") as source, storage.open("wb") as target, suppress(zstandard.ZstdError):
        while block := source.read(1 << 20):
            target.write(decompressor.decompress(block))
    file, reason = open_storage(storage, stack)
    return file, reason and f"{path.name}: {reason}"


def _folder(stack: ExitStack) -> Path:
    """Return a new temporary folder, which ``stack`` removes."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="camseg_bag_")))
