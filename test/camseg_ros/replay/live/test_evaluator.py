# SPDX-License-Identifier: Apache-2.0
"""Callbacks that are called directly; over DDS it is tested with the live replay."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import made_bags as bags
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.confusion import confusion_counts, sum_confusions
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.evaluation.metrics.registry import measure
from camseg_core.labels import CAMVID, CITYSCAPES, LabelSet
from camseg_core.system.validation import parse
from camseg_ros.bag.about import AboutDrive
from camseg_ros.bag.ground_truth import TruthStore
from camseg_ros.bag.reader import open_bag
from camseg_ros.messages.images import array_from_image_message, image_message
from camseg_ros.messages.labels import labels_json
from camseg_ros.remote.traffic import CameraTraffic
from camseg_ros.replay.live.evaluator import MOST_PENDING, Evaluator, LiveScores, NodeLabels

MASK, CONFIDENCE = "/segment_node/left/mask", "/segment_node/left/confidence"
TRUTH, ABOUT = "/left/semantic_gt/image", "/left/semantic_gt/about"


class StubNode:
    """Keeps what is subscribed to, and gives messages to it."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[Any], None]] = {}
        self.qualities: dict[str, QoSProfile] = {}

    def create_subscription(
        self, _: type, topic: str, callback: Callable[[Any], None], quality: QoSProfile
    ) -> None:
        self.callbacks[topic] = callback
        self.qualities[topic] = quality

    def hear(self, topic: str, seed: int, stamp_ns: int = 10**9, most: int = 19) -> None:
        message = image_message(picture(seed, most), "mono8", bags.header(stamp_ns))
        self.callbacks[topic](message)

    def hear_labels(self, label_set: LabelSet = CITYSCAPES) -> None:
        self.callbacks["/segment_node/labels"](String(data=labels_json(label_set, "ab" * 32)))


def picture(seed: int, most: int = 19) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, most, (6, 8), np.uint8)


def evaluator_of(node: StubNode, truth: str | None = TRUTH, **given: Any) -> Evaluator:
    evaluator = Evaluator(node, {"left": truth}, **given)  # type: ignore[arg-type]
    evaluator.listen_to_truth()
    return evaluator


def label_set_of(content: dict[str, Any]) -> LabelSet:
    return parse(NodeLabels, content, "the node's labels").classes_by_id()


def listening(truth: str | None = TRUTH) -> tuple[StubNode, Evaluator]:
    """A node, and an evaluator on it that heard the labels."""
    node = StubNode()
    evaluator = evaluator_of(node, truth)
    node.hear_labels()
    return node, evaluator


BLACK = LabelSet("black is a class", ("a", "b"), ((0, 0, 0), (1, 2, 3)), (255, 255, 255))


@pytest.mark.parametrize("label_set", [CITYSCAPES, CAMVID, BLACK])
def test_the_node_s_labels_are_read_back(label_set: LabelSet) -> None:
    content = json.loads(labels_json(label_set, "ab"))
    content["classes"].reverse()  # ids count, not the order
    found = label_set_of(content)
    assert (found.name, found.names, found.palette) == (
        label_set.name, label_set.names, label_set.palette,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ({"label_set": 3}, "the node's labels: label_set is 3: input should be a valid string"),
        ({"classes": [{"id": 0, "color": [1, 2, 3]}]}, r"labels: classes\[0\].name is missing"),
        (
            {"classes": [{"id": 1, "name": "a", "color": [1, 2, 3]}]},
            r"have the ids \[1\]; each",
        ),
        ({"classes": []}, "label set 'x' has 0 classes"),
        (
            {"classes": [{"id": 0, "name": "a", "color": [1, 2, 300]}]},
            r"classes\[0\].color\[2\] is 300: input should be less than or equal to 255",
        ),
    ],
)
def test_labels_that_are_none(content: dict[str, object], rule: str) -> None:
    whole = {"label_set": "x", "weights_sha256": "", "unlabeled": 255, "classes": []}
    with pytest.raises(CamsegError, match=rule):
        label_set_of({**whole, **content})


