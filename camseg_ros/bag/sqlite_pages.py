# SPDX-License-Identifier: Apache-2.0
"""Rows of a SQLite file that lost its end, from the pages that are whole.

SQLite itself finds rows through inner pages of the table's tree, and those of the first thousand
rows may have stood in the lost part. Here every leaf page is looked at, so that each row counts
whose own pages are there. Format: https://sqlite.org/fileformat2.html, sections 1.3, 1.6, 2.1.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"SQLite format 3\x00"
FILE_HEADER_BYTES = 100
SMALLEST_PAGE, LARGEST_PAGE = 512, 65536
TABLE_LEAF = 0x0D
INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
CONSTANTS = {8: 0, 9: 1}

Value = int | bytes | None


class TornRowError(ValueError):
    """A row that is not whole, or bytes that are none."""


@dataclass(frozen=True)
class PageLayout:
    """What the file's header says.

    Attributes:
        page_bytes: size of a page.
        usable_bytes: of it, what pages use.
        pages: number of pages when the file was whole; 0 where the header does not say.
    """

    page_bytes: int
    usable_bytes: int
    pages: int


def read_layout(path: Path) -> PageLayout | None:
    """Read the header; None if it is no SQLite file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(FILE_HEADER_BYTES)
    if len(header) < FILE_HEADER_BYTES or not header.startswith(MAGIC):
        return None
    (page_bytes,) = struct.unpack_from(">H", header, 16)
    (changes,) = struct.unpack_from(">I", header, 24)
    (changes_at_size,) = struct.unpack_from(">I", header, 92)
    (pages,) = struct.unpack_from(">I", header, 28) if changes == changes_at_size else (0,)
    page_bytes = LARGEST_PAGE if page_bytes == 1 else page_bytes
    usable = page_bytes - header[20]
    if not SMALLEST_PAGE <= page_bytes <= LARGEST_PAGE or usable < SMALLEST_PAGE - 32:
        return None
    return PageLayout(page_bytes, usable, pages)


class SqlitePages:
    """The whole pages of a file; close it after use."""

    def __init__(self, path: Path, layout: PageLayout) -> None:
        """Map the file, which has at least one whole page.

        Raises:
            OSError, ValueError: it cannot be mapped.
        """
        self._layout = layout
        self._count = path.stat().st_size // layout.page_bytes
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def close(self) -> None:
        """Unmap the file."""
        self._content.close()

    def rows(self, types: tuple[type[int] | type[bytes] | None, ...]) -> dict[int, int]:
        """Find the whole rows whose columns are of some types (None: NULL), in any table.

        Returns:
            Row number -> place for `read`, by row number.
        """
        found: dict[int, int] = {}
        for page in range(1, self._count + 1):
            for place in self._cells(page):
                number = self._whole_row(place, types)
                if number is not None:
                    found.setdefault(number, place)
        return dict(sorted(found.items()))

    def read(self, place: int) -> list[Value]:
        """Read the values of a row that `rows` found."""
        _, payload_bytes, start = self._cell(place)
        payload = self._payload(payload_bytes, start)
        values: list[Value] = []
        position, _ = _varint(payload, 0)
        for kind in self._columns(payload):
            size = _size_of(kind)
            content = payload[position : position + size]
            position += size
            values.append(_value(kind, content))
        return values

    def _whole_row(
        self, place: int, types: tuple[type[int] | type[bytes] | None, ...]
    ) -> int | None:
        """Return the number of the row in a cell; None if it has other columns or is not whole."""
        try:
            number, payload_bytes, start = self._cell(place)
            columns = self._columns(self._payload(payload_bytes, start, head_only=True))
            if [_type_of(kind) for kind in columns] != list(types):
                return None
            self._payload(payload_bytes, start)  # to find out
        except (TornRowError, struct.error, IndexError):
            return None
        return number

    def _cells(self, page: int) -> Iterator[int]:
        """Return the places of a leaf page's cells; none on another page."""
        start = (page - 1) * self._layout.page_bytes
        header = start + (FILE_HEADER_BYTES if page == 1 else 0)
        if self._content[header] != TABLE_LEAF:
            return
        (count,) = struct.unpack_from(">H", self._content, header + 3)
        for index in range(min(count, self._layout.page_bytes // 4)):
            (offset,) = struct.unpack_from(">H", self._content, header + 8 + 2 * index)
            if 0 < offset < self._layout.usable_bytes:
                yield start + offset

    def _cell(self, place: int) -> tuple[int, int, int]:
        """Return a cell's row number, bytes of payload, and where its payload begins."""
        payload_bytes, place = _varint(self._content, place)
        number, place = _varint(self._content, place)
        return number, payload_bytes, place

    def _payload(self, size: int, start: int, *, head_only: bool = False) -> bytes:
        """Gather a row's bytes over its overflow pages; of the head, only what is in the leaf."""
        usable = self._layout.usable_bytes
        most = usable - 35
        if size <= most:
            return self._content[start : start + size]
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
        head = self._content[start : start + local]
        if head_only:
            return head
        (page,) = struct.unpack_from(">I", self._content, start + local)
        parts, missing = [head], size - local
        while missing > 0:
            if not 1 <= page <= self._count:
                raise TornRowError(f"page {page} of {self._count} is missing")
            begin = (page - 1) * self._layout.page_bytes
            (page,) = struct.unpack_from(">I", self._content, begin)
            taken = min(missing, usable - 4)
            parts.append(self._content[begin + 4 : begin + 4 + taken])
            missing -= taken
        return b"".join(parts)

    def _columns(self, payload: bytes) -> list[int]:
        """Return the kinds of a row's columns."""
        end, position = _varint(payload, 0)
        kinds = []
        while position < end:
            kind, position = _varint(payload, position)
            kinds.append(kind)
        return kinds


def _varint(content: bytes | mmap.mmap, place: int) -> tuple[int, int]:
    """Read SQLite's number of 1 to 9 bytes; gives it and where it ends."""
    value = 0
    for index in range(9):
        byte = content[place + index]
        if index == 8:
            return value << 8 | byte, place + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + index + 1
    raise TornRowError("not reached")  # pragma: no cover


def _type_of(kind: int) -> type[int] | type[bytes] | None:
    if kind == 0:
        return None
    if kind in INTEGER_BYTES or kind in CONSTANTS:
        return int
    if kind >= 12 and kind % 2 == 0:
        return bytes
    raise TornRowError(f"a column of kind {kind}")


def _size_of(kind: int) -> int:
    return INTEGER_BYTES.get(kind, (kind - 12) // 2 if kind >= 12 else 0)


def _value(kind: int, content: bytes) -> Value:
    if _type_of(kind) is int:
        return CONSTANTS.get(kind, int.from_bytes(content, "big", signed=True))
    return None if kind == 0 else content
