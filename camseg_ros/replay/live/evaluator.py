# SPDX-License-Identifier: Apache-2.0
"""Listen to the masks, confidence and labels of a node, and score and record what comes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from camseg_core.errors import CamsegError
from camseg_core.labels import Color, LabelSet
from camseg_core.system.validation import parse_json
from camseg_ros.bag.about import AboutDrive, check_classes
from camseg_ros.bag.camera_topics import about_beside
from camseg_ros.bag.ground_truth import TruthStore, class_ids_of
from camseg_ros.messages.images import BadFrameError, array_from_image_message, stamp_ns
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.traffic import CameraTraffic
from camseg_ros.replay.live.scores import OUTPUTS_HEARD, LiveScores
from camseg_ros.replay.results.kept_frames import OutputBag

DEPTH = 100


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
        """Subscribe to the outputs of cameras, and to their ground truth.

        Args:
            node: node that makes the subscriptions.
            truth: topic of each camera's ground truth, or all of it; None without.
            traffic: what a player of this process sends; None where another one plays.
            is_best_effort: true for a player that offers ground truth as best effort only.
        """
        self.label_set: LabelSet | None = None
        self.weights_sha256 = ""
        self.scores: dict[str, LiveScores] = {}
        self.abouts: dict[str, str] = {}
        self.traffic = traffic or {name: CameraTraffic() for name in truth}
        self._truth = truth
        self._truth_topics = {n: source for n, source in truth.items() if isinstance(source, str)}
        self._early: list[Callable[[], None]] = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, f"/{NODE_NAME}/labels", self._on_labels, latched)
        quality = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        for name, output in itertools.product(truth, OUTPUTS_HEARD):
            take = partial(self._take, partial(self._on_output, name, output))
            node.create_subscription(Image, f"/{NODE_NAME}/{name}/{output}", take, quality)
        if is_best_effort:
            quality = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        for name, topic in self._truth_topics.items():
            take = partial(self._take, partial(self._on_truth, name))
            node.create_subscription(Image, topic, take, quality)
            about = partial(self._on_about, topic)
            node.create_subscription(String, about_beside(topic), about, latched)

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