def test_it_listens_to_the_node_and_to_the_truth() -> None:
    node = StubNode()
    evaluator_of(node, is_best_effort=True)
    assert sorted(node.callbacks) == [ABOUT, TRUTH, "/segment_node/labels", CONFIDENCE, MASK]
    assert node.qualities[ABOUT].durability == DurabilityPolicy.TRANSIENT_LOCAL
    latched = node.qualities["/segment_node/labels"]
    assert latched.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert node.qualities[MASK].reliability == ReliabilityPolicy.RELIABLE
    assert node.qualities[TRUTH].reliability == ReliabilityPolicy.BEST_EFFORT
    without = StubNode()
    evaluator_of(without, None)
    assert sorted(without.callbacks) == ["/segment_node/labels", CONFIDENCE, MASK]


def test_what_comes_before_the_labels_is_kept_with_its_time() -> None:
    node = StubNode()
    evaluator = evaluator_of(node)
    traffic = evaluator.traffic["left"]
    node.hear(MASK, 1)
    node.hear(TRUTH, 2)
    evaluator.finish()  # before the labels there is nothing
    assert (evaluator.label_set, evaluator.scores, traffic.last_ns) == (None, {}, 0)
    node.hear_labels()
    assert evaluator.label_set is not None
    assert evaluator.label_set.names == CITYSCAPES.names
    assert evaluator.weights_sha256 == "ab" * 32
    assert traffic.masks == [10**9]
    arrived_ns = traffic.last_ns
    assert arrived_ns > 0
    node.hear(CONFIDENCE, 3, most=256)
    assert traffic.last_ns == arrived_ns  # no mask
    found = evaluator.scores["left"]
    expected = official_scores(confusion_counts(picture(2), picture(1), 19))
    assert found.counts.with_truth == 1
    assert found.measured().official.mean_iou == pytest.approx(expected.mean_iou)
    assert found.frames[0].mean_confidence == pytest.approx(picture(3, 256).mean() / 255)
    node.hear_labels(CAMVID)  # the node was configured once more, which changes nothing
    assert evaluator.label_set.names == CITYSCAPES.names
    assert evaluator.scores["left"] is found


def test_latency_is_measured_where_the_player_is_known() -> None:
    node, traffic = StubNode(), CameraTraffic()
    Evaluator(node, {"left": TRUTH}, {"left": traffic})  # type: ignore[arg-type]
    traffic.on_sent(7)
    node.hear_labels()
    for stamp in (7, 7, 8):  # 8 is of another player
        node.hear(MASK, 1, stamp_ns=stamp)
    assert traffic.masks == [7, 7, 8]
    assert [*traffic.latency_ns] == [7]
    assert traffic.last_ns - traffic.sent_ns[7] >= traffic.latency_ns[7] > 0


def test_a_mask_waits_for_truth_that_comes_over_dds() -> None:
    node, evaluator = listening()
    node.hear(MASK, 1)
    node.hear(CONFIDENCE, 2)
    found = evaluator.scores["left"]
    assert found.frames == []
    node.hear(TRUTH, 3)
    expected = official_scores(confusion_counts(picture(3), picture(1), 19))
    assert found.measured().official.mean_iou == pytest.approx(expected.mean_iou)
    evaluator.finish()
    assert (found.counts.truth, found.counts.with_truth) == (1, 1)
    assert found.truth is not None
    with pytest.raises(ValueError, match="closed file"):  # what was opened here
        found.truth.get(10**9)


def test_truth_that_is_no_class_ids_is_refused() -> None:
    node, evaluator = listening()
    node.callbacks[TRUTH](bags.noise_image(0))
    counts = evaluator.scores["left"].counts
    assert counts.truth_refused == 1
    assert counts.problems == ["ground truth of encoding 'rgb8': mono8 is needed"]


