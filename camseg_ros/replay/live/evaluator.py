# SPDX-License-Identifier: Apache-2.0
"""Hear the masks, confidence and labels of a node, pair them with ground truth, and score them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.calibration import reliability_of
from camseg_core.evaluation.metrics.calibration_counts import RELIABILITY_BINS, UNITS_PER_ONE
from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.evaluation.metrics.official import mean_iou_per_image
from camseg_core.evaluation.metrics.ratios import finite_or_none
from camseg_core.evaluation.metrics.registry import Measured
from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED, Color, LabelSet
from camseg_core.system.validation import parse_json
from camseg_ros.bag.about import AboutDrive, check_classes
from camseg_ros.bag.camera_topics import about_beside
from camseg_ros.bag.dataset import CameraCounts
from camseg_ros.bag.ground_truth import TruthStore, class_ids_of
from camseg_ros.messages.images import BadFrameError, array_from_image_message, stamp_ns
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.traffic import CameraTraffic
from camseg_ros.replay.results.drives import FrameResult
from camseg_ros.replay.results.kept_frames import OutputBag

DEPTH = 100
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
OUTPUTS_HEARD = ("mask", "confidence")
MOST_PENDING = 128
"""Number of masks that wait for their confidence or ground truth; the oldest is then scored."""

_LEVELS = np.arange(256)
_LEVEL_BINS = np.minimum(_LEVELS * RELIABILITY_BINS // 255, RELIABILITY_BINS - 1)


@dataclass(frozen=True)
class _LabeledClass:
    """One class of the node's labels."""

    id: int
    name: str
    color: Color


@dataclass(frozen=True)
class NodeLabels:
    """What the node says about its classes, see `labels_json`."""

    label_set: str
    weights_sha256: str
    unlabeled: int
    classes: list[_LabeledClass]

    def classes_by_id(self) -> LabelSet:
        """Return the label set.

        Raises:
            CamsegError: the classes break a rule of label sets.
        """
        classes = sorted(self.classes, key=lambda one: one.id)
        ids = [one.id for one in classes]
        if ids != [*range(len(ids))]:
            raise CamsegError(f"the node's labels have the ids {ids}; each from 0 on is needed")
        palette = tuple(one.color for one in classes)
        # The labels do not tell the colour of unlabeled pixels; it must be no class's.
        void_color = next((gray,) * 3 for gray in range(256) if (gray,) * 3 not in palette)
        return LabelSet(self.label_set, tuple(one.name for one in classes), palette, void_color, {})


