# SPDX-License-Identifier: Apache-2.0
"""What the node knows of its own health: latency and counts. Plain Python, steady clock."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from camseg_ros.frame_queue import FrameCounts

WINDOW_FRAMES = 1000


class LatencyWindow:
    """Durations of the last frames, in nanoseconds on the steady clock; thread-safe."""

    def __init__(self, size: int = WINDOW_FRAMES) -> None:
        """Keep the last ``size`` durations."""
        self._lock = threading.Lock()
        self._durations_ns: deque[int] = deque(maxlen=size)

    def add(self, duration_ns: int) -> None:
        """Add the duration of one frame."""
        with self._lock:
            self._durations_ns.append(duration_ns)

    def percentile_ms(self, percent: float) -> float | None:
        """Give a percentile in milliseconds, None while there is no frame."""
        with self._lock:
            durations_ns = list(self._durations_ns)
        return float(np.percentile(durations_ns, percent)) / 1e6 if durations_ns else None


def count_values(counts: FrameCounts) -> dict[str, str]:
    """Give counts as diagnostics name them."""
    return {
        "frames_in": str(counts.received),
        "frames_out": str(counts.out),
        "frames_dropped": str(counts.dropped),
        "frames_refused": str(counts.refused),
        "frames_waiting": str(counts.waiting),
        "frames_in_progress": str(counts.in_progress),
    }


def latency_values(latency: LatencyWindow) -> dict[str, str]:
    """Give latency percentiles as diagnostics name them; empty text while there is no frame."""
    values = {}
    for percent in (50, 95, 99):
        milliseconds = latency.percentile_ms(percent)
        values[f"latency_p{percent}_ms"] = "" if milliseconds is None else f"{milliseconds:.1f}"
    return values