def test_a_frame_is_recorded_once_both_pictures_are_there(tmp_path: Path) -> None:
    node, evaluator = listening(None)
    with evaluator.recording(tmp_path / "bag"):
        node.hear(MASK, 9, stamp_ns=3)  # its confidence never comes
        node.hear(MASK, 1, stamp_ns=4)
        node.hear(MASK, 8, stamp_ns=4)  # the first one counts
        node.hear(CONFIDENCE, 12, stamp_ns=5)
        node.hear(MASK, 2, stamp_ns=5)
        node.hear(CONFIDENCE, 11, stamp_ns=4)
        node.hear(MASK, 1, stamp_ns=4)  # it is played once more
        node.hear(CONFIDENCE, 12, stamp_ns=4)
    found = {}
    with open_bag(tmp_path / "bag") as bag:
        for topic in (MASK, CONFIDENCE):
            assert bag.topics[topic].count == 2
            for message in bag.messages([topic]):
                found[topic, message.log_ns] = array_from_image_message(message.decode())
    expected = {(MASK, 4): 1, (MASK, 5): 2, (CONFIDENCE, 4): 11, (CONFIDENCE, 5): 12}
    assert found.keys() == expected.keys()
    for key, seed in expected.items():
        assert np.array_equal(found[key], picture(seed))


def test_truth_of_other_classes_is_refused_and_the_first_camera_s_data_is_told() -> None:
    node = StubNode()
    evaluator = Evaluator(node, {"left": TRUTH, "right": "/right/gt"})  # type: ignore[arg-type]
    evaluator.listen_to_truth()
    node.hear_labels()
    assert evaluator.check_truth() == AboutDrive()
    ours = AboutDrive(CITYSCAPES, "kitti-step", "val")
    node.callbacks["/right/about"](String(data=AboutDrive(CITYSCAPES, "acdc").to_json()))
    node.callbacks[ABOUT](String(data=ours.to_json()))
    assert evaluator.check_truth().dataset == "kitti-step"
    node.callbacks["/right/about"](String(data=AboutDrive(CAMVID).to_json()))
    with pytest.raises(
        CamsegError, match="the ground truth in /right/gt has the 11 classes of 'camvi"
    ):
        evaluator.check_truth()
    node.callbacks["/right/about"](String(data="[" * 100_000))
    with pytest.raises(CamsegError, match="^the bag's description of its ground truth is not"):
        evaluator.check_truth()


def test_truth_that_is_known_is_not_listened_to() -> None:
    node = StubNode()
    store = TruthStore()
    for stamp, seed in ((298, 3), (299, 4), (299, 7)):  # the first one counts
        store.add(stamp, picture(seed))
    evaluator = Evaluator(node, {"left": store})  # type: ignore[arg-type]
    assert TRUTH not in node.callbacks
    node.hear_labels()
    for stamp in (299, 400):
        node.hear(MASK, 1, stamp_ns=stamp)
        node.hear(CONFIDENCE, 2, stamp_ns=stamp)
    evaluator.finish()
    found = evaluator.scores["left"]
    expected = official_scores(confusion_counts(picture(4), picture(1), 19))
    assert found.measured().official.mean_iou == pytest.approx(expected.mean_iou)
    assert [frame.mean_iou is None for frame in found.frames] == [False, True]
    assert (found.counts.truth, found.counts.truth_repeated) == (2, 1)
    assert store.get(298) is not None  # it is the caller's
    store.close()


def test_a_bag_needs_the_labels(tmp_path: Path) -> None:
    with pytest.raises(CamsegError, match="^the node's labels are not known yet$"):
        evaluator_of(StubNode()).recording(tmp_path / "bag").__enter__()


def scores(*, has_truth: bool = True) -> LiveScores:
    return LiveScores("left", CITYSCAPES, TruthStore() if has_truth else None, has_truth)


def hear(found: LiveScores, output: str, stamp: int, content: np.ndarray) -> None:
    found.on_output(output, bags.header(stamp), content)


