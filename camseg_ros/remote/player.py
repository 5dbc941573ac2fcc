# SPDX-License-Identifier: Apache-2.0
"""The player: publishes messages over DDS at their times, with ``/clock`` where it is asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from camseg_core.errors import CamsegError
from camseg_ros.messages.images import stamp_ns
from camseg_ros.remote.traffic import CameraTraffic

CLOCK_PERIOD_S = 0.01


@dataclass(frozen=True)
class TimedMessage:
    """A message, its topic, and its time on the clock of what is played, nanoseconds."""

    topic: str
    time_ns: int
    message: Any


@dataclass(frozen=True)
class PlayedTopic:
    """One topic to play.

    Attributes:
        message_type: type of its messages.
        quality: quality of service of its publisher.
        camera: the camera whose images these are; empty for anything else.
    """

    message_type: type
    quality: QoSProfile
    camera: str = ""


class Player:
    """Publishes timed messages, and takes note of the frames that it sends.

    Attributes:
        topics: what can be played, by name.
        traffic: the frames of each camera.
        running: event that is cleared to stop the played time, and set to let it go on.
        stopped: event that is set after `stop`.
    """

    def __init__(
        self, node: Node, topics: Mapping[str, PlayedTopic], *, has_clock: bool = True
    ) -> None:
        """Create the publishers on ``node``.

        Args:
            node: node that makes the publishers.
            topics: what will be played, by name.
            has_clock: whether ``/clock`` tells the time of what is played.

        Raises:
            CamsegError: a topic's name is not possible in ROS 2, as it may be in bags of others.
        """
        self.traffic = {one.camera: CameraTraffic() for one in topics.values() if one.camera}
        self.topics = topics
        self._publishers = {}
        try:
            for name, one in topics.items():
                self._publishers[name] = node.create_publisher(one.message_type, name, one.quality)
        except InvalidTopicNameException as error:
            raise CamsegError(
                f"topic {name!r} cannot be played: parts of letters, digits and underscores that "
                "begin with no digit are needed in ROS 2; an offline replay takes any name"
            ) from error
        self._clock = node.create_publisher(Clock, "/clock", 1) if has_clock else None
        self.stopped, self.running = threading.Event(), threading.Event()
        self.running.set()

    def is_heard(self, others: Iterable[str] = ()) -> bool:
        """Return whether all cameras' images, and ``others`` of the topics, have a listener."""
        images = [name for name, topic in self.topics.items() if topic.camera]
        return all(self._publishers[n].get_subscription_count() > 0 for n in (*images, *others))

    def stop(self) -> None:
        """End `play` soon, from any thread."""
        self.stopped.set()
        self.running.set()

    def wait_until_sent(self, limit: Duration) -> None:
        """Wait until reliable subscribers have what was published, at most ``limit`` each."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(limit)

    def play(
        self,
        messages: Iterable[TimedMessage],
        start_ns: int,
        rate: float = 1.0,
        progress: Callable[[], object] = lambda: None,
    ) -> None:
        """Publish messages in their order, each at its time; return after the last, or `stop`.

        Args:
            messages: what to play; those before ``start_ns`` are published at once.
            start_ns: time at which playing begins, on the clock of the messages.
            rate: speed, 1 for the messages' own.
            progress: function that is called after each image.
        """
        timeline = _Timeline(start_ns, rate)
        ended = threading.Event()
        clock = threading.Thread(target=self._publish_clock, args=(timeline, ended), name="clock")
        clock.start()
        try:
            for timed in messages:
                if timed.time_ns >= start_ns:
                    self._wait_until(timeline, timed.time_ns)
                if self.stopped.is_set():
                    return
                camera = self.topics[timed.topic].camera
                if camera:
                    self.traffic[camera].on_sent(stamp_ns(timed.message.header))
                self._publishers[timed.topic].publish(timed.message)
                if camera:
                    progress()
        finally:
            ended.set()
            clock.join()

    def _wait_until(self, timeline: _Timeline, time_ns: int) -> None:
        """Wait until the played time is ``time_ns``, or until stopped."""
        while not self.stopped.is_set():
            if not self.running.is_set():
                timeline.stand_until(self.running)
            delay_s = timeline.delay_s(time_ns)
            if delay_s <= 0:
                return
            self.stopped.wait(min(delay_s, CLOCK_PERIOD_S))  # short, to hear a pause

    def _publish_clock(self, timeline: _Timeline, ended: threading.Event) -> None:
        message = Clock()
        while self._clock is not None and not ended.is_set():
            if self.running.is_set():
                message.clock.sec, message.clock.nanosec = divmod(timeline.now_ns(), 10**9)
                self._clock.publish(message)
            ended.wait(CLOCK_PERIOD_S)


class _Timeline:
    """The played time against the steady clock; it stands still while paused."""

    def __init__(self, first_ns: int, rate: float) -> None:
        self._first_ns, self._rate = first_ns, rate
        self._start_ns = time.monotonic_ns()
        self._stands_since_ns: int | None = None

    def now_ns(self) -> int:
        """Return the played time, nanoseconds."""
        steady_ns = self._stands_since_ns or time.monotonic_ns()
        return self._first_ns + int((steady_ns - self._start_ns) * self._rate)

    def delay_s(self, time_ns: int) -> float:
        """Return how long it is until a played time, in seconds of the steady clock."""
        return (time_ns - self.now_ns()) / self._rate / 1e9

    def stand_until(self, running: threading.Event) -> None:
        """Stop the played time until it is to run on."""
        self._stands_since_ns = time.monotonic_ns()
        running.wait()
        self._start_ns += time.monotonic_ns() - self._stands_since_ns
        self._stands_since_ns = None
