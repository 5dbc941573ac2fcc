# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from camseg_ros.inference.frame_queue import FrameCounts
from camseg_ros.node.diagnostics import FrameMeasurements, diagnostic_status
from camseg_ros.node.health import Condition, Level


def test_a_condition_with_values_becomes_a_status() -> None:
    status = diagnostic_status("/node", Condition(Level.WARN, "over budget"), {"steps": "4"})
    assert (status.level, status.name, status.message) == (
        DiagnosticStatus.WARN,
        "/node",
        "over budget",
    )
    assert [(entry.key, entry.value) for entry in status.values] == [("steps", "4")]
    assert status.hardware_id == "camseg"


def test_counts_and_times_are_text_and_times_are_empty_without_frames() -> None:
    counts = FrameCounts(received=6, out=1, dropped=2, refused=3, waiting=4, in_progress=5)
    measured = FrameMeasurements()
    found = measured.values(counts, rate_hz=9.96)
    assert found == {
        "frames_in": "6",
        "frames_out": "1",
        "frames_dropped": "2",
        "frames_refused": "3",
        "frames_waiting": "4",
        "frames_in_progress": "5",
        "rate_out_hz": "10.0",
        **{f"{name}_p{share}_ms": "" for name in ("latency", "age") for share in (50, 95, 99)},
    }
    measured.add(latency_ns=1_500_000, age_ns=2_000_000)
    found = measured.values(counts, rate_hz=0.0)
    assert (found["latency_p99_ms"], found["age_p50_ms"]) == ("1.5", "2.0")
    measured.clear()
    assert measured.values(counts, 0.0)["latency_p99_ms"] == ""