def test_parts_come_in_any_order_and_each_stamp_counts_once() -> None:
    found = scores()
    parts = [
        (take, stamp, picture(seed + stamp, most))
        for stamp in range(20)
        for take, seed, most in (
            (partial(hear, found, "mask"), 0, 19),
            (partial(hear, found, "confidence"), 100, 256),
            (found.on_truth, 200, 19),
        )
    ]
    random.Random(1).shuffle(parts)
    for take, stamp, content in parts:
        take(stamp, content)
    for stamp in (3, 4):  # a loop plays them again
        hear(found, "mask", stamp, picture(999))
        hear(found, "confidence", stamp, picture(999))
        found.on_truth(stamp, picture(998))
    found.finish()
    counts = [confusion_counts(picture(200 + s), picture(s), 19) for s in range(20)]
    expected = official_scores(sum_confusions(counts, 19))
    accuracy = measure(found.measured())
    assert found.counts.with_truth == 20
    assert accuracy["mean_iou"] == pytest.approx(expected.mean_iou)
    assert accuracy["pixel_accuracy"] == pytest.approx(expected.pixel_accuracy)
    assert accuracy["classwise_calibration_error"] is None  # no probabilities are published
    assert sorted(frame.stamp_ns for frame in found.frames) == [*range(20)]
    by_stamp = {frame.stamp_ns: frame for frame in found.frames}
    assert by_stamp[7].mean_confidence == pytest.approx(picture(107, 256).mean() / 255)


def test_calibration_error_by_hand() -> None:
    found = scores()
    truth = np.zeros((1, 10), np.uint8)
    truth[0, 9] = 255  # unlabeled
    mask = np.array([[0, 0, 0, 0, 1, 1, 0, 0, 1, 0]], np.uint8)
    confidence = np.array([[255] * 5 + [51] * 4 + [255]], np.uint8)  # 1.0 and 0.2
    found.on_truth(1, truth)
    hear(found, "mask", 1, mask)
    hear(found, "confidence", 1, confidence)
    # Five pixels at 1.0 with accuracy 4/5, four at 0.2 with accuracy 2/4.
    expected = (5 * abs(0.8 - 1.0) + 4 * abs(0.5 - 0.2)) / 9
    assert measure(found.measured())["calibration_error"] == pytest.approx(expected, abs=1e-6)


def test_frames_without_truth_are_told_apart() -> None:
    found = scores()
    hear(found, "mask", 1, picture(1))
    hear(found, "confidence", 1, picture(2))
    found.on_truth(2, picture(3))  # its frame was dropped
    assert found.frames == []
    found.finish()
    assert [(frame.stamp_ns, frame.mean_iou) for frame in found.frames] == [(1, None)]
    accuracy = measure(found.measured())
    assert found.counts.with_truth == 0
    assert (accuracy["mean_iou"], accuracy["calibration_error"]) == (None, None)
    without = scores(has_truth=False)
    hear(without, "confidence", 5, picture(2))
    hear(without, "mask", 5, picture(1))
    assert [frame.stamp_ns for frame in without.frames] == [5]


def test_masks_without_truth_do_not_pile_up() -> None:
    found = scores()
    for stamp in range(2 * MOST_PENDING):
        hear(found, "mask", stamp, picture(1))
        hear(found, "confidence", stamp, picture(2))
    # The oldest are let go when too many wait.
    assert [frame.stamp_ns for frame in found.frames] == [*range(MOST_PENDING)]


def test_truth_that_does_not_fit_is_refused() -> None:
    found = scores()
    for stamp, truth in ((1, picture(1)[:3]), (2, np.full((6, 8), 77, np.uint8))):
        found.on_truth(stamp, truth)
        hear(found, "mask", stamp, picture(1))
        hear(found, "confidence", stamp, picture(2))
    assert found.counts.truth_refused == 2
    assert found.counts.problems[0].startswith("1 ns: ground truth has shape (3, 8) and ")
    assert "id 77" in found.counts.problems[1]
    assert found.counts.with_truth == 0
    assert len(found.frames) == 2
