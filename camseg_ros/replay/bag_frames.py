# SPDX-License-Identifier: Apache-2.0
"""A bag's frames, one at a time, converted as the node converts them, each with its truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED
from camseg_ros.bag.camera_topics import CameraTopics
from camseg_ros.bag.reader import Bag
from camseg_ros.bag.serialization import UnreadableMessageError
from camseg_ros.messages.images import BadFrameError, rgb_from_compressed, rgb_from_image, stamp_ns
from camseg_ros.replay.truth import TruthStore, read_stored_truth

NAMED_PROBLEMS = 5
"""Of each kind; the others are counted."""


@dataclass(frozen=True)
class BagFrame:
    """One image of one camera.

    Attributes:
        camera: whose.
        stamp_ns: of its header.
        image: RGB uint8 [H, W, 3].
        truth: class ids uint8 [H, W], 255 = unlabeled; None without.
        header: of the message.
    """

    camera: CameraTopics
    stamp_ns: int
    image: UInt8
    truth: UInt8 | None
    header: Any


@dataclass
class CameraCounts:
    """What became of a camera's messages.

    Attributes:
        images: read from the bag.
        repeated: of a stamp that an earlier image had; left out.
        unordered: older than one before; taken all the same.
        refused: not readable as an image.
        with_truth: whose truth was found.
        truth: truth messages with class ids.
        truth_repeated: truth of a stamp that earlier truth had; left out.
        truth_without_image: truth whose image is not in the bag.
        truth_refused: truth that holds no class ids or unknown ones, or of another size than its
            image.
        problems: the first few reasons for refusals.
    """

    images: int = 0
    repeated: int = 0
    unordered: int = 0
    refused: int = 0
    with_truth: int = 0
    truth: int = 0
    truth_repeated: int = 0
    truth_without_image: int = 0
    truth_refused: int = 0
    problems: list[str] = field(default_factory=list)

    def take_truth(self, store: TruthStore) -> None:
        """Count what a store holds, and what it refused."""
        self.truth = len(store)
        self.truth_repeated = store.repeated
        self.truth_refused += len(store.refused)
        for reason in store.refused:
            self.problem(reason)

    def problem(self, text: str) -> None:
        """Keep a reason, if it is among the first few."""
        if len(self.problems) < NAMED_PROBLEMS:
            self.problems.append(text)


class BagFrames:
    """Goes once through a bag's images of some cameras.

    Attributes:
        counts: by camera name; complete after the last frame.
    """

    def __init__(
        self, bag: Bag, cameras: Sequence[CameraTopics], num_classes: int | None = None
    ) -> None:
        """Take an open bag and its cameras; truth with ids of no class is refused, if given."""
        self._num_classes = num_classes
        self.counts = {camera.name: CameraCounts() for camera in cameras}
        self._bag, self._cameras = bag, cameras

    def __iter__(self) -> Iterator[BagFrame]:
        """Return the frames in the order of the bag, each stamp of a camera once."""
        by_topic = {camera.image: camera for camera in self._cameras}
        with ExitStack() as stack:
            stores = {
                camera.name: read_stored_truth(self._bag, camera, stack) for camera in self._cameras
            }
            for name, store in stores.items():
                self.counts[name].take_truth(store)
            seen: dict[str, set[int]] = {name: set() for name in self.counts}
            newest = dict.fromkeys(self.counts, -1)
            for message in self._bag.messages(by_topic):
                camera = by_topic[message.topic]
                counts = self.counts[camera.name]
                counts.images += 1
                try:
                    decoded = message.decode()
                    image = _rgb(decoded, message.message_type, camera)
                except (UnreadableMessageError, BadFrameError) as error:
                    counts.refused += 1
                    counts.problem(f"{message.topic}: {error}")
                    continue
                stamp = stamp_ns(decoded.header)
                if stamp in seen[camera.name]:
                    counts.repeated += 1
                    continue
                seen[camera.name].add(stamp)
                counts.unordered += stamp < newest[camera.name]
                newest[camera.name] = max(stamp, newest[camera.name])
                truth = self._truth_of(stores[camera.name], stamp, image, counts)
                yield BagFrame(camera, stamp, image, truth, decoded.header)
            for name, store in stores.items():
                self.counts[name].truth_without_image = sum(s not in seen[name] for s in store)

    def _truth_of(
        self, store: TruthStore, stamp: int, image: UInt8, counts: CameraCounts
    ) -> UInt8 | None:
        truth = store.get(stamp)
        if truth is None:
            return None
        if truth.shape != image.shape[:2]:
            counts.truth_refused += 1
            counts.problem(
                f"truth of {stamp} ns is {truth.shape[1]} x {truth.shape[0]}, its image "
                f"{image.shape[1]} x {image.shape[0]}; they are of one size"
            )
            return None
        if self._num_classes is not None:
            unknown = truth[(truth >= self._num_classes) & (truth != UNLABELED)]
            if unknown.size:
                counts.truth_refused += 1
                counts.problem(
                    f"truth of {stamp} ns holds id {unknown[0]}; the classes are 0 to "
                    f"{self._num_classes - 1}, and {UNLABELED} is unlabeled"
                )
                return None
        counts.with_truth += 1
        return truth


def _rgb(decoded: Any, message_type: str, camera: CameraTopics) -> UInt8:
    """Convert as the node does, which subscribes to one type."""
    if camera.is_compressed and isinstance(decoded, CompressedImage):
        return rgb_from_compressed(decoded)
    if not camera.is_compressed and isinstance(decoded, Image):
        return rgb_from_image(decoded)
    raise BadFrameError(f"a message of {message_type} among the images")
