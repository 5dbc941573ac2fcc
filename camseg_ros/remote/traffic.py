# SPDX-License-Identifier: Apache-2.0
"""What is sent to the node and what comes back: latencies, drops, and the promises it keeps."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from camseg_ros.node.diagnostics import MEASURED
from camseg_ros.node.health import PERCENTILES


@dataclass
class CameraTraffic:
    """The frames of one camera.

    Attributes:
        sent_ns: time at which a stamp's frame was last published, on the steady clock.
        sent: number of times that a stamp's frame was published.
        masks: stamps of the masks that arrived, in order of arrival, repeats included.
        latency_ns: time from publishing a stamp's frame to the arrival of its first mask.
        last_ns: time at which the last mask arrived, on the steady clock; 0 before the first.
    """

    sent_ns: dict[int, int] = field(default_factory=dict)
    sent: Counter[int] = field(default_factory=Counter)
    masks: list[int] = field(default_factory=list)
    latency_ns: dict[int, int] = field(default_factory=dict)
    last_ns: int = 0

    @property
    def played(self) -> int:
        """Number of frames that were published from here; 0 where another player plays."""
        return self.sent.total()

    def on_sent(self, stamp: int) -> None:
        """Take note of a frame just before it is published."""
        self.sent_ns[stamp] = time.monotonic_ns()
        self.sent[stamp] += 1

    def on_mask(self, stamp: int, arrived_ns: int) -> None:
        """Take note of a mask; a stamp's latency is that of its first one.

        It is taken now, as the frame may be played once more.
        """
        self.masks.append(stamp)
        self.last_ns = arrived_ns
        if stamp in self.sent_ns:
            self.latency_ns.setdefault(stamp, arrived_ns - self.sent_ns[stamp])

    def latency_ms(self) -> dict[str, float]:
        """Return percentiles of the latency by name, in milliseconds; empty without any."""
        if not self.latency_ns:
            return {}
        found_ns = np.percentile([*self.latency_ns.values()], PERCENTILES)
        return {f"p{p}": float(value) / 1e6 for p, value in zip(PERCENTILES, found_ns, strict=True)}

    def rate_hz(self) -> float:
        """Return masks per second, by the stamps of the first and the last one."""
        if len(self.masks) < 2:
            return 0.0
        return 1e9 * (len(self.masks) - 1) / (max(self.masks) - min(self.masks))

    def problems(self, counts: Mapping[str, int]) -> list[str]:
        """List what breaks the node's promises; empty if all held.

        Args:
            counts: the node's own counts of this camera, see `frame_counts`.
        """
        problems = []
        if not self.masks:
            problems.append("no mask came back")
        if self.sent:
            if not set(self.masks) <= set(self.sent):
                problems.append("a mask carries a stamp that no frame had")
            if any(count > self.sent[stamp] > 0 for stamp, count in Counter(self.masks).items()):
                problems.append("a frame's mask came back more often than the frame was played")
        if not counts:
            return [*problems, "the node sent no diagnostics"]
        accounted = counts["out"] + counts["dropped"] + counts["refused"]
        if self.sent and counts["in"] != accounted:  # else it may still be at work
            problems.append(f"in is not out + dropped + refused: {dict(counts)}")
        if counts["out"] < len(self.masks):
            problems.append(f"the node counts {counts['out']} out, {len(self.masks)} masks arrived")
        return problems


def frame_counts(values: Mapping[str, str]) -> dict[str, int]:
    """Read a camera's frames in, out, dropped and refused from its diagnostics."""
    return {
        key.removeprefix("frames_"): int(value)
        for key, value in values.items()
        if key.startswith("frames_") and value.isdecimal()
    }


def budget_shortfall(values: Mapping[str, str]) -> str:
    """Say from the node's own diagnostics that its latency budget was not kept; empty if it was.

    A tenth of the frames may take longer: the node predicts by its 90th percentile.
    """
    budget_ms = float(values.get("latency_budget_ms", 0.0))
    late, out = (int(values.get(f"frames_{name}", 0)) for name in ("over_budget", "out"))
    if not budget_ms or 10 * late <= out:
        return ""
    return (
        f"the latency budget of {budget_ms:g} ms was not kept: {late} of {out} frames took longer "
        "in the node"
    )


def node_percentiles_ms(values: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Read the percentiles of latency, age and stages from the node's own diagnostics."""
    found: dict[str, dict[str, float]] = {}
    for name in ("latency", "age", *MEASURED):
        for percent in PERCENTILES:
            text = values.get(f"{name}_p{percent}_ms")
            if text:
                found.setdefault(name, {})[f"p{percent}"] = float(text)
    return found
