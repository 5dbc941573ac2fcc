# SPDX-License-Identifier: Apache-2.0
"""What is measured of the node and its cameras, and the diagnostics that tell it.

All times are on the steady clock, in nanoseconds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

import numpy as np
import psutil
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from camseg_core.segmentation import STAGES
from camseg_core.segmenter import Segmenter
from camseg_core.system.devices import allocated_bytes
from camseg_ros.inference.frame_queue import FrameCounts
from camseg_ros.node.health import PERCENTILES, Condition
from camseg_ros.node.settings import LiveSettings

MEASURED = ("wait", "convert", *STAGES, "publish", "processing", "overhead")
"""Stages of a frame's way whose durations the diagnostics of the node hold."""
WINDOW_FRAMES = 1000
RATE_WINDOW_NS = 10 * 10**9


class Measurements:
    """The durations of the last frames, and the rate at which frames come out; thread-safe."""

    def __init__(self, *stages: str) -> None:
        """Measure latency and age of the frames that come out, and durations of ``stages``."""
        self._lock = threading.Lock()
        self._out_ns: deque[int] = deque(maxlen=WINDOW_FRAMES)
        self._durations_ns: dict[str, deque[int]] = {
            name: deque(maxlen=WINDOW_FRAMES) for name in ("latency", "age", *stages)
        }

    def add_frame(self, now_ns: int, latency_ns: int, age_ns: int) -> None:
        """Add a frame that came out now: times from its entry and from its stamp until then."""
        with self._lock:
            self._out_ns.append(now_ns)
        self.add("latency", latency_ns)
        self.add("age", age_ns)

    def add(self, stage: str, *durations_ns: int) -> None:
        """Add durations of a stage."""
        with self._lock:
            self._durations_ns[stage].extend(durations_ns)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for window in (self._out_ns, *self._durations_ns.values()):
                window.clear()

    def rate_hz(self, now_ns: int) -> float:
        """Return the frames per second of the last ten seconds; 0 before the second frame."""
        with self._lock:
            out_ns = [time_ns for time_ns in self._out_ns if now_ns - time_ns <= RATE_WINDOW_NS]
        gaps = len(out_ns) - 1
        if gaps < 1:
            return 0.0
        # Up to now if the next frame is late, so that the rate falls when frames stop.
        span_ns = out_ns[-1] - out_ns[0]
        late_ns = max(0.0, now_ns - out_ns[-1] - span_ns / gaps)
        return 1e9 * gaps / max(1.0, span_ns + late_ns)

    def values(self, counts: FrameCounts, now_ns: int) -> dict[str, str]:
        """Return counts, rate and percentiles as diagnostics name them.

        The percentiles are called ``STAGE_p50_ms`` and so on, and are empty without frames.
        """
        outcomes = ("out", "dropped", "refused", "waiting", "in_progress")
        values = {
            "frames_in": str(counts.received),
            **{f"frames_{name}": str(getattr(counts, name)) for name in outcomes},
            "rate_out_hz": f"{self.rate_hz(now_ns):.1f}",
        }
        with self._lock:
            windows = {name: list(window) for name, window in self._durations_ns.items()}
        for name, durations_ns in windows.items():
            found = np.percentile(durations_ns, PERCENTILES) if durations_ns else PERCENTILES
            for percent, value in zip(PERCENTILES, found, strict=True):
                values[f"{name}_p{percent}_ms"] = f"{value / 1e6:.1f}" if durations_ns else ""
        return values


def node_values(
    segmenter: Segmenter, live: LiveSettings, steps: int, batch_size: int
) -> dict[str, str]:
    """Return what the diagnostics of the node tell of model, device and the last batch."""
    loaded, sampling = segmenter.loaded, live.sampling
    memory = allocated_bytes(segmenter.device)
    return {
        "steps": str(steps),
        "batch_size": str(batch_size),
        "latency_budget_ms": f"{live.budget_ns / 1e6:g}",
        "sampler": sampling.sampler,
        "samples": str(sampling.samples),
        "precision": sampling.precision,
        "device": segmenter.networks.device_name,
        "device_memory_mib": "" if memory is None else f"{memory / 2**20:.0f}",
        "process_memory_mib": f"{psutil.Process().memory_info().rss / 2**20:.0f}",
        "weights": loaded.source,
        "weights_sha256": loaded.weights_sha256 or "",
    }


def diagnostic_status(
    name: str, condition: Condition, values: Mapping[str, str]
) -> DiagnosticStatus:
    """Build the status of the node or of one of its cameras."""
    return DiagnosticStatus(
        level=bytes([condition.level]),
        name=name,
        message=condition.text,
        hardware_id="camseg",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
