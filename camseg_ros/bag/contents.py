# SPDX-License-Identifier: Apache-2.0
"""The contents of a bag in any format: topics, messages, and losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from rosbags.typesys.msg import normalize_msgtype

from camseg_ros.bag.serialization import UnreadableMessageError, Wire, decode, decompressed


@dataclass(frozen=True)
class BagTopic:
    """One topic.

    Attributes:
        name: Name such as ``/kitti/camera_color_left/image_rect``.
        message_type: Type such as ``sensor_msgs/msg/Image``.
        count: Number of its messages that can be read.
    """

    name: str
    message_type: str
    count: int


def described_type(name: str, encoding: str) -> str:
    """Return a message type as ROS 2 spells it, and with its encoding where ROS does not send it.

    The latter is no type of ROS, so that such messages are shown and never read.
    """
    if name and encoding in get_args(Wire):
        return str(normalize_msgtype(name)) if "/" in name else name
    return f"{name or 'no type'} ({encoding or 'no encoding'})"


def merge_topics(topics: Iterable[BagTopic]) -> dict[str, BagTopic]:
    """Return topics by name, those of one name as one: with the first type, and all messages."""
    counts: Counter[str] = Counter()
    types: dict[str, str] = {}
    for topic in topics:
        counts[topic.name] += topic.count
        types.setdefault(topic.name, topic.message_type)
    return {name: BagTopic(name, kind, counts[name]) for name, kind in types.items()}


@dataclass(frozen=True)
class BagMessage:
    """One message.

    Attributes:
        topic: Name of its topic.
        message_type: Type such as ``sensor_msgs/msg/Image``.
        log_ns: Time at which it was recorded, nanoseconds; not the stamp in its header.
        raw: Bytes of the message.
        wire: Layout of the bytes.
    """

    topic: str
    message_type: str
    log_ns: int
    raw: bytes | memoryview
    wire: Wire

    def decode(self) -> Any:
        """Return the message as a ROS 2 Python object.

        A header without a stamp has the time at which the message was recorded: frames are told
        apart by their stamps.

        Raises:
            UnreadableMessageError: The bytes are not such a message.
        """
        message = decode(self.raw, self.message_type, self.wire)
        stamp = getattr(getattr(message, "header", None), "stamp", None)
        if stamp is not None and stamp.sec == stamp.nanosec == 0:
            stamp.sec, stamp.nanosec = divmod(self.log_ns, 10**9)
        return message


@dataclass(frozen=True)
class BagLoss:
    """The part of a damaged bag that can no longer be read.

    Attributes:
        reason: Description of the damage, in one line.
        messages: Number of lost messages of each topic; None if unknown.
        seconds: Time from the last readable message to the end; None if unknown.
    """

    reason: str
    messages: Mapping[str, int] | None
    seconds: float | None

    @classmethod
    def sum(cls, losses: Iterable[BagLoss]) -> BagLoss | None:
        """Add up what several parts of a bag lost; None if there are none."""
        parts = list(losses)
        if not parts:
            return None
        messages: Counter[str] = Counter()
        for part in parts:
            messages.update(part.messages or {})
        seconds = [part.seconds for part in parts if part.seconds is not None]
        return cls(
            "; ".join(dict.fromkeys(part.reason for part in parts)),
            messages if all(part.messages is not None for part in parts) else None,
            sum(seconds) if len(seconds) == len(parts) else None,
        )

    def frames(self, topics: Collection[str]) -> int | None:
        """Return the number of lost messages of some topics; None if unknown."""
        if self.messages is None:
            return None
        return sum(self.messages.get(topic, 0) for topic in topics)

    def line(self, topics: Collection[str]) -> str:
        """Return one line that says what some image topics have lost."""
        frames = self.frames(topics)
        lost = "an unknown number of" if frames is None else str(frames)
        seconds = "an unknown time" if self.seconds is None else f"the last {self.seconds:.3f} s"
        return f"damaged: {self.reason}; lost: {lost} frames, {seconds}"


class BagFile(Protocol):
    """One file of a bag, or several that are read as one.

    Attributes:
        topics: Topics by name, including those without messages.
        start_ns, end_ns: Log times of the first and the last message; None without messages.
        advice: Advice on recovering more if a part cannot be read; empty if there is none.
    """

    topics: dict[str, BagTopic]
    start_ns: int | None
    end_ns: int | None
    advice: str

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Return the messages of some topics, by name, one at a time."""


class ScannedFile:
    """A `BagFile` that is read from its start, because its summary is lost or not used.

    A subclass implements `_everything`, which also fills ``_channels``.
    """

    advice = ""

    def __init__(self) -> None:
        """Go through all messages once, to count them and to find the first and the last time."""
        self._channels: dict[int, tuple[str, str, Wire]] = {}  # topic, message type, wire
        counts: Counter[str] = Counter()
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        for message in self._everything():
            counts[message.topic] += 1
            time_ns = message.log_ns
            self.start_ns = time_ns if self.start_ns is None else min(self.start_ns, time_ns)
            self.end_ns = time_ns if self.end_ns is None else max(self.end_ns, time_ns)
        self.topics = {
            name: BagTopic(name, kind, counts[name]) for name, kind, _ in self._channels.values()
        }

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Return the messages of some topics in the file's order."""
        return (message for message in self._everything() if message.topic in topics)

    def _everything(self) -> Iterator[BagMessage]:
        """Return all messages that can be read."""
        raise NotImplementedError

    def _message(self, channel: int, log_ns: int, raw: bytes) -> Iterator[BagMessage]:
        """Yield a message of a known channel, decompressed; nothing if that is not possible."""
        if channel in self._channels:
            topic, message_type, wire = self._channels[channel]
            with suppress(UnreadableMessageError):
                content = decompressed(raw) if wire == "cdr" else raw
                yield BagMessage(topic, message_type, log_ns, content, wire)
