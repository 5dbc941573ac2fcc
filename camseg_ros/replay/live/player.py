# SPDX-License-Identifier: Apache-2.0
"""Play a bag's cameras over DDS in time, with ``/clock``: rate, repeats, start offset, pause."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from camseg_core.errors import CamsegError
from camseg_ros.bag.camera_topics import CameraTopics
from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.reader import Bag
from camseg_ros.bag.serialization import UnreadableMessageError
from camseg_ros.messages.images import BadFrameError, image_message, stamp_ns
from camseg_ros.replay.truth import read_truth

CLOCK_PERIOD_S = 0.01
TRUTH_DEPTH = 50


@dataclass(frozen=True)
class PlaySettings:
    """How to play.

    Attributes:
        rate: 1 as recorded, 2 twice as fast.
        loops: how often; 0 until it is stopped.
        start_offset_s: what is left out at the begin, seconds of the bag.
    """

    rate: float = 1.0
    loops: int = 1
    start_offset_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0.001 <= self.rate <= 1000.0:
            raise CamsegError(f"the rate is {self.rate}; 0.001 to 1000 is possible")
        if self.loops < 0:
            raise CamsegError(f"loops is {self.loops}; 0 (endless) or more is needed")
        if not 0.0 <= self.start_offset_s < 1e9:
            raise CamsegError(f"the start offset is {self.start_offset_s}; seconds from 0 on")


class BagPlayer:
    """Publishes images, calibration and truth at their log times; a stamp's image once a loop.

    Attributes:
        sent_ns: per camera, stamp of a frame -> when it was published last, steady clock.
        played: per camera, how many frames were published.
        lock: held while these change.
    """

    def __init__(self, node: Node, cameras: Sequence[CameraTopics]) -> None:
        """Create the publishers on ``node``; topics are those of the bag.

        Raises:
            CamsegError: a topic's name is none in ROS 2, as it may be in bags of others.
        """
        self.sent_ns: dict[str, dict[int, int]] = {camera.name: {} for camera in cameras}
        self.played = {camera.name: 0 for camera in cameras}
        self.lock = threading.Lock()
        self._stop = threading.Event()
        self._running = threading.Event()
        self._running.set()
        self._camera_of = {camera.image: camera.name for camera in cameras}
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        truth = QoSProfile(depth=TRUTH_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publishers = {}
        for camera in cameras:
            image_type = CompressedImage if camera.is_compressed else Image
            for topic, message_type, quality in (
                (camera.image, image_type, sensor),
                (camera.camera_info, CameraInfo, sensor),
                (camera.truth, Image, truth),
                (camera.about, String, latched),
            ):
                if topic is None:
                    continue
                try:
                    self._publishers[topic] = node.create_publisher(message_type, topic, quality)
                except InvalidTopicNameException as error:
                    raise CamsegError(
                        f"topic {topic!r} cannot be played: parts of letters, digits and "
                        "underscores that begin with no digit are needed in ROS 2; an offline "
                        "replay takes any name"
                    ) from error
        self._images = [self._publishers[camera.image] for camera in cameras]
        self._truth_topics = [camera.truth for camera in cameras if camera.truth]
        self._truth = [self._publishers[topic] for topic in self._truth_topics]
        self._clock = node.create_publisher(Clock, "/clock", 1)

    def is_heard(self) -> bool:
        """True when every camera's frames have a listener."""
        return all(publisher.get_subscription_count() > 0 for publisher in self._images)

    def truth_is_heard(self) -> bool:
        """True when every camera's truth has a listener; so where there is no truth."""
        return all(publisher.get_subscription_count() > 0 for publisher in self._truth)

    def pause(self) -> None:
        """Stop time; `resume` goes on."""
        self._running.clear()

    def resume(self) -> None:
        """Go on."""
        self._running.set()

    def stop(self) -> None:
        """End `play` soon, from any thread."""
        self._stop.set()
        self._running.set()

    def wait_until_sent(self, limit: Duration) -> None:
        """Wait until reliable subscribers have what was published, at most ``limit`` each."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(limit)

    @property
    def is_paused(self) -> bool:
        """True between `pause` and `resume`."""
        return not self._running.is_set()

    def play(
        self, bag: Bag, settings: PlaySettings, progress: Callable[[], object] = lambda: None
    ) -> None:
        """Play the bag; returns after its last message, or when stopped.

        Args:
            bag: to play.
            settings: how.
            progress: called for each image.

        Raises:
            CamsegError: the start offset lies behind the bag's end.
        """
        if bag.start_ns is None or bag.end_ns is None:
            return
        first_ns = bag.start_ns + round(1e9 * settings.start_offset_s)
        if first_ns > bag.end_ns:
            length_s = (bag.end_ns - bag.start_ns) / 1e9
            raise CamsegError(
                f"the start offset is {settings.start_offset_s} s, but {bag.path} is "
                f"{length_s:.3f} s long"
            )
        played = 0
        while not self._stop.is_set() and (settings.loops == 0 or played < settings.loops):
            self._play_once(bag, first_ns, settings.rate, progress)
            played += 1

    def _play_once(
        self, bag: Bag, first_ns: int, rate: float, progress: Callable[[], object]
    ) -> None:
        timeline = _BagTime(first_ns, rate)
        ended = threading.Event()
        clock = threading.Thread(target=self._publish_clock, args=(timeline, ended), name="clock")
        clock.start()
        seen: set[tuple[str, int]] = set()
        try:
            for message in bag.messages(self._publishers):
                if self._stop.is_set():
                    return
                is_late_joiner = message.log_ns < first_ns
                decoded = self._decode(message)
                if decoded is None:
                    continue  # the offline replay counts them
                if is_late_joiner and not isinstance(decoded, String):
                    continue
                if not is_late_joiner and not self._wait_until(timeline, message.log_ns):
                    return
                camera = self._camera_of.get(message.topic)
                if camera is not None:
                    stamp = stamp_ns(decoded.header)
                    if (camera, stamp) in seen:  # as offline
                        continue
                    seen.add((camera, stamp))
                    with self.lock:
                        self.sent_ns[camera][stamp] = time.monotonic_ns()
                        self.played[camera] += 1
                self._publishers[message.topic].publish(decoded)
                if camera is not None:
                    progress()
        finally:
            ended.set()
            clock.join()

    def _decode(self, message: BagMessage) -> Any | None:
        """Return a message as it is to be published: truth always raw; None if it is not
        readable.
        """
        try:
            decoded = message.decode()
            if message.topic in self._truth_topics and isinstance(decoded, CompressedImage):
                return image_message(read_truth(message)[1], "mono8", decoded.header)
        except (UnreadableMessageError, BadFrameError):
            return None
        expected = self._publishers[message.topic].msg_type
        return decoded if isinstance(decoded, expected) else None

    def _wait_until(self, timeline: _BagTime, log_ns: int) -> bool:
        """Wait until the bag's time is ``log_ns``; false if it was stopped meanwhile."""
        while not self._stop.is_set():
            if self.is_paused:
                timeline.stand(time.monotonic_ns())
                self._running.wait()
                timeline.go_on(time.monotonic_ns())
                continue
            delay_s = timeline.delay_s(log_ns, time.monotonic_ns())
            if delay_s <= 0:
                return True
            self._stop.wait(min(delay_s, CLOCK_PERIOD_S))  # short, to hear a pause
        return False

    def _publish_clock(self, timeline: _BagTime, ended: threading.Event) -> None:
        message = Clock()
        while not ended.is_set():
            if not self.is_paused:
                now_ns = timeline.now_ns(time.monotonic_ns())
                message.clock.sec, message.clock.nanosec = divmod(now_ns, 10**9)
                self._clock.publish(message)
            ended.wait(CLOCK_PERIOD_S)


class _BagTime:
    """The bag's time against the steady clock; stands still while paused."""

    def __init__(self, first_ns: int, rate: float) -> None:
        self._first_ns, self._rate = first_ns, rate
        self._start_ns = time.monotonic_ns()
        self._stands_since_ns: int | None = None

    def now_ns(self, steady_ns: int) -> int:
        """Return the bag's time, nanoseconds."""
        since_ns = self._stands_since_ns
        steady_ns = steady_ns if since_ns is None else since_ns
        return self._first_ns + int((steady_ns - self._start_ns) * self._rate)

    def delay_s(self, log_ns: int, steady_ns: int) -> float:
        """Return how long it is, in seconds of the steady clock, until a time of the bag."""
        return (log_ns - self.now_ns(steady_ns)) / self._rate / 1e9

    def stand(self, steady_ns: int) -> None:
        """Stop the bag's time."""
        self._stands_since_ns = steady_ns

    def go_on(self, steady_ns: int) -> None:
        """Let it run on from where it stands."""
        if self._stands_since_ns is not None:
            self._start_ns += steady_ns - self._stands_since_ns
        self._stands_since_ns = None
