# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from camseg_ros.inference.frame_queue import FrameCounts
from camseg_ros.node.diagnostics import WINDOW_FRAMES, Measurements, diagnostic_status
from camseg_ros.node.health import Condition, Level

MS, S = 10**6, 10**9
COUNTS = FrameCounts(received=6, out=1, dropped=2, refused=3, waiting=4, in_progress=5)


def test_a_condition_with_values_becomes_a_status() -> None:
    status = diagnostic_status("/node", Condition(Level.WARN, "over budget"), {"steps": "4"})
    told = (status.level, status.name, status.message, status.hardware_id)
    assert told == (DiagnosticStatus.WARN, "/node", "over budget", "camseg")
    assert [(entry.key, entry.value) for entry in status.values] == [("steps", "4")]


def test_counts_and_times_are_text_and_times_are_empty_without_frames() -> None:
    measured = Measurements("denoiser")
    empty = {
        "frames_in": "6",
        "frames_out": "1",
        "frames_dropped": "2",
        "frames_refused": "3",
        "frames_waiting": "4",
        "frames_in_progress": "5",
        "rate_out_hz": "0.0",
        **{
            f"{name}_p{percent}_ms": ""
            for name in ("latency", "age", "denoiser")
            for percent in (50, 95, 99)
        },
    }
    assert measured.values(COUNTS, 0) == empty
    measured.add_frame(0, latency_ns=1_500_000, age_ns=2_000_000)
    measured.add_frame(S // 10, latency_ns=1_500_000, age_ns=2_000_000)
    measured.add("denoiser", 10 * MS, 20 * MS, 30 * MS)
    found = measured.values(COUNTS, S // 10)
    assert (found["latency_p99_ms"], found["age_p50_ms"]) == ("1.5", "2.0")
    assert [found[f"denoiser_p{percent}_ms"] for percent in (50, 95)] == ["20.0", "29.0"]
    assert found["rate_out_hz"] == "10.0"
    measured.clear()
    assert measured.values(COUNTS, 0) == empty


def test_percentiles_are_of_the_last_frames() -> None:
    measured = Measurements("denoiser")
    measured.add("denoiser", 10**6 * MS, *[10 * MS] * WINDOW_FRAMES)
    assert measured.values(COUNTS, 0)["denoiser_p99_ms"] == "10.0"


def test_a_rate_is_that_of_the_last_seconds_and_falls_when_frames_stop() -> None:
    measured = Measurements()
    assert measured.rate_hz(0) == 0.0
    for index in range(241):
        measured.add_frame(index * S // 20, 0, 0)
    assert measured.rate_hz(12 * S) == pytest.approx(20.0)
    assert measured.rate_hz(14 * S) == pytest.approx(160 / (8 + 1.95))
    assert measured.rate_hz(23 * S) == 0.0
    measured.add_frame(23 * S, 0, 0)
    assert measured.rate_hz(23 * S) == 0.0
    measured.add_frame(24 * S, 0, 0)
    assert measured.rate_hz(24 * S) == pytest.approx(1.0)
