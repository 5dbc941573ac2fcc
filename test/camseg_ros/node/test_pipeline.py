# SPDX-License-Identifier: Apache-2.0
"""The pipeline with stand-ins for the topics: what it tells, drops and learns."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import Header

from camseg_core.diffusion.options import V_PROFILES
from camseg_core.labels import CITYSCAPES
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import random_model
from camseg_ros.inference.frame_queue import QueuedFrame
from camseg_ros.inference.step_controller import BatchTimes
from camseg_ros.inference.worker import BatchReport
from camseg_ros.messages.images import image_message
from camseg_ros.node import pipeline as pipeline_module
from camseg_ros.node.health import (
    CameraWatch,
    Condition,
    DurationWindow,
    Level,
    RateMeter,
    WatchLimits,
)
from camseg_ros.node.parameters import PARAMETERS
from camseg_ros.node.pipeline import SegmentationPipeline, Surroundings
from camseg_ros.node.settings import live_settings

MS = 10**6
LIMIT_S = 30.0


def values(**changes: Any) -> dict[str, Any]:
    return {spec.name: spec.default for spec in PARAMETERS} | changes


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(f"INFO {message}")

    def warning(self, message: str) -> None:
        self.lines.append(f"WARN {message}")

    def error(self, message: str) -> None:
        self.lines.append(f"ERROR {message}")


class Port:
    """A camera's topics, without topics."""

    def __init__(self, name: str, limits: WatchLimits) -> None:
        self.name = name
        self.watch = CameraWatch(limits, 0)
        self.condition = Condition(Level.OK, "not active")
        self.latency, self.age, self.rate = DurationWindow(), DurationWindow(), RateMeter()
        self.safe_masks = self.last_safe_ns = self.last_safe_stamp_ns = 0
        self.has_published = True
        self.frames_lost: int | None = None
        self.camera_info = self.ground = None
        self.published: list[dict[str, Any]] = []
        self.announced: list[float] = []

    def messages(self, outputs: Any, enabled: tuple[str, ...]) -> dict[str, Any]:
        return outputs.messages(["mask"])

    def publish(self, messages: dict[str, Any]) -> None:
        self.published.append(messages)

    def remember(self, shape: tuple[int, int], frame_id: str) -> None:
        self.remembered = shape, frame_id

    def publish_safe_state(self, enabled: tuple[str, ...], stamp: Any, now_ns: int) -> bool:
        self.safe_masks += 1
        self.last_safe_ns = self.last_safe_stamp_ns = now_ns
        return True

    def subscribers(self) -> dict[str, int]:
        return {"mask": 1}

    def announce(self, label_set: Any, threshold: float, stamp: Any) -> None:
        self.announced.append(threshold)

    def forget(self) -> None:
        self.rate.clear()


