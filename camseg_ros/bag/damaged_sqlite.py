# SPDX-License-Identifier: Apache-2.0
"""A sqlite3 bag file that is cut off or torn, or has a journal: SQLite reads a copy of it.

The user's file is never written: SQLite puts a journal in order on the copy, and rows are read up
to SQLite's first error. Formats: https://sqlite.org/fileformat.html and https://sqlite.org/wal.html.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path

from camseg_ros.bag.contents import BagMessage, FileScan
from camseg_ros.bag.serialization import UnreadableMessageError, decompressed

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
JOURNAL_SUFFIXES = ("-wal", "-journal")


class DamagedSqlite:
    """Reads the rows of a sqlite3 bag file up to SQLite's first error; a `BagFile`."""

    def __init__(self, path: Path) -> None:
        """Read the file once, to know what is in it; see `copy_for_reading`."""
        self._uri = f"{path.resolve().as_uri()}?mode=ro"
        self._names: dict[int, tuple[str, str]] = {}  # topic and message type by the topic's id
        scan = FileScan.of(self._everything())
        self.topics = scan.topics(self._names.values())
        self.start_ns, self.end_ns = scan.start_ns, scan.end_ns

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Return the messages of some topics, in the order in which they were written."""
        return (message for message in self._everything() if message.topic in topics)

    def close(self) -> None:
        """Nothing is kept open."""

    def _everything(self) -> Iterator[BagMessage]:
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._uri, uri=True)) as connection:
            # Without this, SQLite refuses a file that is shorter than its header says.
            connection.execute("PRAGMA writable_schema=ON")
            for topic_id, name, message_type in connection.execute(
                "SELECT id, name, type FROM topics"
            ):
                self._names[topic_id] = (str(name), str(message_type))
            rows = connection.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id")
            for topic_id, log_ns, data in rows:
                if topic_id in self._names and type(log_ns) is int and isinstance(data, bytes):
                    with suppress(UnreadableMessageError):
                        content = decompressed(data)
                        yield BagMessage(*self._names[topic_id], log_ns, content, "cdr")


def is_cut_off(path: Path) -> bool:
    """Return whether a SQLite file is shorter than its header says.

    Raises:
        OSError: The file cannot be read.
    """
    header, size = _header(path), path.stat().st_size
    if header is None:
        return False
    page_bytes, pages = header
    return size < pages * page_bytes if pages else size % page_bytes != 0


def find_journals(path: Path) -> list[Path]:
    """Return the journals beside a SQLite file, or a link's target, that hold something."""
    path = path.resolve()
    beside = (path.with_name(path.name + suffix) for suffix in JOURNAL_SUFFIXES)
    return [journal for journal in beside if journal.is_file() and journal.stat().st_size]


def copy_for_reading(path: Path, copy: Path) -> str:
    """Copy a SQLite file to ``copy``, with its journals taken in.

    A file that is cut off is copied up to its last whole page and without journals: SQLite would
    read what is missing of a page as zeros, and put newer pages behind a hole.

    Returns:
        What is wrong with the journals, in a few words; empty if nothing is.

    Raises:
        OSError: The files cannot be copied.
    """
    shutil.copyfile(path, copy)
    header = _header(path)
    if is_cut_off(path) and header is not None:
        page_bytes, _ = header
        with copy.open("rb+") as file:
            file.truncate(copy.stat().st_size // page_bytes * page_bytes)
        return ""
    for journal in find_journals(path):
        suffix = journal.name.removeprefix(path.resolve().name)
        shutil.copyfile(journal, copy.with_name(copy.name + suffix))
    try:
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.Error as error:
        return f"{path.name} cannot be read together with the journal beside it ({error})"
    return ""


def recover_hint(name: str) -> str:
    """Return how to get more out of a damaged file than its first whole rows."""
    return f"`sqlite3 {name} .recover` may find more"


def _header(path: Path) -> tuple[int, int] | None:
    """Return the size of a page in bytes and the number of pages, 0 where the file does not say."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        return None
    (page_bytes,) = struct.unpack_from(">H", header, 16)
    changes, pages = struct.unpack_from(">II", header, 24)
    (valid_for,) = struct.unpack_from(">I", header, 92)
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    return (page_bytes, pages if changes == valid_for else 0) if page_bytes else None
