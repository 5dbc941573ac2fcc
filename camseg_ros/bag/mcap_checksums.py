# SPDX-License-Identifier: Apache-2.0
"""Checksums of an mcap file's chunks, which the library that writes leaves at zero, "none"."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO

from mcap.data_stream import ReadDataStream
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.stream_reader import get_chunk_data_stream

HEAD_BYTES = 9
"""Of a record: its kind and its length."""

CHECKSUM_OFFSET_BYTES = 24
"""Within a chunk, behind two times and a size: https://mcap.dev/spec#chunk-op0x06."""


def add_checksums(path: Path) -> None:
    """Write the CRC-32 of each chunk into a whole mcap file with an index.

    Raises:
        OSError: the file cannot be read or written.
    """
    with path.open("rb+") as file:
        summary = make_reader(file).get_summary()
        for index in summary.chunk_indexes if summary else ():
            content = _content(file, index.chunk_start_offset)
            file.seek(index.chunk_start_offset + HEAD_BYTES + CHECKSUM_OFFSET_BYTES)
            file.write(struct.pack("<I", zlib.crc32(content)))


def _content(file: IO[bytes], start: int) -> bytes:
    file.seek(start + HEAD_BYTES)
    stream, length = get_chunk_data_stream(Chunk.read(ReadDataStream(file)))
    return bytes(stream.read(length))
