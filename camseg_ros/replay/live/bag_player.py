# SPDX-License-Identifier: Apache-2.0
"""Play a bag's cameras over DDS: images, calibration and ground truth at their log times."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from camseg_core.errors import CamsegError
from camseg_ros.bag.camera_topics import CameraTopics
from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.ground_truth import read_truth
from camseg_ros.bag.reader import Bag
from camseg_ros.bag.serialization import UnreadableMessageError
from camseg_ros.messages.images import BadFrameError, image_message, stamp_ns
from camseg_ros.remote.player import PlayedTopic, Player, TimedMessage

SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
TRUTH = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class PlaySettings:
    """How to play.

    Attributes:
        speed: 1 as recorded, 2 twice as fast.
        loops: number of times to play; 0 until it is stopped.
        start_offset_s: seconds of the bag to leave out at its beginning.
    """

    speed: float = 1.0
    loops: int = 1
    start_offset_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0.001 <= self.speed <= 1000.0:
            raise CamsegError(f"the speed is {self.speed}; 0.001 to 1000 is possible")
        if self.loops < 0:
            raise CamsegError(f"loops is {self.loops}; 0 (endless) or more is needed")
        if not 0.0 <= self.start_offset_s < 1e9:
            raise CamsegError(f"the start offset is {self.start_offset_s}; seconds from 0 on")


class BagPlayer(Player):
    """A `Player` of the cameras of a bag, on the bag's topics.

    Attributes:
        truth_topics: topics of the cameras' ground truth.
    """

    def __init__(self, node: Node, cameras: Sequence[CameraTopics]) -> None:
        """Create the publishers on ``node``, see `Player`."""
        self.truth_topics = [camera.truth for camera in cameras if camera.truth]
        topics: dict[Any, PlayedTopic] = {}
        for camera in cameras:
            image_type = CompressedImage if camera.is_compressed else Image
            topics |= {
                camera.image: PlayedTopic(image_type, SENSOR, camera.name),
                camera.camera_info: PlayedTopic(CameraInfo, SENSOR),
                camera.truth: PlayedTopic(Image, TRUTH),
                camera.about: PlayedTopic(String, LATCHED),
            }
        topics.pop(None, None)  # stands for what the bag lacks
        super().__init__(node, topics)

    def play_bag(
        self, bag: Bag, settings: PlaySettings, progress: Callable[[], object] = lambda: None
    ) -> None:
        """Play a bag; return after its last message, or when stopped.

        Args:
            bag: the bag to play; a stamp's image is played once a loop.
            settings: how to play it.
            progress: function that is called after each image.

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
        for _ in range(settings.loops) if settings.loops else itertools.count():
            self.play(self._messages(bag, first_ns), first_ns, settings.speed, progress)
            if self.stopped.is_set():
                return

    def _messages(self, bag: Bag, first_ns: int) -> Iterator[TimedMessage]:
        """Return what is to be published; before ``first_ns`` only what is latched."""
        seen: set[tuple[str, int]] = set()
        for message in bag.messages(self.topics):
            decoded = self._decoded(message)
            is_early = message.log_ns < first_ns and not isinstance(decoded, String)
            if decoded is None or is_early:
                continue  # the offline replay counts what cannot be read
            if self.topics[message.topic].camera:
                key = (message.topic, stamp_ns(decoded.header))
                if key in seen:  # left out as offline
                    continue
                seen.add(key)
            yield TimedMessage(message.topic, message.log_ns, decoded)

    def _decoded(self, message: BagMessage) -> Any | None:
        """Return a message to publish, ground truth always raw; None if it cannot be read."""
        try:
            decoded = message.decode()
            if message.topic in self.truth_topics and isinstance(decoded, CompressedImage):
                return image_message(read_truth(message)[1], "mono8", decoded.header)
        except (UnreadableMessageError, BadFrameError):
            return None
        return decoded if isinstance(decoded, self.topics[message.topic].message_type) else None