class Clock:
    """Both clocks, which the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ns = 10**12
        monkeypatch.setattr(pipeline_module.time, "monotonic_ns", lambda: self.ns)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(random_model("tiny"))


def make(
    segmenter: Segmenter, clock: Clock, *cameras: str, **changes: Any
) -> tuple[SegmentationPipeline, Log]:
    live = live_settings(values(**changes), V_PROFILES, CITYSCAPES)
    log = Log()
    made = SegmentationPipeline(
        segmenter,
        [Port(name, live.limits) for name in cameras or ("front",)],  # type: ignore[misc]
        live,
        Surroundings(log, stamp=lambda: None, clock_ns=lambda: clock.ns),
    )
    made.queue.open()
    return made, log


def publish(made: SegmentationPipeline, clock: Clock, age_ns: int = 0, latency_ns: int = 0) -> str:
    image = np.zeros((24, 40, 3), np.uint8)
    header = Header(frame_id="lens")
    frame = QueuedFrame(
        "front", clock.ns - age_ns, clock.ns - latency_ns, image_message(image, "rgb8", header)
    )
    return made.publish(frame, image, made.segmenter.segment(image, V_PROFILES["fast"]))


def test_a_mask_is_published_remembered_and_measured(segmenter: Segmenter, clock: Clock) -> None:
    made, _ = make(segmenter, clock)
    made.queue.put(QueuedFrame("front", 1, 0, None))
    made.queue.take_batch()
    assert publish(made, clock, age_ns=30 * MS, latency_ns=20 * MS) == "out"
    port: Any = made.ports["front"]
    assert list(port.published[0]) == ["mask"]
    assert port.remembered == ((24, 40), "lens")
    found = made.values()
    assert (found["latency_p50_ms"], found["age_p99_ms"]) == ("20.0", "30.0")
    (entry,) = made.camera_entries("/node")
    assert (entry.name, entry.values["latency_p95_ms"]) == ("/node: front", "20.0")


@pytest.mark.parametrize(("age_ms", "latency_ms"), [(600, 0), (0, 300)])
def test_a_mask_that_breaks_an_error_limit_is_dropped_and_told_once(
    segmenter: Segmenter, clock: Clock, age_ms: int, latency_ms: int
) -> None:
    made, log = make(
        segmenter,
        clock,
        input_age_warn_s=0.0,
        input_age_error_s=0.5,
        latency_warn_ms=0.0,
        latency_error_ms=200.0,
    )
    for _ in range(3):
        assert publish(made, clock, age_ms * MS, latency_ms * MS) == "dropped"
    assert made.ports["front"].published == []  # type: ignore[attr-defined]
    (line,) = log.lines
    old = f"{latency_ms} ms in the node, its stamp {age_ms / 1e3:.2f} s old"
    assert line == f"WARN front: mask dropped: it is beyond a limit: {old}"
    clock.ns += 11 * 10**9
    publish(made, clock, age_ms * MS, latency_ms * MS)
    assert len(log.lines) == 2


def test_a_stamp_in_the_future_is_told_as_such(segmenter: Segmenter, clock: Clock) -> None:
    made, log = make(segmenter, clock, input_age_warn_s=0.0, input_age_error_s=0.5)
    assert publish(made, clock, age_ns=-700 * MS) == "dropped"
    (line,) = log.lines
    assert line.endswith("0 ms in the node, its stamp 0.70 s in the future")


def test_nothing_older_comes_out_after_a_safe_mask(segmenter: Segmenter, clock: Clock) -> None:
    made, log = make(segmenter, clock, safe_state="all_unlabeled")
    made.accept(QueuedFrame("front", clock.ns, clock.ns, None))
    clock.ns += 4 * 10**9
    made.check()
    assert made.ports["front"].safe_masks == 1
    # The camera returns, and then the frame of four seconds ago is through.
    made.accept(QueuedFrame("front", clock.ns, clock.ns + 1, None))
    assert publish(made, clock, age_ns=4 * 10**9, latency_ns=4 * 10**9) == "dropped"
    assert log.lines[-1] == "WARN front: mask dropped: the safe state is newer than its frame"
    clock.ns += 30 * MS
    # Taken before the safe mask, and come in after it.
    assert publish(made, clock, age_ns=40 * MS, latency_ns=20 * MS) == "dropped"
    assert publish(made, clock, age_ns=25 * MS, latency_ns=20 * MS) == "out"
    # Come in before the safe mask, and through much later.
    clock.ns += 2 * 10**9
    made.accept(QueuedFrame("front", clock.ns, clock.ns, None))
    assert publish(made, clock, age_ns=3 * 10**9, latency_ns=3 * 10**9) == "dropped"


def test_a_driver_with_a_clock_of_its_own_is_soon_heard_again(
    segmenter: Segmenter, clock: Clock
) -> None:
    made, _ = make(segmenter, clock, safe_state="all_unlabeled")
    clock.ns += 4 * 10**9
    made.check()
    made.accept(QueuedFrame("front", 7, clock.ns + 1, None))
    clock.ns += 999 * MS
    assert publish(made, clock, age_ns=10**11) == "dropped"
    clock.ns += MS
    assert publish(made, clock, age_ns=10**11) == "out"


def test_a_frame_of_a_silent_camera_waits_for_no_safe_mask(
    segmenter: Segmenter, clock: Clock
) -> None:
    """The watchdog has not looked yet, but will publish a newer safe mask when it does."""
    made, _ = make(segmenter, clock, safe_state="all_unlabeled")
    made.accept(QueuedFrame("front", clock.ns, clock.ns, None))
    clock.ns += 3 * 10**9
    assert publish(made, clock, 3 * 10**9, 3 * 10**9) == "out"  # slow, not silent
    clock.ns += 1
    assert publish(made, clock, 3 * 10**9, 3 * 10**9) == "dropped"


@pytest.mark.parametrize(
    "why", ["frames keep coming", "publish_nothing", "no mask was published to know its size"]
)
def test_a_slow_frame_comes_out_where_there_is_no_safe_mask(
    segmenter: Segmenter, clock: Clock, why: str
) -> None:
    state = "publish_nothing" if why == "publish_nothing" else "all_unlabeled"
    made, _ = make(segmenter, clock, safe_state=state)
    port: Any = made.ports["front"]
    port.has_published = not why.startswith("no mask")
    clock.ns += 9 * 10**9
    if why == "frames keep coming":
        made.accept(QueuedFrame("front", clock.ns, clock.ns, None))
    assert publish(made, clock, 9 * 10**9, 9 * 10**9) == "out"


def test_a_camera_whose_frames_are_all_refused_is_in_the_safe_state(
    segmenter: Segmenter, clock: Clock
) -> None:
    made, _ = make(segmenter, clock, safe_state="all_unlabeled")
    for _ in range(45):
        frame = QueuedFrame("front", clock.ns, clock.ns, None)
        made.accept(frame)
        made.refused(frame, "unknown encoding")
        made.check()
        clock.ns += 100 * MS
    port = made.ports["front"]
    assert port.condition == Condition(Level.ERROR, "every frame was refused for 4.4 s")
    assert port.safe_masks == 2
    made.accept(QueuedFrame("front", clock.ns, clock.ns, None))
    assert publish(made, clock) == "out"
    made.check()
    assert port.condition == Condition(Level.OK, "frames arrive")


class SlowSegmenter:
    """Takes ``step_ns`` a step by a clock that the test moves."""

    def __init__(self, segmenter: Segmenter, clock: Clock) -> None:
        self._segmenter, self._clock = segmenter, clock
        self.device, self.loaded = segmenter.device, segmenter.loaded
        self.label_set, self.input_size = segmenter.label_set, segmenter.input_size
        self.step_ns = 4 * MS

    def segment_batch(self, images: Any, options: Any, cancelled: Any) -> Any:
        results = self._segmenter.segment_batch(images, V_PROFILES["fast"])
        self._clock.ns += options.steps * self.step_ns
        for result in results:
            result.stage_seconds["denoiser"] = options.steps * self.step_ns / 1e9
        return results


def test_frames_that_are_too_late_lead_to_fewer_steps(segmenter: Segmenter, clock: Clock) -> None:
    slow: Any = SlowSegmenter(segmenter, clock)
    made, _ = make(
        slow, clock, latency_budget_ms=100.0, latency_error_ms=150.0, latency_warn_ms=0.0,
        min_steps=1, max_steps=16,
    )  # fmt: skip
    made.warm_up(24, 40, cancelled=lambda: False, on_hang=pytest.fail)
    made.start()

    def feed() -> None:
        image = image_message(np.zeros((24, 40, 3), np.uint8), "rgb8", Header())
        made.accept(QueuedFrame("front", clock.ns, clock.ns, image))
        deadline = time.perf_counter() + LIMIT_S
        while (total := made.queue.total()).waiting or total.in_progress:
            assert time.perf_counter() < deadline
            time.sleep(0.001)

    feed()
    assert (made.queue.total().out, made.values()["steps"]) == (1, "16")
    slow.step_ns = 20 * MS
    for _ in range(12):
        feed()
    total = made.queue.total()
    made.queue.end()
    assert made.values()["steps"] == "4"
    assert total.dropped < 8
    assert total.out > 4


def test_a_batch_s_limit_follows_what_it_has_to_do(segmenter: Segmenter, clock: Clock) -> None:
    slow: Any = SlowSegmenter(segmenter, clock)
    slow.step_ns = 10**9
    made, _ = make(slow, clock, steps=2)
    made.warm_up(24, 40, cancelled=lambda: False, on_hang=pytest.fail)
    busy_ns = 0
    made._worker.busy_ns = lambda now_ns: busy_ns  # type: ignore[method-assign]

    def fails_after(seconds: int) -> bool:
        nonlocal busy_ns
        busy_ns = seconds * 10**9 + 1
        made.check()
        return made.failure is not None

    made.options_for(1, 24 * 40)
    assert not fails_after(19)
    made.apply(live_settings(values(steps=1000, samples=16), V_PROFILES, CITYSCAPES))
    assert not fails_after(19)  # the batch in progress is of before
    made.options_for(1, 2 * 24 * 40)
    assert not fails_after(20 * 8000 * 2 - 1)
    made.apply(live_settings(values(steps=2), V_PROFILES, CITYSCAPES))
    made.options_for(1, 24 * 40)
    assert fails_after(20)
    assert made.failure == "inference hangs: a batch has taken 20.0 s, 20.0 s is the limit"


def test_what_a_batch_took_is_not_learned_by_a_controller_of_other_settings(
    segmenter: Segmenter, clock: Clock
) -> None:
    budget = {"latency_budget_ms": 1e5, "min_steps": 2, "max_steps": 5}
    made, _ = make(segmenter, clock, **budget)
    made.options_for(1, 1)
    made.apply(live_settings(values(**budget, samples=2), V_PROFILES, CITYSCAPES))
    made.measured(BatchReport(BatchTimes(1, 2, MS, MS), (0,), {"processing": MS}))
    assert made.options_for(1, 1).steps == 2  # nothing is measured yet


def test_lost_frames_are_in_the_diagnostics(segmenter: Segmenter, clock: Clock) -> None:
    made, _ = make(segmenter, clock)
    (entry,) = made.camera_entries("/node")
    assert entry.values["frames_lost"] == ""  # the middleware does not tell
    made.ports["front"].frames_lost = 3
    (entry,) = made.camera_entries("/node")
    assert entry.values["frames_lost"] == "3"


def test_a_frame_that_was_cleared_meanwhile_is_dropped(segmenter: Segmenter, clock: Clock) -> None:
    made, _ = make(segmenter, clock)
    made.reset()
    assert publish(made, clock) == "dropped"


def test_a_kind_of_refusal_is_told_once_in_ten_seconds(segmenter: Segmenter, clock: Clock) -> None:
    made, log = make(segmenter, clock)
    frame = QueuedFrame("front", 1, 0, None)
    for reason in ("7 bytes are too short", "8 bytes are too short", "no pixels"):
        made.refused(frame, reason)
    assert log.lines == [
        "WARN front: frame refused: 7 bytes are too short",
        "WARN front: frame refused: no pixels",
    ]


def test_conditions_change_with_the_clock_and_the_safe_state_comes_once_a_second(
    segmenter: Segmenter, clock: Clock
) -> None:
    made, log = make(segmenter, clock, safe_state="all_unlabeled")
    frame = QueuedFrame("front", clock.ns, clock.ns, None)
    made.accept(frame)
    assert not made.check()
    for _ in range(45):  # tenths of a second
        clock.ns += 100 * MS
        made.check()
    assert log.lines == [
        "WARN front: WARN, no input for 1.1 s",
        "WARN front: ERROR, no input for 3.1 s",
    ]
    assert made.ports["front"].safe_masks == 2
    assert made.condition(active=True) == Condition(
        Level.ERROR, "front: no input for 4.5 s; weights are random"
    )
    made.accept(replace(frame, received_ns=clock.ns, stamp_ns=clock.ns))
    assert made.check()
    assert log.lines[-1] == "INFO front: OK, frames arrive"
    assert made.condition(active=True) == Condition(Level.WARN, "weights are random")


def test_nothing_is_published_in_a_safe_state_that_publishes_nothing(
    segmenter: Segmenter, clock: Clock
) -> None:
    made, _ = make(segmenter, clock)
    clock.ns += 10**11
    made.check()
    assert made.ports["front"].condition.level == Level.ERROR
    assert made.ports["front"].safe_masks == 0


def test_the_warm_up_runs_every_batch_size_and_number_of_steps(
    segmenter: Segmenter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[int, int]] = []
    real = Segmenter.segment_batch

    def record(self: Segmenter, images: Any, options: Any, cancelled: Any) -> Any:
        runs.append((len(images), options.steps))
        return real(self, images, options, cancelled)

    monkeypatch.setattr(Segmenter, "segment_batch", record)
    made, _ = make(
        segmenter, clock, "a", "b", latency_budget_ms=50.0, min_steps=2, max_steps=4, steps=1
    )
    made.warm_up(24, 40, cancelled=lambda: False, on_hang=pytest.fail)
    # The first one of each batch size is the cold one.
    assert runs == [(n, steps) for n in (1, 2) for steps in (2, 2, 3, 4)]


def test_steps_follow_the_budget_and_a_change_of_cost_starts_anew(
    segmenter: Segmenter, clock: Clock
) -> None:
    made, _ = make(segmenter, clock, steps=7)
    assert made.options_for(1, 1).steps == 7
    budget = {"latency_budget_ms": 1e5, "min_steps": 2, "max_steps": 5}
    made.apply(live_settings(values(**budget), V_PROFILES, CITYSCAPES))
    assert made.options_for(1, 1).steps == 2  # nothing is measured yet
    controller = made._controller
    made.apply(live_settings(values(**budget, seed=3, min_confidence=0.5), V_PROFILES, CITYSCAPES))
    assert made._controller is controller
    made.apply(live_settings(values(**budget, samples=2), V_PROFILES, CITYSCAPES))
    assert made._controller is not controller


def test_limits_change_live(segmenter: Segmenter, clock: Clock) -> None:
    made, _ = make(segmenter, clock)
    changed = live_settings(values(no_input_error_s=60.0), V_PROFILES, CITYSCAPES)
    made.apply(changed)
    port: Any = made.ports["front"]
    assert port.watch.limits == changed.limits
    assert port.announced == []
    made.apply(live_settings(values(min_confidence=0.25), V_PROFILES, CITYSCAPES))
    assert port.announced == [0.25]  # the threshold in LabelInfo is another one now
