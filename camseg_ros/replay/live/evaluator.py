# SPDX-License-Identifier: Apache-2.0
"""Listens to a node's masks, confidence and labels, and to truth; scores and records them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.labels import LabelSet
from camseg_ros.bag.about import AboutDrive, check_classes
from camseg_ros.bag.camera_topics import about_beside
from camseg_ros.messages.images import BadFrameError, array_from_image_message, stamp_ns
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.replay.live.player import BagPlayer
from camseg_ros.replay.live.scores import LiveScores
from camseg_ros.replay.results.output_bag import OutputBag
from camseg_ros.replay.truth import TruthStore, class_ids_of

DEPTH = 100


class Evaluator:
    """Subscriptions on a node of the caller's, whose executor serves them in one thread.

    Attributes:
        label_set: the node's classes; None until its labels came.
        weights_sha256: of the node's weights; empty until then, or where nothing was trained.
        scores: by camera; empty until then.
        latency_ns: per camera, stamp -> from publishing the frame to its first mask's arrival;
            without what `sent_by` is told, no entry.
        stamps: per camera, of the masks that arrived.
        abouts: by truth topic, what was said about it: JSON of `AboutDrive`.
        last_ns: when the last mask arrived, steady clock; 0 before the first one.
    """

    def __init__(
        self,
        node: Node,
        truth: Mapping[str, str | TruthStore | None],
        truth_reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
    ) -> None:
        """Subscribe to the outputs of cameras, and to their truth.

        Args:
            node: for the subscriptions.
            truth: by camera, the topic that it comes on, or all of it already; None without.
            truth_reliability: of subscriptions to truth.
        """
        self.label_set: LabelSet | None = None
        self.weights_sha256 = ""
        self.scores: dict[str, LiveScores] = {}
        self.abouts: dict[str, str] = {}
        self.latency_ns: dict[str, dict[int, int]] = {name: {} for name in truth}
        self.stamps: dict[str, set[int]] = {name: set() for name in truth}
        self.last_ns = 0
        self._truth = truth
        self._truth_topics = {n: source for n, source in truth.items() if isinstance(source, str)}
        self._early: list[Callable[[], None]] = []
        self._bag: OutputBag | None = None
        self._halves: dict[tuple[str, int], dict[str, UInt8]] = {}
        self._recorded: set[tuple[str, int]] = set()
        self._player: BagPlayer | None = None
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, f"/{NODE_NAME}/labels", self._on_labels, latched)
        quality = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        of_truth = QoSProfile(depth=DEPTH, reliability=truth_reliability)
        for name in truth:
            for output in ("mask", "confidence"):
                topic = f"/{NODE_NAME}/{name}/{output}"
                node.create_subscription(
                    Image, topic, partial(self._take, self._on_output, name, output), quality
                )
        for name, topic in self._truth_topics.items():
            node.create_subscription(
                Image, topic, partial(self._take, self._on_truth, name, ""), of_truth
            )
            node.create_subscription(
                String, about_beside(topic), partial(self._on_about, topic), latched
            )

    def sent_by(self, player: BagPlayer) -> None:
        """Measure latency from when this player, of the same process, publishes a frame."""
        self._player = player

    def record(self, bag: OutputBag) -> None:
        """Write each stamp's first mask and confidence into a bag that is open."""
        self._bag = bag

    def finish(self) -> None:
        """Score what came without its other half."""
        for name, scores in self.scores.items():
            scores.finish()
            if scores.truth is not None and name in self._truth_topics:
                scores.truth.close()  # it was opened here

    def check_truth(self) -> AboutDrive:
        """Return what was said about the first camera's truth; the labels must be known.

        Raises:
            CamsegError: it is not readable, or any truth is of other classes than the node's.
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
        content = json.loads(message.data)
        if self.label_set is not None:  # the node was configured once more
            return
        label_set = label_set_of(content)
        self.weights_sha256 = str(content["weights_sha256"])
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

    def _take(
        self,
        work: Callable[[str, str, Image, int], None],
        name: str,
        output: str,
        message: Image,
    ) -> None:
        """Keep what comes before the labels."""
        arrived_ns = time.monotonic_ns()
        if self.label_set is None:
            self._early.append(partial(work, name, output, message, arrived_ns))
        else:
            work(name, output, message, arrived_ns)

    def _on_output(self, name: str, output: str, message: Image, arrived_ns: int) -> None:
        stamp = stamp_ns(message.header)
        picture = array_from_image_message(message)
        if output == "mask":
            self.last_ns = arrived_ns
            self._measure(name, stamp, arrived_ns)
            self.scores[name].on_mask(stamp, picture)
        else:
            self.scores[name].on_confidence(stamp, picture)
        if self._bag is not None:
            self._record(name, output, stamp, message, picture)

    def _measure(self, name: str, stamp: int, arrived_ns: int) -> None:
        """Take the latency of a stamp's first mask: now, as the frame may be played once more."""
        if self._player is not None and stamp not in self.stamps[name]:
            with self._player.lock:
                sent_ns = self._player.sent_ns[name].get(stamp)
            if sent_ns is not None:
                self.latency_ns[name][stamp] = arrived_ns - sent_ns
        self.stamps[name].add(stamp)

    def _record(self, name: str, output: str, stamp: int, message: Image, picture: UInt8) -> None:
        """Write a frame's two pictures once both are there."""
        key = (name, stamp)
        if self._bag is None or key in self._recorded:
            return
        halves = self._halves.setdefault(key, {})
        halves.setdefault(output, picture)
        if len(halves) == 2:
            del self._halves[key]
            self._recorded.add(key)
            self._bag.write(name, message.header, halves["mask"], halves["confidence"])
        while len(self._halves) > DEPTH:
            del self._halves[next(iter(self._halves))]

    def _on_truth(self, name: str, _: str, message: Image, __: int) -> None:
        scores = self.scores[name]
        try:
            scores.on_truth(stamp_ns(message.header), class_ids_of(message))
        except BadFrameError as error:
            scores.counts.truth_refused += 1
            scores.counts.problem(str(error))


def label_set_of(content: dict[str, Any]) -> LabelSet:
    """Build the label set of the node's labels, as `class_info.labels_json` has them.

    Raises:
        CamsegError: something is missing or breaks a rule.
    """
    try:
        classes = sorted(content["classes"], key=lambda entry: entry["id"])
        ids = [entry["id"] for entry in classes]
        if ids != [*range(len(ids))]:
            raise CamsegError(f"the node's labels have the ids {ids}; each from 0 on is needed")
        palette = {tuple(entry["color"]) for entry in classes}
        # The labels do not tell it; it must be no class's.
        void_color = next((gray,) * 3 for gray in range(256) if (gray,) * 3 not in palette)
        return LabelSet(
            name=str(content["label_set"]),
            names=tuple(str(entry["name"]) for entry in classes),
            palette=tuple(tuple(entry["color"]) for entry in classes),
            void_color=void_color,
            source_ids={},
        )
    except (KeyError, TypeError) as error:
        raise CamsegError(f"the node's labels are not readable: {error!r}") from error


def output_bag(path: Path, evaluator: Evaluator) -> OutputBag:
    """Return a bag for what an evaluator hears; its labels must be known."""
    if evaluator.label_set is None:
        raise CamsegError("the node's labels are not known yet")
    return OutputBag(path, evaluator.label_set, evaluator.weights_sha256)