@dataclass
class LiveScores:
    """One camera's scores; each stamp counts once, however often it comes.

    Attributes:
        name: name of the camera.
        label_set: the node's classes.
        truth: ground truth by stamp; None where there is none.
        truth_comes: true if more ground truth comes while masks do, so that a mask waits for it.
        frames: results of every mask that came, in the order of completion.
        counts: what became of the ground truth.
        bag: bag that masks and confidence are written into; None for none.
    """

    name: str
    label_set: LabelSet
    truth: TruthStore | None
    truth_comes: bool = False
    frames: list[FrameResult] = field(default_factory=list)
    counts: CameraCounts = field(default_factory=CameraCounts)
    bag: OutputBag | None = None

    def __post_init__(self) -> None:
        """Start from zero."""
        classes = self.label_set.num_classes
        self._confusion = np.zeros((classes, classes + 1), np.int64)
        self._level_count = np.zeros(256, np.int64)  # labeled pixels by confidence byte
        self._level_correct = np.zeros(256, np.int64)
        self._pending: dict[int, dict[str, UInt8]] = {}
        self._done: set[int] = set()

    def on_output(self, output: str, header: Header, picture: UInt8) -> None:
        """Take a mask or a confidence image [H, W]; a frame's two are recorded once both came."""
        stamp = stamp_ns(header)
        if stamp in self._done:
            return
        parts = self._pending.setdefault(stamp, {})
        if output not in parts:
            parts[output] = picture
            if len(parts) == len(OUTPUTS_HEARD) and self.bag is not None:
                self.bag.write_frame(self.name, header, parts["mask"], parts["confidence"])
        self._conclude_if_whole(stamp)
        if len(self._pending) > MOST_PENDING:
            self._conclude(min(self._pending))

    def on_truth(self, stamp: int, class_ids: UInt8) -> None:
        """Take ground truth [H, W], which may come long before its mask."""
        if self.truth is not None:
            self.truth.add(stamp, class_ids)
            self._conclude_if_whole(stamp)

    def finish(self) -> None:
        """Count what came without its ground truth; the store can be closed then."""
        for stamp in sorted(self._pending):
            self._conclude(stamp)
        if self.truth is not None:
            self.counts.take_truth(self.truth)

    def measured(self) -> Measured:
        """Return what metrics of the frames that came with ground truth are computed from."""

        def binned(values: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.bincount(_LEVEL_BINS, values, RELIABILITY_BINS).astype(np.int64)

        units = self._level_count * np.rint(_LEVELS * UNITS_PER_ONE / 255).astype(np.int64)
        reliability = reliability_of(
            binned(self._level_count), binned(self._level_correct), binned(units)
        )
        return Measured(self._confusion, known_reliability=reliability)

    def _conclude_if_whole(self, stamp: int) -> None:
        is_whole = len(self._pending.get(stamp, {})) == len(OUTPUTS_HEARD)
        has_truth = self.truth is not None and stamp in self.truth
        if is_whole and (has_truth or not self.truth_comes):
            self._conclude(stamp)

    def _conclude(self, stamp: int) -> None:
        """Score what has come of a stamp, and forget it."""
        parts = self._pending.pop(stamp)
        if "mask" not in parts:  # it came too late, or never
            return
        self._done.add(stamp)
        confidence = parts.get("confidence")
        truth = self.truth.get(stamp) if self.truth is not None else None
        mean_iou = None if truth is None else self._score(stamp, parts["mask"], truth, confidence)
        mean = 0.0 if confidence is None else float(confidence.mean()) / 255.0
        self.frames.append(FrameResult(self.name, stamp, mean, mean_iou, None))

    def _score(
        self, stamp: int, mask: UInt8, truth: UInt8, confidence: UInt8 | None
    ) -> float | None:
        try:
            counts = confusion_counts(truth, mask, self.label_set.num_classes)
        except CamsegError as error:
            self.counts.truth_refused += 1
            self.counts.problem(f"{stamp} ns: {error}")
            return None
        self.counts.with_truth += 1
        self._confusion += counts
        if confidence is not None and confidence.shape == truth.shape:
            labeled = truth != UNLABELED
            self._level_count += np.bincount(confidence[labeled], minlength=256)
            right = labeled & (truth == mask)
            self._level_correct += np.bincount(confidence[right], minlength=256)
        return finite_or_none(float(mean_iou_per_image(counts[None])[0]))


class Evaluator:
    """Subscriptions on a node of the caller's, whose executor serves them in one thread.

    Attributes:
        label_set: the node's classes; None until its labels came.
        weights_sha256: hash of the node's weights; empty until its labels came, or where nothing
            was trained.
        scores: the scores by camera; empty until the labels came.
        traffic: the masks that arrived and their latency, by camera.
        abouts: what was said about the ground truth, JSON of `AboutDrive`, by its topic.
    """

    def __init__(
        self,
        node: Node,
        truth: Mapping[str, str | TruthStore | None],
        traffic: Mapping[str, CameraTraffic] | None = None,
        *,
        is_best_effort: bool = False,
    ) -> None:
        """Subscribe to the outputs of cameras; `listen_to_truth` comes once they are heard.

        Args:
            node: node that makes the subscriptions.
            truth: topic of each camera's ground truth, or all of it; None without.
            traffic: what a player of this process sends; None where another one plays.
            is_best_effort: true for a player that offers ground truth as best effort only.
        """
        self._node = node
        self.label_set: LabelSet | None = None
        self.weights_sha256 = ""
        self.scores: dict[str, LiveScores] = {}
        self.abouts: dict[str, str] = {}
        self.traffic = traffic or {name: CameraTraffic() for name in truth}
        self._truth = truth
        self._truth_topics = {n: source for n, source in truth.items() if isinstance(source, str)}
        self._early: list[Callable[[], None]] = []
        node.create_subscription(String, f"/{NODE_NAME}/labels", self._on_labels, LATCHED)
        quality = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        for name, output in itertools.product(truth, OUTPUTS_HEARD):
            take = partial(self._take, partial(self._on_output, name, output))
            node.create_subscription(Image, f"/{NODE_NAME}/{name}/{output}", take, quality)
        self._truth_quality = (
            QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
            if is_best_effort
            else quality
        )

    def listen_to_truth(self) -> None:
        """Subscribe to the ground truth: a player may wait for that before it begins."""
        for name, topic in self._truth_topics.items():
            take = partial(self._take, partial(self._on_truth, name))
            self._node.create_subscription(Image, topic, take, self._truth_quality)
            about = partial(self._on_about, topic)
            self._node.create_subscription(String, about_beside(topic), about, LATCHED)

    @contextmanager
    def recording(self, path: Path) -> Iterator[None]:
        """Write each stamp's first mask and confidence into a bag, and `finish` at the end.

        Raises:
            CamsegError: the node's labels are not known yet.
        """
        if self.label_set is None:
            raise CamsegError("the node's labels are not known yet")
        with OutputBag(path, self.label_set, self.weights_sha256) as bag:
            for scores in self.scores.values():
                scores.bag = bag
            yield
        self.finish()

    def finish(self) -> None:
        """Score what came without its other half; nothing comes any more."""
        for name, scores in self.scores.items():
            scores.finish()
            if scores.truth is not None and name in self._truth_topics:
                scores.truth.close()  # it was opened here

    def check_truth(self) -> AboutDrive:
        """Return what was said about the first camera's ground truth; the labels must be known.

        Raises:
            CamsegError: it is not readable, or some ground truth is of other classes than the
                node's.
        """
        found = AboutDrive()
        for topic in reversed(self._truth_topics.values()):
            if topic in self.abouts:
                found = AboutDrive.from_json(self.abouts[topic])
                if self.label_set is not None:
                    check_classes(found, self.label_set, topic)
        return found

    def _on_about(self, topic: str, message: String) -> None:
        self.abouts[topic] = message.data

    def _on_labels(self, message: String) -> None:
        if self.label_set is not None:  # the node was configured once more
            return
        labels = parse_json(NodeLabels, message.data, "the node's labels")
        label_set = labels.classes_by_id()
        self.weights_sha256 = labels.weights_sha256
        self.scores = {
            name: LiveScores(
                name,
                label_set,
                TruthStore() if isinstance(source, str) else source,
                truth_comes=name in self._truth_topics,
            )
            for name, source in self._truth.items()
        }
        self.label_set = label_set
        for take in self._early:
            take()
        self._early.clear()

    def _take(self, work: Callable[[Image, int], None], message: Image) -> None:
        """Do work on a message and its time of arrival, once the labels have come."""
        arrived_ns = time.monotonic_ns()
        if self.label_set is None:
            self._early.append(partial(work, message, arrived_ns))
        else:
            work(message, arrived_ns)

    def _on_output(self, name: str, output: str, message: Image, arrived_ns: int) -> None:
        if output == "mask":
            self.traffic[name].on_mask(stamp_ns(message.header), arrived_ns)
        self.scores[name].on_output(output, message.header, array_from_image_message(message))

    def _on_truth(self, name: str, message: Image, _: int) -> None:
        scores = self.scores[name]
        try:
            scores.on_truth(stamp_ns(message.header), class_ids_of(message))
        except BadFrameError as error:
            scores.counts.truth_refused += 1
            scores.counts.problem(str(error))
