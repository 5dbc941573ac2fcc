# SPDX-License-Identifier: Apache-2.0
"""Read an mcap file that was cut off, is torn or lacks a full index, up to the damage.

The index at the end of the file is not used. Records are read in order up to the first one that is
not whole; if that is a chunk, its whole messages are read too.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, get_chunk_data_stream

from camseg_ros.bag.contents import BagMessage, ScannedFile, described_type

LARGEST_RECORD_BYTES = 2**30
"""Size of the largest record that counts as data; a longer one is damage."""

RECORD_START = struct.Struct("<BQ")  # kind, length of what follows


def has_full_index(path: Path) -> bool:
    """Return whether a file's index names every channel, its type, and each chunk's messages.

    All of this is optional in the format, and a reader that relies on it misses messages.

    Raises:
        OSError: The file cannot be read.
        Exception: The `mcap` package raises many types on damaged bytes.
    """
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    if summary is None or summary.statistics is None:
        return False
    counted = summary.statistics
    channels, chunks = summary.channels, summary.chunk_indexes
    return (
        counted.message_count == sum(counted.channel_message_counts.values())
        and counted.channel_message_counts.keys() <= channels.keys()
        and counted.channel_count == len(channels)
        and all(channel.schema_id in summary.schemas for channel in channels.values())
        and counted.chunk_count == len(chunks)
        and (bool(chunks) or not counted.message_count)
        and all(chunk.message_index_offsets for chunk in chunks)
    )


class DamagedMcap(ScannedFile):
    """An mcap file of which the whole messages before the damage are read.

    Attributes:
        is_whole: True if the file's end was reached without damage.
    """

    def __init__(self, path: Path) -> None:
        """Read the file once, to learn what it holds.

        Raises:
            OSError: The file cannot be read.
        """
        self._path = path
        self.is_whole = False
        super().__init__()

    def _everything(self) -> Iterator[BagMessage]:
        schemas: dict[int, Schema] = {}
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                schema, encoding = schemas.get(record.schema_id), record.message_encoding
                message_type = described_type(schema.name if schema else "", encoding)
                self._channels[record.id] = (
                    record.topic,
                    message_type,
                    "ros1" if encoding == "ros1" else "cdr",
                )
            elif isinstance(record, Message):
                yield from self._message(record.channel_id, record.log_time, record.data)

    def _records(self) -> Iterator[McapRecord]:
        """Yield the whole records, including those in chunks."""
        with self._path.open("rb") as file:
            reader = StreamReader(file, emit_chunks=True, record_size_limit=LARGEST_RECORD_BYTES)
            whole = 0  # offset of what is not read yet
            with suppress(Exception):  # the library raises many types on damaged bytes
                for record in reader.records:
                    if isinstance(record, Chunk):
                        stream, length = get_chunk_data_stream(record, validate_crc=True)
                        yield from _records_in(stream.read(length))
                    else:
                        yield record
                    whole = file.tell()
                self.is_whole = True
                return
            file.seek(whole)
            yield from _records_in(_torn_chunk(file))


def _records_in(chunk: bytes) -> Iterator[McapRecord]:
    """Yield the whole records of a chunk's content, which may be cut off."""
    reader = StreamReader(
        io.BytesIO(chunk), skip_magic=True, emit_chunks=True, record_size_limit=len(chunk)
    )
    with suppress(Exception):  # at the end, for a chunk has no footer, or at damage
        yield from reader.records


def _torn_chunk(file: IO[bytes]) -> bytes:
    """Return the readable content of a cut-off chunk that begins here; empty if none does."""
    head = file.read(RECORD_START.size)
    if len(head) < RECORD_START.size:
        return b""
    opcode, length = RECORD_START.unpack(head)
    start = file.tell()
    missing = length - (file.seek(0, io.SEEK_END) - start)
    file.seek(start)
    # A chunk of full length is damaged somewhere inside.
    if opcode != Opcode.CHUNK or missing <= 0 or length >= LARGEST_RECORD_BYTES:
        return b""
    with suppress(Exception):
        chunk = Chunk.read(ReadDataStream(io.BytesIO(file.read() + bytes(missing))))
        content: bytes = chunk.data[: max(0, len(chunk.data) - missing)]
        if chunk.compression == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(content)
        if chunk.compression == "lz4":
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(content))
        return content if not chunk.compression else b""
    return b""
