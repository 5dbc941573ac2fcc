# SPDX-License-Identifier: Apache-2.0
"""A bag read as a data set: its images in order, converted as in the node, with ground truth."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from camseg_core.data.datasets import DatasetWarning
from camseg_core.data.sample import Sample, SampleMetadata, UnusableSampleError
from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED, LabelSet
from camseg_ros.bag.about import AboutDrive, check_classes, read_abouts
from camseg_ros.bag.camera_topics import CameraTopics, cameras_of, loss_line
from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.ground_truth import TruthStore, read_stored_truth
from camseg_ros.bag.reader import Bag, open_bag
from camseg_ros.bag.serialization import UnreadableMessageError
from camseg_ros.messages.images import BadFrameError, rgb_from_compressed, rgb_from_image, stamp_ns

NAMED_PROBLEMS = 5
"""Most problems of one camera that are reported in full; the others are only counted."""

UNNAMED_DATASET, UNNAMED_SPLIT = "bag", "all"
"""Data set and split of a bag that does not say where its images come from."""


@dataclass
class CameraCounts:
    """What became of a camera's messages.

    Attributes:
        images: number of images in the bag.
        repeated: images left out because an earlier image has the same stamp.
        unordered: images older than one before them; they are used all the same.
        refused: images that cannot be read.
        with_truth: images whose ground truth was found.
        truth: ground truth messages that hold class ids.
        truth_repeated: ground truth left out because an earlier message has the same stamp.
        truth_without_image: ground truth whose image is not in the bag.
        truth_refused: ground truth without class ids, with an id that no class has, or of another
            size than its image.
        problems: first few reasons for refusals.
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


@dataclass(frozen=True)
class _Listed:
    """One image of a bag: its position among all images, its camera, its header and stamp."""

    position: int
    camera: CameraTopics
    header: Header
    stamp_ns: int


