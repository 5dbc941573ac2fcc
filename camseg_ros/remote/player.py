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
        for name, topic in topics.items():
            try:
                publisher = node.create_publisher(topic.message_type, name, topic.quality)
            except InvalidTopicNameException as error:
                raise CamsegError(
                    f"topic {name!r} cannot be played: parts of letters, digits and underscores "
                    "that begin with no digit are needed in ROS 2; an offline replay takes any name"
                ) from error
            self._publishers[name] = publisher
        self._clock = node.create_publisher(Clock, "/clock", 1) if has_clock else None
        self._stop = threading.Event()
        self._running = threading.Event()
        self._running.set()

    def is_heard(self, topics: Iterable[str] | None = None) -> bool:
        """Return whether topics, or all cameras' images if none are named, have a listener."""
        if topics is None:
            topics = [name for name, topic in self.topics.items() if topic.camera]
        return all(self._publishers[name].get_subscription_count() > 0 for name in topics)

    def pause(self) -> None:
        """Stop time; `resume` goes on."""
        self._running.clear()

    def resume(self) -> None:
        """Let time go on."""
        self._running.set()

    def stop(self) -> None:
        """End `play` soon, from any thread."""
        self._stop.set()
        self._running.set()

    @property
    def is_stopped(self) -> bool:
        """True after `stop`."""
        return self._stop.is_set()

    @property
    def is_paused(self) -> bool:
        """True between `pause` and `resume`."""
        return not self._running.is_set()

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
                is_due = timed.time_ns < start_ns or self._wait_until(timeline, timed.time_ns)
                if self._stop.is_set() or not is_due:
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

    def _wait_until(self, timeline: _Timeline, time_ns: int) -> bool:
        """Wait until the played time is ``time_ns``; return false if stopped meanwhile."""
        while not self._stop.is_set():
            if self.is_paused:
                timeline.stand(time.monotonic_ns())
                self._running.wait()
                timeline.go_on(time.monotonic_ns())
                continue
            delay_s = timeline.delay_s(time_ns, time.monotonic_ns())
            if delay_s <= 0:
                return True
            self._stop.wait(min(delay_s, CLOCK_PERIOD_S))  # short, to hear a pause
        return False

    def _publish_clock(self, timeline: _Timeline, ended: threading.Event) -> None:
        message = Clock()
        while self._clock is not None and not ended.is_set():
            if not self.is_paused:
                now_ns = timeline.now_ns(time.monotonic_ns())
                message.clock.sec, message.clock.nanosec = divmod(now_ns, 10**9)
                self._clock.publish(message)
            ended.wait(CLOCK_PERIOD_S)


class _Timeline:
    """The played time against the steady clock; it stands still while paused."""

    def __init__(self, first_ns: int, rate: float) -> None:
        self._first_ns, self._rate = first_ns, rate
        self._start_ns = time.monotonic_ns()
        self._stands_since_ns: int | None = None

    def now_ns(self, steady_ns: int) -> int:
        """Return the played time, nanoseconds."""
        since_ns = self._stands_since_ns
        steady_ns = steady_ns if since_ns is None else since_ns
        return self._first_ns + int((steady_ns - self._start_ns) * self._rate)

    def delay_s(self, time_ns: int, steady_ns: int) -> float:
        """Return how long it is until a played time, in seconds of the steady clock."""
        return (time_ns - self.now_ns(steady_ns)) / self._rate / 1e9

    def stand(self, steady_ns: int) -> None:
        """Stop the played time."""
        self._stands_since_ns = steady_ns

    def go_on(self, steady_ns: int) -> None:
        """Let it run on from where it stands."""
        if self._stands_since_ns is not None:
            self._start_ns += steady_ns - self._stands_since_ns
        self._stands_since_ns = None
