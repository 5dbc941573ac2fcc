# SPDX-License-Identifier: Apache-2.0
"""A sqlite3 bag file that was cut off: the messages whose rows are whole.

SQLite itself would read what is missing of a page as zeros, and an image with black rows be taken
for whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path

from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.file_scan import FileScan
from camseg_ros.bag.serialization import UnreadableMessageError, decompressed
from camseg_ros.bag.sqlite_pages import SqlitePages, read_layout

MESSAGE_COLUMNS = (None, int, int, bytes)
"""Of table messages: its number, which stands elsewhere; topic, log time, data."""


class DamagedSqlite:
    """Reads the whole rows of a sqlite3 bag file, by their number; a `BagFile`."""

    def __init__(self, path: Path) -> None:
        """Look at all of the file once, to know what is in it.

        Raises:
            OSError: it cannot be read.
        """
        layout = read_layout(path)
        is_readable = layout is not None and path.stat().st_size >= layout.page_bytes
        self._pages = SqlitePages(path, layout) if layout and is_readable else None
        self._names = _read_topics(path) if self._pages else {}
        self._places = [*self._pages.rows(MESSAGE_COLUMNS).values()] if self._pages else []
        scan = FileScan.of(self._everything())
        self.topics = scan.topics(self._names.values())
        self.start_ns, self.end_ns = scan.start_ns, scan.end_ns

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Return the messages of some topics, in the order in which they were written."""
        return (message for message in self._everything() if message.topic in topics)

    def close(self) -> None:
        """Let go of the file."""
        if self._pages is not None:
            self._pages.close()

    def _everything(self) -> Iterator[BagMessage]:
        if self._pages is None:
            return
        for place in self._places:
            _, topic_id, log_ns, data = self._pages.read(place)
            if topic_id in self._names and isinstance(log_ns, int) and isinstance(data, bytes):
                with suppress(UnreadableMessageError):
                    content = decompressed(data)
                    yield BagMessage(*self._names[topic_id], log_ns, content, "cdr")


def is_cut_off(path: Path) -> bool:
    """Return whether a SQLite file is shorter than its header says.

    Raises:
        OSError: it cannot be read.
    """
    layout, size = read_layout(path), path.stat().st_size
    if layout is None:
        return False
    if layout.pages:
        return size < layout.pages * layout.page_bytes
    return size % layout.page_bytes != 0


def _read_topics(path: Path) -> dict[int | bytes | None, tuple[str, str]]:
    """Read name and type of the topics, which stand at the file's begin."""
    names: dict[int | bytes | None, tuple[str, str]] = {}
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as connection,
    ):
        # Without it, SQLite refuses a file that is shorter than its header says.
        connection.execute("PRAGMA writable_schema=ON")
        for topic_id, name, message_type in connection.execute("SELECT id, name, type FROM topics"):
            names[topic_id] = (str(name), str(message_type))
    return names
