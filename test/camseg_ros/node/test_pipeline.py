# SPDX-License-Identifier: Apache-2.0
"""The pipeline on a node without DDS: what it publishes, tells, drops and learns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_parts import FakeNode, camera, parameter_values, stand_in_for_vision_msgs
from std_msgs.msg import Header

from camseg_core.diffusion.options import ONE_STEP_PROFILES, V_PROFILES
from camseg_core.labels import CITYSCAPES
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import random_model
from camseg_ros.ground.grid import UNKNOWN, GridGeometry
from camseg_ros.inference.frame_queue import FrameCounts, QueuedFrame
from camseg_ros.messages.images import image_message, stamp_ns
from camseg_ros.node.health import Condition, Level
from camseg_ros.node.pipeline import SegmentationPipeline
from camseg_ros.node.settings import LiveSettings, live_settings

MS, S = 10**6, 10**9
LIMIT_S = 30.0
BUDGET = {"latency_budget_ms": 1e5, "min_steps": 2, "max_steps": 5}
IMAGE = np.zeros((24, 40, 3), np.uint8)


def live(**changes: Any) -> LiveSettings:
    return live_settings(parameter_values(**changes), V_PROFILES, CITYSCAPES)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """Return a node whose clock is the steady clock of all, too."""
    made = FakeNode()
    monkeypatch.setattr(time, "monotonic_ns", lambda: made.ns)
    return made


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(random_model("tiny"))


def make(segmenter: Any, node: FakeNode, *cameras: str, **changes: Any) -> SegmentationPipeline:
    settings = [camera(name) for name in cameras or ("front",)]
    made = SegmentationPipeline(node, segmenter, settings, live(**changes))
    made.queue.open()
    node.publishers["~/front/mask"].listeners = 1
    return made


def frame(node: FakeNode, age_ns: int = 0, latency_ns: int = 0) -> QueuedFrame:
    header = Header(frame_id="lens")
    message = image_message(IMAGE, "rgb8", header)
    return QueuedFrame("front", node.ns - age_ns, node.ns - latency_ns, message)


def publish(made: SegmentationPipeline, node: FakeNode, age_ns: int = 0, late_ns: int = 0) -> str:
    segmentation = made.segmenter.segment(IMAGE, V_PROFILES["fast"])
    return made.publish(frame(node, age_ns, late_ns), IMAGE, segmentation)


def masks(node: FakeNode) -> list[Any]:
    return node.publishers["~/front/mask"].published


def statuses(made: SegmentationPipeline) -> list[tuple[Any, dict[str, str]]]:
    """Return each status with its values as a dictionary, the node's first."""
    found = made.statuses("/node", active=True)
    return [(item, {entry.key: entry.value for entry in item.values}) for item in found]


def condition(made: SegmentationPipeline) -> Condition:
    status = made.statuses("/node", active=True)[0]
    return Condition(Level(status.level[0]), status.message)


def test_a_mask_is_published_and_measured(segmenter: Segmenter, node: FakeNode) -> None:
    made = make(segmenter, node)
    made.queue.put(frame(node))
    made.queue.take_batch()
    assert publish(made, node, age_ns=30 * MS, late_ns=20 * MS) == "out"
    assert [message.header.frame_id for message in masks(node)] == ["lens"]
    (_, of_node), (front, of_front) = statuses(made)
    assert (of_node["latency_p50_ms"], of_node["age_p99_ms"]) == ("20.0", "30.0")
    assert (front.name, of_front["latency_p95_ms"]) == ("/node: front", "20.0")
    assert (of_front["subscribers_mask"], of_front["frames_in"]) == ("1", "1")
    assert (of_front["frames_lost"], of_front["safe_masks"]) == ("", "0")
    made.reset()
    assert statuses(made)[1][1]["latency_p95_ms"] == ""
    assert publish(made, node) == "dropped"  # it was taken before