class BagDataset(AbstractContextManager["BagDataset"]):
    """A `Dataset` of one bag, and a context manager that closes the bag.

    Each stamp of a camera is one sample. Reading samples in order is fastest.

    Attributes:
        root: path of the bag.
        bag_name: name of the bag, for results.
        name, split: data set and split that the bag names.
        label_set: the classes of the ground truth.
        about: what else the bag says about its ground truth.
        cameras: the cameras that are read.
        expected: number of images that the bag counts, or the limit on those that are read.
        identity: text that tells this bag from others.
        identities: the identities of all bags that are scored together.
        counts: what became of the messages so far, by camera.
    """

    def __init__(
        self,
        path: Path,
        label_set: LabelSet | None = None,
        *,
        image_topics: Sequence[str] = (),
        truth_topics: Sequence[str] = (),
        most_frames: int | None = None,
    ) -> None:
        """Read a bag's description; the bag stays closed until samples are asked for.

        Args:
            path: folder or file of the bag.
            label_set: the classes to expect; those that the bag names if not given.
            image_topics: topics of the cameras, see `find_cameras`.
            truth_topics: topics of their ground truth.
            most_frames: largest number of images to read, from the first one on; None for all.

        Raises:
            CamsegError: the bag cannot be read, or its ground truth has other classes.
        """
        self.root = path
        self._image_topics, self._most_frames = image_topics, most_frames
        with open_bag(path) as bag:
            self.bag_name = bag.name
            self.cameras = cameras_of(bag, image_topics, truth_topics)
            abouts = read_abouts(bag, self.cameras)
            counts = {name: topic.count for name, topic in bag.topics.items()}
            images = sum(counts[camera.image] for camera in self.cameras)
            self.identity = json.dumps([bag.name, bag.start_ns, bag.end_ns, counts], sort_keys=True)
        self.about: AboutDrive = abouts[0]
        self.label_set = _classes(abouts, label_set, path)
        self.name = self.about.dataset or UNNAMED_DATASET
        self.split = self.about.split or UNNAMED_SPLIT
        self.expected = min(images, most_frames or images)
        self.identities = [self.identity]
        self.counts = {camera.name: CameraCounts() for camera in self.cameras}
        self._by_topic = {camera.image: camera for camera in self.cameras}
        self._files = ExitStack()
        self._stream: Iterator[tuple[int, BagMessage]] | None = None
        self._last_position = -1
        self._read: set[int] = set()

    def __exit__(self, *_: object) -> None:
        """Close the bag."""
        self.close()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    @cached_property
    def samples(self) -> tuple[SampleMetadata, ...]:
        """What is known of each sample before its pixels are read."""
        indices = {name: count() for name in self.counts}
        return tuple(
            SampleMetadata(
                name=f"{self.bag_name}/{one.camera.name}/{one.stamp_ns}",
                dataset=self.name,
                split=self.split,
                part=self.about.part,
                condition=self.about.condition,
                sequence=self.bag_name,
                frame_index=next(indices[one.camera.name]),
                camera=one.camera.name,
                stamp_ns=one.stamp_ns,
            )
            for one in self._listed
        )

    def read(self, index: int) -> Sample:
        """Read one sample; ground truth that cannot be used is left out and counted.

        Raises:
            UnusableSampleError: the image cannot be read.
            CamsegError: the bag has changed since it was opened.
        """
        listed = self._listed[index]
        # A sample that is read again is not counted again.
        counts = CameraCounts() if index in self._read else self.counts[listed.camera.name]
        self._read.add(index)
        try:
            _, image = read_rgb(self._message(listed.position), listed.camera)
        except (UnreadableMessageError, BadFrameError) as error:
            text = f"{listed.camera.image}: {error}"
            counts.refused += 1
            counts.problem(text)
            raise UnusableSampleError(text) from error
        class_ids = self._stores[listed.camera.name].get(listed.stamp_ns)
        if class_ids is not None and (
            problem := self._problem_of(class_ids, image, listed.stamp_ns)
        ):
            counts.truth_refused += 1
            counts.problem(problem)
            class_ids = None
        counts.with_truth += class_ids is not None
        return Sample(image, class_ids, self.samples[index])

    def header(self, index: int) -> Header:
        """Return the header of a sample's image."""
        return self._listed[index].header

    def fingerprint(self) -> str:
        """Return a hash of the identities of all bags that are scored together."""
        return hashlib.sha256("\n".join(sorted(self.identities)).encode()).hexdigest()

    @property
    def loss(self) -> str:
        """Description of the damage found so far; empty if there is none."""
        return loss_line(self._bag, self.cameras, self._image_topics)

    def close(self) -> None:
        """Close the bag."""
        self._files.close()

    @cached_property
    def _bag(self) -> Bag:
        return self._files.enter_context(open_bag(self.root))

    @cached_property
    def _listed(self) -> list[_Listed]:
        """List the bag's images in one pass, without decoding their pixels."""
        stores, found = self._stores, list[_Listed]()
        seen: dict[str, set[int]] = {name: set() for name in self.counts}
        newest = dict.fromkeys(self.counts, -1)
        for position, message in enumerate(self._bag.messages(self._by_topic)):
            camera = self._by_topic[message.topic]
            counts = self.counts[camera.name]
            counts.images += 1
            try:
                header = _decode_image(message, Image, CompressedImage).header
            except (UnreadableMessageError, BadFrameError) as error:
                counts.refused += 1
                counts.problem(f"{message.topic}: {error}")
                continue
            stamp = stamp_ns(header)
            if stamp in seen[camera.name]:
                counts.repeated += 1
                continue
            seen[camera.name].add(stamp)
            counts.unordered += stamp < newest[camera.name]
            newest[camera.name] = max(stamp, newest[camera.name])
            found.append(_Listed(position, camera, header, stamp))
            if len(found) == self._most_frames:
                return found
        for name, store in stores.items():
            self.counts[name].truth_without_image = sum(s not in seen[name] for s in store)
        return found

    @cached_property
    def _stores(self) -> dict[str, TruthStore]:
        """Ground truth of each camera; a bag may hold it before or after the images."""
        found = {}
        for camera in self.cameras:
            found[camera.name] = read_stored_truth(self._bag, camera, self._files)
            self.counts[camera.name].take_truth(found[camera.name])
        return found

    def _message(self, wanted: int) -> BagMessage:
        """Return the image at a position; read from the start again if it was already passed."""
        if self._stream is None or wanted <= self._last_position:
            self._stream = enumerate(self._bag.messages(self._by_topic))
        for position, message in self._stream:
            self._last_position = position
            if position == wanted:
                return message
        raise CamsegError(f"{self.root} lost messages while it was read; was it written to?")

    def _problem_of(self, class_ids: UInt8, image: UInt8, stamp: int) -> str:
        """Return why ground truth cannot be used; empty if it can."""
        if class_ids.shape != image.shape[:2]:
            return (
                f"ground truth of {stamp} ns is {class_ids.shape[1]} x {class_ids.shape[0]}, "
                f"its image {image.shape[1]} x {image.shape[0]}; both must have the same size"
            )
        classes = self.label_set.num_classes
        unknown = class_ids[(class_ids >= classes) & (class_ids != UNLABELED)]
        if unknown.size:
            return (
                f"ground truth of {stamp} ns holds id {unknown[0]}; the classes are 0 to "
                f"{classes - 1}, and {UNLABELED} is unlabeled"
            )
        return ""


