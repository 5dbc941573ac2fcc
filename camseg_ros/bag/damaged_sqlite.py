# SPDX-License-Identifier: Apache-2.0
"""A sqlite3 bag file that was cut off: the rows that stand before the damage.

A page that the cut went through would be read with zeros at its end, and an image with black rows
be taken for whole. So a copy is made that ends with the last whole page; SQLite refuses pages
beyond the end of it, and the rows are read by their number until it does.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path

from camseg_ros.bag.contents import BagMessage, BagTopic
from camseg_ros.bag.file_scan import FileScan
from camseg_ros.bag.serialization import UnreadableMessageError, decompressed

MAGIC = b"SQLite format 3\x00"
SMALLEST_PAGE, LARGEST_PAGE = 512, 65536


class DamagedSqlite:
    """Reads the whole rows of a sqlite3 bag file; a `BagFile`."""

    def __init__(self, path: Path) -> None:
        """Read the file once, to know what is in it.

        Raises:
            OSError: it cannot be read, or there is no room for a copy of it.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="camseg_bag_")
        self._copy = Path(self._folder.name) / "whole_pages.db3"
        _copy_whole_pages(path, self._copy)
        self._names = self._read_topics()
        scan = FileScan.of(self._everything())
        self.topics: dict[str, BagTopic] = {
            topic: BagTopic(topic, message_type, scan.counts.get(topic, 0))
            for topic, message_type in self._names.values()
        }
        self.start_ns, self.end_ns = scan.start_ns, scan.end_ns

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Give the messages of some topics, in the order in which they were written."""
        return (message for message in self._everything() if message.topic in topics)

    def close(self) -> None:
        """Remove the copy."""
        self._folder.cleanup()

    def _read_topics(self) -> dict[int, tuple[str, str]]:
        names: dict[int, tuple[str, str]] = {}
        with closing(self._connect()) as connection, suppress(sqlite3.Error):
            for topic_id, name, message_type in connection.execute(
                "SELECT id, name, type FROM topics ORDER BY id"
            ):
                names[topic_id] = (str(name), str(message_type))
        return names

    def _everything(self) -> Iterator[BagMessage]:
        with closing(self._connect()) as connection, suppress(sqlite3.Error):
            rows = connection.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id")
            for topic_id, log_ns, data in rows:
                if topic_id in self._names and isinstance(log_ns, int) and isinstance(data, bytes):
                    with suppress(UnreadableMessageError):
                        whole = decompressed(data)
                        yield BagMessage(*self._names[topic_id], log_ns, whole, "cdr")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{self._copy}?mode=ro&immutable=1", uri=True)
        # Without it, SQLite refuses a file that is shorter than its header says.
        connection.execute("PRAGMA writable_schema=ON")
        return connection


def is_cut_off(path: Path) -> bool:
    """Tell whether a SQLite file is shorter than its header says.

    SQLite itself reads the missing end of a last page as zeros.

    Raises:
        OSError: it cannot be read.
    """
    page_bytes, pages = _page_size_and_count(path)
    size = path.stat().st_size
    return bool(page_bytes) and (size % page_bytes != 0 or size < pages * page_bytes)


def _page_size_and_count(path: Path) -> tuple[int, int]:
    """Read both from the header; zeros if it is none."""
    with path.open("rb") as file:
        header = file.read(32)
    if len(header) < 32 or not header.startswith(MAGIC):
        return 0, 0
    (page_bytes,) = struct.unpack_from(">H", header, 16)
    (pages,) = struct.unpack_from(">I", header, 28)
    page_bytes = LARGEST_PAGE if page_bytes == 1 else page_bytes
    return (page_bytes, pages) if SMALLEST_PAGE <= page_bytes <= LARGEST_PAGE else (0, 0)


def _copy_whole_pages(path: Path, copy: Path) -> None:
    """Copy a file up to the end of its last whole page; nothing if it is no SQLite file."""
    shutil.copyfile(path, copy)
    page_bytes, _ = _page_size_and_count(path)
    size = path.stat().st_size
    with copy.open("rb+") as file:
        file.truncate(size // page_bytes * page_bytes if page_bytes else 0)
