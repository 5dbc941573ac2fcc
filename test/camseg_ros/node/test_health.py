# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from hypothesis import given
from hypothesis import strategies as st
from node_parts import Log

from camseg_ros.node.health import (
    CameraWatch,
    Condition,
    Level,
    Limit,
    RepeatedWarnings,
    WatchLimits,
    worst,
)

MS, S = 10**6, 10**9
LIMITS = WatchLimits(
    no_input=Limit(S, 3 * S), input_age=Limit(S // 2, 2 * S), latency=Limit(200 * MS, 900 * MS)
)


def test_levels_are_those_of_diagnostics() -> None:
    levels = {level.name: bytes([level]) for level in Level}
    assert levels == {
        "OK": DiagnosticStatus.OK,
        "WARN": DiagnosticStatus.WARN,
        "ERROR": DiagnosticStatus.ERROR,
    }


def test_a_camera_that_stops_is_warned_of_then_an_error_and_is_fine_when_it_returns() -> None:
    watch = CameraWatch(LIMITS, now_ns=10 * S)
    assert watch.check(11 * S) == Condition(Level.OK, "no frame yet")
    assert watch.check(11 * S + 1) == Condition(Level.WARN, "no input yet after 1.0 s")
    assert watch.check(14 * S) == Condition(Level.ERROR, "no input yet after 4.0 s")
    watch.entered(20 * S, age_ns=0)
    assert watch.check(20 * S + 1) == Condition(Level.OK, "frames arrive")
    assert watch.check(22 * S) == Condition(Level.WARN, "no input for 2.0 s")
    assert watch.check(23 * S + 1).level == Level.ERROR
    watch.entered(24 * S, age_ns=0)
    assert watch.check(24 * S).level == Level.OK


@pytest.mark.parametrize(
    ("age_ns", "expected"),
    [
        (400 * MS, Condition(Level.OK, "frames arrive")),
        (600 * MS, Condition(Level.WARN, "stale input: its stamps are 0.6 s old")),
        (3 * S, Condition(Level.ERROR, "stale input: its stamps are 3.0 s old")),
        (-400 * MS, Condition(Level.OK, "frames arrive")),
        (
            -600 * MS,
            Condition(Level.WARN, "input by another clock: its stamps are 0.6 s in the future"),
        ),
        (
            -5 * S,
            Condition(Level.ERROR, "input by another clock: its stamps are 5.0 s in the future"),
        ),
    ],
)
def test_old_stamps_and_stamps_in_the_future_are_told(age_ns: int, expected: Condition) -> None:
    watch = CameraWatch(LIMITS, now_ns=0)
    watch.entered(S, age_ns)
    assert watch.check(S) == expected


def test_slow_is_the_median_of_the_last_frames_not_one_of_them() -> None:
    watch = CameraWatch(LIMITS, now_ns=0)
    watch.entered(0, 0)
    for latency_ms in (100, 100, 5000):
        watch.left(latency_ms * MS)
    assert watch.check(0).level == Level.OK
    watch.left(300 * MS)
    watch.left(300 * MS)
    assert watch.check(0) == Condition(Level.WARN, "slow processing: 0.30 s a frame")
    for _ in range(3):
        watch.left(1000 * MS)
    assert watch.check(0).level == Level.ERROR


def test_reasons_stand_together_worst_first() -> None:
    watch = CameraWatch(LIMITS, now_ns=0)
    watch.entered(0, age_ns=S)
    watch.left(S)
    assert watch.check(0) == Condition(
        Level.ERROR,
        "slow processing: 1.00 s a frame; stale input: its stamps are 1.0 s old",
    )


def test_a_mask_breaks_an_error_limit_by_age_future_or_latency() -> None:
    watch = CameraWatch(LIMITS, now_ns=0)
    assert not watch.breaks_error_limit(age_ns=2 * S, latency_ns=900 * MS)
    assert not watch.breaks_error_limit(age_ns=-2 * S, latency_ns=0)
    assert watch.breaks_error_limit(age_ns=2 * S + 1, latency_ns=0)
    assert watch.breaks_error_limit(age_ns=-2 * S - 1, latency_ns=0)
    assert watch.breaks_error_limit(age_ns=0, latency_ns=900 * MS + 1)


def test_a_camera_whose_frames_are_all_refused_is_as_bad_as_a_silent_one() -> None:
    watch = CameraWatch(LIMITS, now_ns=0)
    levels = {}
    for tenth in range(41):
        watch.entered(tenth * S // 10, age_ns=0)
        watch.refused(tenth * S // 10)
        levels[tenth] = watch.check(tenth * S // 10)
    assert levels[10] == Condition(Level.OK, "frames arrive")
    assert levels[11] == Condition(Level.WARN, "every frame was refused for 1.1 s")
    assert levels[31] == Condition(Level.ERROR, "every frame was refused for 3.1 s")
    watch.entered(5 * S, age_ns=0)
    watch.left(latency_ns=0)
    assert watch.check(5 * S) == Condition(Level.OK, "frames arrive")


def test_one_bad_frame_is_no_error_however_long_the_next_one_takes() -> None:
    watch = CameraWatch(LIMITS, now_ns=0)
    watch.refused(S)
    for second in range(1, 9):  # frames keep coming, none is through yet
        watch.entered(second * S, age_ns=0)
    assert watch.check(8 * S) == Condition(Level.OK, "frames arrive")
    watch.left(latency_ns=0)
    watch.refused(9 * S)  # in a new row of refusals
    watch.entered(9 * S, age_ns=0)
    assert watch.check(9 * S).level == Level.OK


def test_silence_is_an_error_only_beyond_its_limit() -> None:
    watch = CameraWatch(LIMITS, now_ns=0)
    watch.entered(S, age_ns=0)
    assert not watch.is_silent(4 * S)
    assert watch.is_silent(4 * S + 1)
    assert not CameraWatch(WatchLimits(), now_ns=0).is_silent(10**15)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12))
def test_limits_of_0_are_none(age_ns: int, latency_ns: int) -> None:
    watch = CameraWatch(WatchLimits(), now_ns=0)
    watch.entered(0, age_ns)
    watch.left(latency_ns)
    assert watch.check(10**15).level == Level.OK
    assert not watch.breaks_error_limit(age_ns, latency_ns)


def test_the_worst_of_nothing_is_ok() -> None:
    assert worst([], otherwise="active") == Condition(Level.OK, "active")


def test_a_kind_of_warning_is_told_once_in_ten_seconds_whatever_its_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_ns = 10**12
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns)
    log = Log()
    warnings = RepeatedWarnings(log)
    for reason in ("7 bytes are too short", "8 bytes are too short", "no pixels"):
        warnings.warn("front: refused", reason)
    assert log.lines == [
        "WARN front: refused: 7 bytes are too short",
        "WARN front: refused: no pixels",
    ]
    now_ns += 10 * S
    warnings.warn("front: refused", "no pixels")
    assert len(log.lines) == 3
    warnings.clear()
    warnings.warn("front: refused", "no pixels")
    assert len(log.lines) == 4


def test_pixels_without_a_number_are_an_error_until_a_frame_has_none() -> None:
    watch = CameraWatch(LIMITS, 0)
    watch.entered(0, 0)
    watch.left(0, has_no_number=True)
    assert watch.check(0) == Condition(
        Level.ERROR, "the networks gave no number for some pixels, which are unlabeled"
    )
    watch.left(0)
    assert watch.check(0).level == Level.OK