def open_bag_dataset(
    name: str,
    root: str | Path,
    split: str,
    *,
    part: str = "",
    conditions: Sequence[str] = (),
    list_file: str | Path | None = None,
    label_set: LabelSet | None = None,
) -> BagDataset:
    """Open a bag as `open_dataset` opens a data set.

    Args:
        name: the name under which bags were asked for.
        root: folder or file of the bag.
        split: the split that the bag names, or ``all``.
        part: the part that the bag names, or empty.
        conditions: conditions that are accepted; empty for any.
        list_file: not possible with a bag.
        label_set: the classes to expect; those that the bag names if not given.

    Raises:
        CamsegError: the bag cannot be read, or is of another split, part, condition or classes.

    Warns:
        DatasetWarning: the bag is damaged.
    """
    if list_file is not None:
        raise CamsegError(f"{list_file}: a list chooses image files, and {name} has none")
    dataset = BagDataset(Path(root), label_set)
    about = dataset.about
    for what, asked, found in (
        ("split", [] if split == UNNAMED_SPLIT else [split], about.split),
        ("part", [part] if part else [], about.part),
        ("condition", conditions, about.condition),
    ):
        if asked and found not in asked:
            raise CamsegError(
                f"{root} is of {what} {found or 'unknown'}, not {' or '.join(asked)}; leave the "
                f"{what} out to take the whole bag"
            )
    if not len(dataset):
        raise CamsegError(f"{root}: no image can be read")
    if dataset.loss:
        warnings.warn(f"{root} is {dataset.loss}", DatasetWarning, stacklevel=3)
    return dataset


def read_rgb(message: BagMessage, camera: CameraTopics) -> tuple[int, UInt8]:
    """Return stamp in nanoseconds and RGB uint8 [H, W, 3] of a camera's message.

    The conversion is that of the node, which subscribes to one type of image message.

    Raises:
        UnreadableMessageError: the bytes are not a message of their type.
        BadFrameError: the message holds no image, or not the camera's type of image.
    """
    if camera.is_compressed:
        image = _decode_image(message, CompressedImage)
        return stamp_ns(image.header), rgb_from_compressed(image)
    image = _decode_image(message, Image)
    return stamp_ns(image.header), rgb_from_image(image)


def read_images(bag: Bag, camera: CameraTopics) -> Iterator[tuple[int, UInt8]]:
    """Yield what `read_rgb` returns of each message of a camera that can be read."""
    for message in bag.messages([camera.image]):
        with suppress(UnreadableMessageError, BadFrameError):
            yield read_rgb(message, camera)


def _decode_image(message: BagMessage, *kinds: type) -> Any:
    decoded = message.decode()
    if not isinstance(decoded, kinds):
        raise BadFrameError(f"a message of {message.message_type} among the images")
    return decoded


def _classes(abouts: Sequence[AboutDrive], label_set: LabelSet | None, path: Path) -> LabelSet:
    """Return the classes of the ground truth, which all cameras must share."""
    named = [about.label_set for about in abouts if about.label_set is not None]
    if label_set is None and not named:
        raise CamsegError(
            f"{path} does not say what its ground truth means; --label-set names the classes"
        )
    classes = label_set or named[0]
    for about in abouts:
        check_classes(about, classes, path)
    return classes
