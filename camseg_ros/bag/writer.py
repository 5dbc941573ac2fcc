# SPDX-License-Identifier: Apache-2.0
"""Write a rosbag2 bag, whole or not at all: mcap or sqlite3, compressed with zstd or not."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import zlib
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import psutil
from mcap.data_stream import ReadDataStream
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.stream_reader import get_chunk_data_stream
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from camseg_core.errors import CamsegError
from camseg_ros.bag.serialization import STORES, encode, type_name

Storage = Literal["mcap", "sqlite3"]
Compression = Literal["none", "zstd"]

VERSION = 8
"""The newest format version whose metadata.yaml all of Humble to Kilted can read."""

RECORD_HEAD_BYTES = 9
"""Size of the head of an mcap record, which is its kind and its length."""

CHECKSUM_OFFSET_BYTES = 24
"""Offset of the checksum in a chunk, after two times and a size:
https://mcap.dev/spec#chunk-op0x06."""

UNFINISHED = ".camseg-bag-"
"""Begin of the names of folders in which bags are written; the number of the process follows."""

WRITE_ERRORS = (OSError, sqlite3.Error)
"""What a full disk or a read-only folder raises, in the one storage and in the other."""

UNSET = QosTime(0, 0)


class BagWriter:
    """A bag that is being written, and a context manager that completes it.

    It is written into a hidden folder beside its path and moved there at the end. After an error
    nothing is left.
    """

    def __init__(
        self, path: Path, storage: Storage = "mcap", compression: Compression = "zstd"
    ) -> None:
        """Prepare to write the folder ``path``.

        Args:
            path: Folder of the new bag.
            storage: Format of its file.
            compression: ``zstd`` compresses mcap's chunks, and sqlite3's messages one by one.

        Raises:
            CamsegError: The bag exists already.
        """
        if path.exists():
            raise CamsegError(f"{path} exists already; remove it, or give another name")
        self.path = path
        self._home = path.parent / f"{UNFINISHED}{os.getpid()}-{uuid4().hex}"
        # The library names the file after the folder, which must have its final name from the
        # start.
        self._writer = Writer(
            self._home / path.name,
            version=VERSION,
            storage_plugin=StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3,
        )
        if compression == "zstd":
            mode = CompressionMode.STORAGE if storage == "mcap" else CompressionMode.MESSAGE
            self._writer.set_compression(mode, CompressionFormat.ZSTD)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        """Open the bag.

        Raises:
            CamsegError: Its folder cannot be written.
        """
        try:
            self._home.parent.mkdir(parents=True, exist_ok=True)
            _remove_what_was_left(self._home.parent)
            self._writer.open()
        except BaseException as error:  # also a signal that ends the program here
            self._remove()
            if isinstance(error, WRITE_ERRORS):
                raise self._cannot_write(error) from error
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Move the bag to its path, or remove it after an error."""
        try:
            if error is not None:
                self._writer.abort()
                return
            self._writer.close()
            for file in (self._home / self.path.name).iterdir():
                if file.suffix == ".mcap":
                    add_checksums(file)
                with file.open("rb+") as written:
                    os.fsync(written.fileno())
            (self._home / self.path.name).rename(self.path)
        except WRITE_ERRORS as problem:
            raise self._cannot_write(problem) from problem
        finally:
            self._remove()

    def add_topic(self, topic: str, message_class: type, *, latched: bool = False) -> None:
        """Announce a topic; it is in the bag even if no message follows."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic,
                type_name(message_class),
                typestore=STORES["cdr"],
                offered_qos_profiles=[_quality(latched)],
            )

    def write(self, topic: str, message: Any, log_ns: int, *, latched: bool = False) -> None:
        """Append a message.

        Args:
            topic: Name of its topic, which is announced if it is new.
            message: Any ROS message.
            log_ns: Time at which it was recorded, nanoseconds.
            latched: True if late subscribers of a new topic get its last message.

        Raises:
            CamsegError: The bag cannot be written, for example because the disk is full.
        """
        self.add_topic(topic, type(message), latched=latched)
        try:
            self._writer.write(self._connections[topic], log_ns, encode(message))
        except WRITE_ERRORS as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: Exception) -> CamsegError:
        return CamsegError(f"cannot write {self.path}: {getattr(error, 'strerror', None) or error}")

    def _remove(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)


def _remove_what_was_left(folder: Path) -> None:
    """Remove the unfinished bags of processes that were killed."""
    for left in folder.glob(f"{UNFINISHED}*-*"):
        number = left.name.removeprefix(UNFINISHED).partition("-")[0]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def add_checksums(path: Path) -> None:
    """Write the CRC-32 of each chunk into a whole mcap file with an index.

    The library that writes the file leaves them at zero, which means "none".

    Raises:
        OSError: The file cannot be read or written.
    """
    with path.open("rb+") as file:
        summary = make_reader(file).get_summary()
        for index in summary.chunk_indexes if summary else ():
            content_start = index.chunk_start_offset + RECORD_HEAD_BYTES
            file.seek(content_start)
            stream, length = get_chunk_data_stream(Chunk.read(ReadDataStream(file)))
            checksum = zlib.crc32(stream.read(length))
            file.seek(content_start + CHECKSUM_OFFSET_BYTES)
            file.write(struct.pack("<I", checksum))


def _quality(latched: bool) -> Qos:
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=UNSET,
        lifespan=UNSET,
        liveliness=QosLiveliness.SYSTEM_DEFAULT,
        liveliness_lease_duration=UNSET,
        avoid_ros_namespace_conventions=False,
    )
