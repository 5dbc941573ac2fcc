# SPDX-License-Identifier: Apache-2.0
"""What is measured of the node and its cameras, and the diagnostics that tell it."""

from __future__ import annotations

from collections.abc import Mapping

import psutil
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from camseg_core.segmentation import STAGES
from camseg_core.segmenter import Segmenter
from camseg_core.system.devices import allocated_bytes
from camseg_ros.inference.frame_queue import FrameCounts
from camseg_ros.inference.worker import BatchReport
from camseg_ros.node.health import PERCENTILES, Condition, DurationWindow
from camseg_ros.node.settings import LiveSettings

HARDWARE_ID = "camseg"
MEASURED = ("wait", "convert", *STAGES, "publish", "processing")
"""Stages of a frame's way whose durations the diagnostics of the node hold."""


def diagnostic_status(
    name: str, condition: Condition, values: Mapping[str, str]
) -> DiagnosticStatus:
    """Build the status of the node or of one of its cameras."""
    return DiagnosticStatus(
        level=bytes([condition.level]),
        name=name,
        message=condition.text,
        hardware_id=HARDWARE_ID,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


class FrameMeasurements:
    """Latency and age of the frames that came out."""

    def __init__(self) -> None:
        """Begin without frames."""
        self._latency, self._age = DurationWindow(), DurationWindow()

    def add(self, latency_ns: int, age_ns: int) -> None:
        """Add a frame: times from its entry and from its stamp to its publication."""
        self._latency.add(latency_ns)
        self._age.add(age_ns)

    def clear(self) -> None:
        """Forget all frames."""
        self._latency.clear()
        self._age.clear()

    def values(self, counts: FrameCounts, rate_hz: float) -> dict[str, str]:
        """Return counts, rate and percentiles as diagnostics name them."""
        return {
            "frames_in": str(counts.received),
            "frames_out": str(counts.out),
            "frames_dropped": str(counts.dropped),
            "frames_refused": str(counts.refused),
            "frames_waiting": str(counts.waiting),
            "frames_in_progress": str(counts.in_progress),
            "rate_out_hz": f"{rate_hz:.1f}",
            **duration_values({"latency": self._latency, "age": self._age}),
        }


class NodeMeasurements:
    """Measurements of the whole node.

    Attributes:
        frames: The frames of all cameras.
        steps, batch_size: Diffusion steps and frames of the last batch.
    """

    def __init__(self, steps: int) -> None:
        """Begin without frames."""
        self.frames = FrameMeasurements()
        self.steps, self.batch_size = steps, 0
        self._stages = {name: DurationWindow() for name in MEASURED}
        self._process = psutil.Process()

    def add_batch(self, report: BatchReport) -> None:
        """Add the waits of a batch's frames and the times of its stages."""
        for wait_ns in report.waits_ns:
            self._stages["wait"].add(wait_ns)
        for name, spent_ns in report.stages_ns.items():
            self._stages[name].add(spent_ns)

    def clear(self) -> None:
        """Forget all frames and batches."""
        for measured in (self.frames, *self._stages.values()):
            measured.clear()

    def values(
        self, counts: FrameCounts, rate_hz: float, segmenter: Segmenter, live: LiveSettings
    ) -> dict[str, str]:
        """Return the node's figures as diagnostics name them."""
        loaded, sampling = segmenter.loaded, live.sampling
        memory = allocated_bytes(segmenter.device)
        return {
            **self.frames.values(counts, rate_hz),
            **duration_values(self._stages),
            "steps": str(self.steps),
            "batch_size": str(self.batch_size),
            "latency_budget_ms": f"{live.budget_ns / 1e6:g}",
            "sampler": sampling.sampler,
            "samples": str(sampling.samples),
            "precision": sampling.precision,
            "device": str(segmenter.device),
            "device_memory_mib": "" if memory is None else f"{memory / 2**20:.0f}",
            "process_memory_mib": f"{self._process.memory_info().rss / 2**20:.0f}",
            "weights": loaded.source,
            "weights_sha256": loaded.weights_sha256 or "",
        }


def duration_values(windows: Mapping[str, DurationWindow]) -> dict[str, str]:
    """Return percentiles as diagnostics name them, ``NAME_p50_ms``; empty text without frames."""
    values = {}
    for name, window in windows.items():
        found = window.percentiles_ms() or (None,) * len(PERCENTILES)
        for percent, value in zip(PERCENTILES, found, strict=True):
            values[f"{name}_p{percent}_ms"] = "" if value is None else f"{value:.1f}"
    return values
