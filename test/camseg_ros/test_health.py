# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from camseg_ros.frame_queue import FrameCounts
from camseg_ros.health import LatencyWindow, count_values, latency_values


def test_percentiles_are_of_the_last_frames_in_milliseconds() -> None:
    window = LatencyWindow(size=3)
    assert window.percentile_ms(50) is None
    for milliseconds in (1000, 10, 20, 30):
        window.add(milliseconds * 1_000_000)
    assert window.percentile_ms(50) == 20.0
    assert window.percentile_ms(100) == 30.0


def test_values_are_text_and_empty_without_frames() -> None:
    assert latency_values(LatencyWindow()) == {
        "latency_p50_ms": "",
        "latency_p95_ms": "",
        "latency_p99_ms": "",
    }
    window = LatencyWindow()
    window.add(1_500_000)
    assert latency_values(window)["latency_p99_ms"] == "1.5"


def test_counts_have_a_name_each() -> None:
    counts = FrameCounts(received=6, out=1, dropped=2, refused=3, waiting=4, in_progress=5)
    assert count_values(counts) == {
        "frames_in": "6",
        "frames_out": "1",
        "frames_dropped": "2",
        "frames_refused": "3",
        "frames_waiting": "4",
        "frames_in_progress": "5",
    }
