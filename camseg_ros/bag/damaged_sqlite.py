# SPDX-License-Identifier: Apache-2.0
"""A sqlite3 bag file that was cut off, is torn, or was left by a recorder that was killed.

SQLite itself reads the file, and the user's file is never written to. Two things would mislead
SQLite and are prevented: it would read the missing part of a cut last page as zeros, and it would
put the newest pages of a ``-wal`` after the gap that a cut left.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from camseg_ros.bag.contents import BagMessage, ScannedFile

MAGIC = b"SQLite format 3\x00"
FILE_HEADER = struct.Struct(">16x H 6x I I 60x I 4x")
"""Page size, change counter, number of pages, and the change counter for which that number holds:
https://sqlite.org/fileformat2.html, section 1.3."""


class DamagedSqlite(ScannedFile):
    """A sqlite3 bag file, read in the order of writing up to SQLite's first error.

    The file is opened so that SQLite neither writes to it nor looks for journals beside it.
    """

    def __init__(self, path: Path) -> None:
        """Read the file once, to learn what it holds.

        Raises:
            OSError: The file cannot be read.
        """
        path.open("rb").close()
        self._path = path
        super().__init__()

    def _everything(self) -> Iterator[BagMessage]:
        address = f"{self._path.resolve().as_uri()}?immutable=1"
        with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as connection:
            # Without it, SQLite refuses a file that is shorter than its header says.
            connection.execute("PRAGMA writable_schema=ON")
            for number, name, message_type in connection.execute(
                "SELECT id, CAST(name AS TEXT), CAST(type AS TEXT) FROM topics"
            ):
                self._channels[number] = (name, message_type, "cdr")
            # The index by time may be damaged where the rows themselves are not.
            for number, log_ns, data in connection.execute(
                "SELECT topic_id, timestamp, data FROM messages NOT INDEXED ORDER BY id"
            ):
                if isinstance(log_ns, int) and isinstance(data, bytes):
                    yield from self._message(number, log_ns, data)


def is_cut_off(path: Path) -> bool:
    """Return whether a SQLite file is shorter than its header says.

    Raises:
        OSError: The file cannot be read.
    """
    layout, size = _read_layout(path), path.stat().st_size
    if layout is None:
        return False
    page_bytes, pages = layout
    return size < pages * page_bytes if pages else size % page_bytes != 0


def copy_whole_pages(path: Path, folder: Path) -> Path:
    """Copy a SQLite file that was cut off into a folder, without journals; return the copy.

    Raises:
        OSError: The file cannot be copied.
    """
    copy = Path(shutil.copyfile(path, folder / "bag.db3"))
    layout = _read_layout(path)
    if layout is not None:
        with copy.open("rb+") as file:
            file.truncate(copy.stat().st_size // layout[0] * layout[0])
    return copy


def find_journals(path: Path) -> list[Path]:
    """Return the journals beside a SQLite file that hold something.

    They stand beside the file that a link leads to, not beside the link.
    """
    path = path.resolve()
    beside = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
    return [journal for journal in beside if journal.is_file() and journal.stat().st_size]


def copy_with_journals(path: Path, folder: Path) -> Path:
    """Copy a SQLite file into a folder, and let SQLite merge its journals; return the copy.

    Raises:
        OSError: The files cannot be copied.
        sqlite3.Error: SQLite refuses the journals.
    """
    path, copy = path.resolve(), folder / "bag.db3"
    for file in (path, *find_journals(path)):
        shutil.copyfile(file, f"{copy}{file.name.removeprefix(path.name)}")
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    return copy


def _read_layout(path: Path) -> tuple[int, int] | None:
    """Return page size and number of pages (0 if unknown); None if this is no SQLite file."""
    with path.open("rb") as file:
        header = file.read(FILE_HEADER.size)
    if len(header) < FILE_HEADER.size or not header.startswith(MAGIC):
        return None
    page_bytes, changes, pages, changes_at_pages = FILE_HEADER.unpack(header)
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    if page_bytes < 512:
        return None
    return page_bytes, pages if changes == changes_at_pages else 0
