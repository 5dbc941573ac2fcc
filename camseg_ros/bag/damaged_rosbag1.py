# SPDX-License-Identifier: Apache-2.0
"""A ROS 1 bag that was cut off, is torn, or was never finished: what stands before the damage.

The bag's own index is at its end and is not used. Format: https://wiki.ros.org/Bags/Format/2.0.
"""

from __future__ import annotations

import bz2
import io
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame
from rosbags.rosbag1.reader import Header, RecordType, normalize, read_bytes, read_uint32
from rosbags.typesys.msg import normalize_msgtype

from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.file_scan import LARGEST_RECORD_BYTES, FileScan

MAGIC = b"#ROSBAG V2.0\n"

DECOMPRESSORS: dict[str, Any] = {
    "bz2": bz2.BZ2Decompressor,
    "lz4": lz4.frame.LZ4FrameDecompressor,
}
"""They give what they can of content that is cut off."""


class DamagedRosbag1:
    """Reads the whole messages at the start of a ROS 1 bag; a `BagFile`."""

    def __init__(self, path: Path) -> None:
        """Read the file once, to know what is in it.

        Raises:
            OSError: it cannot be read.
        """
        self._path = path
        self._connections: dict[int, tuple[str, str]] = {}  # topic, message type
        scan = FileScan.of(self._everything())
        self.topics = scan.topics(self._connections.values())
        self.start_ns, self.end_ns = scan.start_ns, scan.end_ns

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Return the messages of some topics in the file's order."""
        return (message for message in self._everything() if message.topic in topics)

    def close(self) -> None:
        """Nothing is kept open."""

    def _everything(self) -> Iterator[BagMessage]:
        for header, content in self._records():
            message = None
            with suppress(Exception):  # a damaged one
                message = self._take(header, content)
            if message is not None:
                yield message

    def _take(self, header: Header, content: bytes) -> BagMessage | None:
        """Return the message of a record, if it is one; keep its connection, if it is that."""
        kind = header.get_uint8("op")
        if kind == RecordType.CONNECTION:
            self._connect(header, content)
        elif kind == RecordType.MSGDATA:
            connection = self._connections.get(header.get_uint32("conn"))
            if connection is not None:
                return BagMessage(*connection, header.get_time("time"), content, "ros1")
        return None

    def _connect(self, header: Header, content: bytes) -> None:
        """Keep a connection; what follows its header is a header without length."""
        fields = Header.read(io.BytesIO(len(content).to_bytes(4, "little") + content))
        topic = normalize(header.get_string("topic"))
        message_type = normalize_msgtype(fields.get_string("type"))
        self._connections[header.get_uint32("conn")] = (topic, message_type)

    def _records(self) -> Iterator[tuple[Header, bytes]]:
        """Return the whole records, those in chunks too, up to what is not readable."""
        with self._path.open("rb") as file, suppress(Exception):  # the library raises many types
            if file.read(len(MAGIC)) != MAGIC:
                return
            end = self._path.stat().st_size
            while True:
                header = Header.read(file)
                size = read_uint32(file)
                is_chunk = header.get_uint8("op") == RecordType.CHUNK
                is_whole = file.tell() + size <= end
                if size > LARGEST_RECORD_BYTES or not (is_whole or is_chunk):
                    return
                content = file.read(size)
                if is_chunk:
                    yield from _records_in(_chunk(header, content))
                yield header, content


def _chunk(header: Header, content: bytes) -> bytes:
    """Decompress a chunk, which may be cut off."""
    compression = header.get_string("compression")
    if compression == "none":
        return content
    return bytes(DECOMPRESSORS[compression]().decompress(content))


def _records_in(chunk: bytes) -> Iterator[tuple[Header, bytes]]:
    """Return the whole records of a chunk's content."""
    source: BinaryIO = io.BytesIO(chunk)
    with suppress(Exception):  # at the end, or where it is damaged
        while source.tell() < len(chunk):
            header = Header.read(source)
            yield header, read_bytes(source, read_uint32(source))
