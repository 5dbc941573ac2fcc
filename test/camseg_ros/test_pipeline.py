# SPDX-License-Identifier: Apache-2.0
"""The pipeline with stand-ins for the topics: what it tells, drops and learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import Header

from camseg_core.checkpoint import random_model
from camseg_core.labels import CITYSCAPES
from camseg_core.profiles import V_PROFILES
from camseg_core.segmenter import Segmenter
from camseg_ros import pipeline as pipeline_module
from camseg_ros.conversions import image_message
from camseg_ros.frame_queue import QueuedFrame
from camseg_ros.health import (
    CameraWatch,
    Condition,
    DurationWindow,
    Level,
    RateMeter,
    WatchLimits,
)
from camseg_ros.parameters import PARAMETERS
from camseg_ros.pipeline import SegmentationPipeline, Surroundings
from camseg_ros.settings import live_settings

MS = 10**6


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
        self.safe_masks = self.last_safe_ns = 0
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
        self.last_safe_ns = now_ns
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
    assert line.startswith("WARN front: mask dropped: it is too old: ")
    clock.ns += 11 * 10**9
    publish(made, clock, age_ms * MS, latency_ms * MS)
    assert len(log.lines) == 2


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

    def record(self: Segmenter, images: Any, options: Any) -> Any:
        runs.append((len(images), options.steps))
        return real(self, images, options)

    monkeypatch.setattr(Segmenter, "segment_batch", record)
    made, _ = make(
        segmenter, clock, "a", "b", latency_budget_ms=50.0, min_steps=2, max_steps=4, steps=1
    )
    made.warm_up(24, 40)
    # The first one of each batch size is the cold one.
    assert runs == [(n, steps) for n in (1, 2) for steps in (1, 2, 3, 4)]


def test_steps_follow_the_budget_and_a_change_of_cost_starts_anew(
    segmenter: Segmenter, clock: Clock
) -> None:
    made, _ = make(segmenter, clock, steps=7)
    assert made.options_for(1).steps == 7
    budget = {"latency_budget_ms": 1e5, "min_steps": 2, "max_steps": 5}
    made.apply(live_settings(values(**budget), V_PROFILES, CITYSCAPES))
    assert made.options_for(1).steps == 2  # nothing is measured yet
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
