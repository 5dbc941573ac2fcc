# SPDX-License-Identifier: Apache-2.0
"""Convert a bag's bytes to ROS messages and back with the type stores of rosbags, without rclpy."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal

import numpy as np
import zstandard
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from camseg_core.errors import in_one_line

Wire = Literal["cdr", "ros1"]
"""Layout of a message's bytes: as ROS 2 sends them, or as ROS 1 did."""

STORES = {"cdr": get_typestore(Stores.ROS2_JAZZY), "ros1": get_typestore(Stores.ROS1_NOETIC)}

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""First bytes of a message that is compressed on its own; CDR begins with a zero."""


MOST_TEXTS = 8
"""Most texts of a message that may hold what is no UTF-8."""


class UnreadableMessageError(ValueError):
    """An error for bytes that are not a message of their type, or whose type is not installed here.

    Its text is one line.
    """


def decode(raw: bytes | memoryview, message_type: str, wire: Wire) -> Any:
    """Read a message.

    Args:
        raw: Bytes of the message.
        message_type: Type such as ``sensor_msgs/msg/Image``.
        wire: Layout of the bytes.

    Returns:
        The message as a ROS 2 Python object. ROS 1's ``seq`` is dropped, fields that ROS 1 spells
        in capitals are found, and bytes of a text that are no UTF-8 become question marks.

    Raises:
        UnreadableMessageError: The bytes are not such a message, or its type is not installed.
    """
    message_class = find_message_class(message_type)
    store = STORES[wire]
    read = store.deserialize_cdr if wire == "cdr" else store.deserialize_ros1
    try:
        return _ros_message(_read_legible(read, raw, message_type), message_class)
    except Exception as error:  # rosbags raises many types on damaged bytes
        raise UnreadableMessageError(
            f"{len(raw)} bytes are not a {message_type}: {in_one_line(error)}"
        ) from error


def decompressed(raw: bytes | memoryview) -> bytes | memoryview:
    """Return a CDR message, decompressed if it was compressed on its own.

    Its first bytes tell, because metadata.yaml, which states it too, may be lost.

    Raises:
        UnreadableMessageError: The compressed message is damaged or cut off.
    """
    if bytes(raw[: len(ZSTD_MAGIC)]) != ZSTD_MAGIC:
        return raw
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        content = decompressor.decompress(bytes(raw))
    except zstandard.ZstdError as error:
        raise UnreadableMessageError(f"{len(raw)} bytes are not a zstd frame: {error}") from error
    if not decompressor.eof:
        raise UnreadableMessageError(f"a zstd frame ends after {len(raw)} bytes")
    return content


def encode(message: Any) -> bytes:
    """Return a message's bytes as ROS 2 sends them (CDR, little-endian)."""
    return bytes(STORES["cdr"].serialize_cdr(_store_message(message), type_name(type(message))))


def type_name(message_class: type) -> str:
    """Return a message class's name as bags spell it: ``sensor_msgs/msg/Image``."""
    package, kind, _ = message_class.__module__.split(".", 2)
    return f"{package}/{kind}/{message_class.__name__}"


@lru_cache(maxsize=64)
def find_message_class(message_type: str) -> type:
    """Return the message class of a type's name.

    Raises:
        UnreadableMessageError: The type is not installed here.
    """
    try:
        package, kind, name = message_type.split("/")
        message_class: type = getattr(import_module(f"{package}.{kind}"), name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UnreadableMessageError(
            f"message type {message_type!r} is not installed here"
        ) from error
    return message_class


def _read_legible(
    read: Callable[[bytes | memoryview, str], Any], raw: bytes | memoryview, message_type: str
) -> Any:
    """Read a message whose texts need not be UTF-8: rclpy takes such ones, and so does the node."""
    for _ in range(MOST_TEXTS):
        try:
            return read(raw, message_type)
        except SerdeError as error:  # noqa: PERF203  # each turn mends one text
            if not isinstance(error.__cause__, UnicodeDecodeError):
                raise
            text = error.__cause__.object
            legible = bytes(byte if byte < 128 else ord("?") for byte in text)
            raw = bytes(raw).replace(text, legible, 1)
    raise ValueError(f"more than {MOST_TEXTS} texts are no UTF-8")


def _ros_message(source: Any, message_class: type) -> Any:
    """Copy a type store's message, field by field, into a ROS message."""
    message = message_class()
    for name, kind in message_class.get_fields_and_field_types().items():  # type: ignore[attr-defined]
        value = getattr(source, name) if hasattr(source, name) else getattr(source, name.upper())
        setattr(message, name, _ros_value(value, kind))
    return message


def _ros_value(value: Any, kind: str) -> Any:
    if isinstance(value, np.ndarray):
        # Only this type is taken over without a slow check of every element.
        return array("B", value.tobytes()) if kind == "sequence<uint8>" else value.tolist()
    if isinstance(value, list):
        element = find_message_class(_full_type(kind.split("<", 1)[-1].rstrip(">").split("[")[0]))
        return [_ros_message(item, element) for item in value]
    if "/" in kind:
        return _ros_message(value, find_message_class(_full_type(kind)))
    return bytes([value]) if kind == "octet" else value


def _store_message(message: Any) -> Any:
    """Copy a ROS message, field by field, into a type store's message."""
    fields = type(message).get_fields_and_field_types()
    values = {name: _store_value(getattr(message, name), kind) for name, kind in fields.items()}
    return STORES["cdr"].types[type_name(type(message))](**values)


def _store_value(value: Any, kind: str) -> Any:
    if isinstance(value, array):
        return np.frombuffer(value, value.typecode) if len(value) else np.array([], value.typecode)
    if kind == "octet":  # one byte, as bytes
        return value[0]
    if isinstance(value, list):
        return [_store_message(item) for item in value]
    return _store_message(value) if "/" in kind else value


def _full_type(short: str) -> str:
    """Return ``std_msgs/msg/Header`` for ``std_msgs/Header``, the form used in fields."""
    package, _, name = short.partition("/")
    return f"{package}/msg/{name}"