@pytest.mark.parametrize(
    ("age_ms", "latency_ms", "told"),
    [
        (600, 0, "0 ms in the node, its stamp 0.60 s old"),
        (-700, 0, "0 ms in the node, its stamp 0.70 s in the future"),
        (0, 300, "300 ms in the node, its stamp 0.00 s old"),
    ],
)
def test_a_mask_that_breaks_an_error_limit_is_dropped_and_told_once_in_ten_seconds(
    segmenter: Segmenter, node: FakeNode, age_ms: int, latency_ms: int, told: str
) -> None:
    made = make(
        segmenter,
        node,
        input_age_warn_s=0.0,
        input_age_error_s=0.5,
        latency_warn_ms=0.0,
        latency_error_ms=200.0,
    )
    for _ in range(3):
        assert publish(made, node, age_ms * MS, latency_ms * MS) == "dropped"
    assert masks(node) == []
    assert node.log.lines == [f"WARN front: mask dropped: it is beyond a limit: {told}"]
    node.ns += 11 * S
    publish(made, node, age_ms * MS, latency_ms * MS)
    assert len(node.log.lines) == 2


def test_conditions_change_with_the_clock_and_the_safe_state_comes_once_a_second(
    segmenter: Segmenter, node: FakeNode
) -> None:
    made = make(segmenter, node, safe_state="all_unlabeled", latency_warn_ms=0.0)
    made.open()
    made.accept(frame(node))
    assert publish(made, node) == "out"
    assert not made.check()
    for _ in range(45):  # tenths of a second
        node.ns += 100 * MS
        made.check()
    assert node.log.lines == [
        f"{level} front: {level}, no input for {seconds} s: nobody publishes /front/image_raw "
        "(sensor_msgs/msg/Image, reliable)"
        for level, seconds in (("WARN", 1.1), ("ERROR", 3.1))
    ]
    assert [stamp_ns(mask.header) // S for mask in masks(node)[1:]] == [1003, 1004]
    level, text = condition(made)
    assert level == Level.ERROR
    assert text.startswith("front: no input for 4.5 s: nobody publishes ")
    assert text.endswith("; weights are random")
    late = frame(node, 4 * S, 4 * S)
    made.accept(frame(node))
    # The camera has returned, and then the frame of four seconds ago is through.
    assert made.publish(late, IMAGE, segmenter.segment(IMAGE, V_PROFILES["fast"])) == "dropped"
    assert node.log.lines[-1] == "WARN front: mask dropped: the safe state is newer than its frame"
    assert made.check()
    assert node.log.lines[-1] == "INFO front: OK, frames arrive"
    assert condition(made) == Condition(Level.WARN, "weights are random")
    made.enter_safe_state()
    assert len(masks(node)) == 4


def test_a_camera_whose_frames_are_all_refused_is_in_its_safe_state(
    segmenter: Segmenter, node: FakeNode
) -> None:
    made = make(segmenter, node)  # that publishes nothing
    for _ in range(45):
        made.accept(frame(node))
        made.refused(frame(node), "unknown encoding")
        made.check()
        node.ns += 100 * MS
    assert node.log.lines[0] == "WARN front: frame refused: unknown encoding"
    assert made.cameras["front"].condition == Condition(
        Level.ERROR, "every frame was refused for 4.4 s"
    )
    assert masks(node) == []
    made.accept(frame(node))
    assert publish(made, node) == "out"
    made.check()
    assert made.cameras["front"].condition == Condition(Level.OK, "frames arrive")
    node.ns += 10 * S
    made.check()
    assert publish(made, node) == "out"  # no safe mask is due
    assert len(masks(node)) == 2


class SlowSegmenter:
    """Takes ``step_ns`` a step by a clock that the test moves; ``during`` is called meanwhile."""

    def __init__(self, segmenter: Segmenter, node: FakeNode, step_ns: int) -> None:
        self._segmenter, self._node = segmenter, node
        self.device, self.loaded = segmenter.device, segmenter.loaded
        self.label_set, self.input_size = segmenter.label_set, segmenter.input_size
        self.networks = segmenter.networks
        self.step_ns = step_ns
        self.during: Callable[[], None] = lambda: None

    def segment_batch(self, images: Any, options: Any, cancelled: Any) -> Any:
        results = self._segmenter.segment_batch(images, V_PROFILES["fast"])
        self.during()
        self._node.ns += options.steps * self.step_ns
        for result in results:
            result.stage_seconds["denoiser"] = options.steps * self.step_ns / 1e9
        return results


def feed(made: SegmentationPipeline, fed: QueuedFrame) -> FrameCounts:
    """Give the worker a frame, wait until it is through, return all counts."""
    made.accept(fed)
    deadline = time.perf_counter() + LIMIT_S
    while (total := made.queue.total()).waiting or total.in_progress:
        assert time.perf_counter() < deadline
        time.sleep(0.001)
    return total


def test_frames_that_are_too_late_lead_to_fewer_steps(segmenter: Segmenter, node: FakeNode) -> None:
    slow = SlowSegmenter(segmenter, node, 4 * MS)
    made = make(
        slow, node, latency_budget_ms=100.0, latency_error_ms=150.0, latency_warn_ms=0.0,
        min_steps=1, max_steps=16,
    )  # fmt: skip
    made.warm_up(24, 40, cancelled=lambda: False, on_hang=pytest.fail)
    made.start()
    assert feed(made, frame(node)).out == 1
    assert statuses(made)[0][1]["steps"] == "16"
    slow.step_ns = 20 * MS
    for _ in range(12):
        total = feed(made, frame(node))
    made.end()
    assert statuses(made)[0][1]["steps"] == "4"
    assert total.dropped < 8
    assert total.out > 4


def test_a_batch_s_limit_follows_what_it_has_to_do(segmenter: Segmenter, node: FakeNode) -> None:
    slow = SlowSegmenter(segmenter, node, S)
    made = make(slow, node, steps=2)
    made.warm_up(24, 40, cancelled=lambda: False, on_hang=pytest.fail)
    slow.step_ns = 0
    failures: list[str | None] = []

    def check_after(seconds: int) -> None:
        for _ in range(seconds):
            node.ns += S
            made.check()
        node.ns += 1
        made.check()
        failures.append(made.failure)

    def slower_settings() -> None:
        made.apply(live(steps=100))
        check_after(19)  # the batch in progress is of before

    made.start()
    for during in (
        slower_settings,
        lambda: check_after(20 * 50 - 1),
        lambda: check_after(20 * 50),
    ):
        slow.during = during
        feed(made, frame(node))
    made.end()
    assert failures[:2] == [None, None]
    assert failures[2] == ("inference hangs: a batch has taken 1000.0 s, 1000.0 s is the limit")
    assert condition(made).level == Level.ERROR


def test_a_process_that_stood_still_has_hung_in_nothing(
    segmenter: Segmenter, node: FakeNode
) -> None:
    slow = SlowSegmenter(segmenter, node, S)
    made = make(slow, node, steps=2)
    made.warm_up(24, 40, cancelled=lambda: False, on_hang=pytest.fail)
    slow.step_ns = 0
    failures: list[str | None] = []

    def stand_still_then_hang() -> None:
        made.check()
        node.ns += 1000 * S
        for _ in range(22):
            made.check()
            failures.append(made.failure)
            node.ns += S

    slow.during = stand_still_then_hang
    made.start()
    feed(made, frame(node))
    made.end()
    assert failures[:21] == [None] * 21  # the limit of 20 s begins anew
    assert failures[21] == "inference hangs: a batch has taken 21.0 s, 20.0 s is the limit"


def test_the_warm_up_runs_every_batch_size_and_number_of_steps(
    segmenter: Segmenter, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[int, int]] = []
    real = Segmenter.segment_batch

    def record(self: Segmenter, images: Any, options: Any, cancelled: Any) -> Any:
        runs.append((len(images), options.steps))
        return real(self, images, options, cancelled)

    monkeypatch.setattr(Segmenter, "segment_batch", record)
    changes = {"latency_budget_ms": 50.0, "min_steps": 2, "max_steps": 4, "steps": 1}
    made = make(segmenter, node, "front", "rear", **changes)
    made.warm_up(24, 40, cancelled=lambda: False, on_hang=pytest.fail)
    # The first one of each batch size is the cold one.
    assert runs == [(n, steps) for n in (1, 2) for steps in (2, 2, 3, 4)]


def test_a_budget_without_steps_to_choose_is_told(segmenter: Segmenter, node: FakeNode) -> None:
    made = make(segmenter, node)
    one = parameter_values(latency_budget_ms=80.0)
    made.apply(live_settings(one, ONE_STEP_PROFILES, CITYSCAPES))
    assert made.options_for(1, 1).steps == 1
    assert node.log.lines == [
        "WARN latency_budget_ms: min_steps and max_steps are 1, so that there are no steps to "
        "choose; weights that need one step, as those that ship, gain nothing from a budget"
    ]
    made.apply(live(latency_budget_ms=80.0))
    assert len(node.log.lines) == 1


def test_steps_follow_the_budget_and_what_was_measured_at_the_same_cost(
    segmenter: Segmenter, node: FakeNode
) -> None:
    made = make(SlowSegmenter(segmenter, node, MS), node, steps=7)
    assert made.options_for(1, 1).steps == 7
    made.apply(live(**BUDGET))
    assert made.options_for(1, 1).steps == 2  # nothing is measured yet
    made.apply(live(**BUDGET, samples=2))
    made.warm_up(24, 40, cancelled=lambda: False, on_hang=pytest.fail)
    assert made.options_for(1, 1).steps == 5
    made.apply(live(**BUDGET, samples=2, seed=3, min_confidence=0.5))  # they cost nothing
    assert made.options_for(1, 1).steps == 5
    made.apply(live(**BUDGET))
    made.measured(1, 2, 2 * 10**15, {"denoiser": [10**15]})  # of before
    assert "over the latency budget" not in condition(made).text
    assert made.options_for(1, 1).steps == 2
    made.measured(1, 2, 2 * 10**15, {"denoiser": [10**15]})
    assert "over the latency budget of 100000 ms with the fewest steps, 2" in condition(made).text
    condition(made)
    assert [line for line in node.log.lines if "over the" in line] == [
        "WARN latency_budget_ms: over the latency budget of 100000 ms with the fewest steps, 2"
    ]


def test_limits_and_thresholds_change_live(
    segmenter: Segmenter, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_for_vision_msgs(monkeypatch)
    made = make(segmenter, node)
    made.apply(live(no_input_error_s=60.0))
    node.ns += 59 * S
    made.check()
    assert made.cameras["front"].condition.level == Level.WARN
    assert "~/front/label_info" not in node.publishers
    made.apply(live(min_confidence=0.25))
    (info,) = node.publishers["~/front/label_info"].published
    assert info.threshold == 0.25  # another one now


def test_a_vision_msgs_that_does_not_work_costs_label_info_and_one_warning(
    segmenter: Segmenter, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_for_vision_msgs(monkeypatch)
    real = node.create_publisher

    def refuse(message_type: type, topic: str, quality: Any) -> Any:
        if topic.endswith("label_info"):
            raise RuntimeError("no type support")
        return real(message_type, topic, quality)

    monkeypatch.setattr(node, "create_publisher", refuse)
    made = make(segmenter, node, "front", "rear")
    made.announce()
    assert node.log.lines == [
        "WARN no label_info: vision_msgs is installed but does not work: RuntimeError: no type "
        "support"
    ]
    assert publish(made, node) == "out"


def test_a_grid_that_is_wanted_and_cannot_be_made_is_a_warning_of_its_camera(
    segmenter: Segmenter, node: FakeNode
) -> None:
    made = make(segmenter, node, safe_state="all_unlabeled")
    made.look_at_the_ground(GridGeometry(0.5, 10.0, 4.0), "base_link")
    made.open()
    made.check()
    grids = node.publishers["~/front/drivable_grid"]
    assert publish(made, node) == "out"  # nobody wants it
    grids.listeners = 1
    made.accept(frame(node))
    for _ in range(2):
        assert publish(made, node) == "out"
        made.check()
    problem = "no drivable grid: no camera_info has come on front/camera_info"
    assert node.log.lines == [f"WARN front: {problem}"]
    (of_node, _), (of_front, _) = statuses(made)
    assert (of_front.level, of_front.message) == (DiagnosticStatus.WARN, problem)
    assert f"front: {problem}" in of_node.message
    grids.listeners = 0
    assert statuses(made)[1][0].message == "frames arrive"
    # In the safe state all is unknown, with or without a calibration.
    grids.listeners = 1
    node.ns += 5 * S
    made.check()
    (grid,) = grids.published
    assert set(grid.data) == {UNKNOWN}
    assert grid.header.stamp == masks(node)[-1].header.stamp
    made.close()
    told = [(item.level, item.message) for item in made.statuses("/node", active=False)]
    assert told == [
        (DiagnosticStatus.WARN, "not active; weights are random"),
        (DiagnosticStatus.WARN, "not active"),
    ]
