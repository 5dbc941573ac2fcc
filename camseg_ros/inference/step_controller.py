# SPDX-License-Identifier: Apache-2.0
"""The number of diffusion steps by a latency budget. Plain Python; times in nanoseconds.

The latency of a batch is modelled as ``fixed + steps x step``: a step costs the same whichever it
is, and all else does not depend on their number. Both are measured, for each batch size, as high
percentiles over the last batches. The largest batch that was seen lately decides, so that cameras
that sometimes meet in one batch do not make the number of steps swing.
"""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

WINDOW_BATCHES = 50
PERCENTILE = 90.0
HOLD_FRAMES = 100
"""Frames between two changes, while the load stays as it was."""
STEP_UP_SHARE = 0.85
"""More steps are taken when they are predicted to need at most this share of the budget."""
OVERLOAD_SHARE = 1.25
"""Above this share of the budget the load has changed, and fewer steps are taken at once."""

_LatencyModel = tuple[float, float]
"""Times of a batch in nanoseconds: the fixed part, and one step."""


def step_ladder(least: int, most: int) -> tuple[int, ...]:
    """Return the numbers of steps that may be chosen: both ends, and 1, 2, 3, 4, 6, 8, 12, 16, ...

    Neighbours differ by a third or more, so that a change is one that matters, and few of them need
    warming up.
    """
    powers = [2**exponent for exponent in range(most.bit_length())]
    rungs = {least, most, *powers, *(3 * power // 2 for power in powers)}
    return tuple(sorted(rung for rung in rungs if least <= rung <= most))


class StepController:
    """Chooses the steps of the next batch; thread-safe, as diagnostics ask while it learns.

    Attributes:
        ladder: Numbers of steps that it chooses from.
    """

    def __init__(self, budget_ns: int, least: int, most: int) -> None:
        """Keep the latency within ``budget_ns`` with ``least`` to ``most`` steps."""
        self.ladder = step_ladder(least, most)
        self._budget_ns = budget_ns
        self._lock = threading.Lock()
        self._measured: dict[int, deque[_LatencyModel]] = {}
        self._recent_sizes: deque[int] = deque(maxlen=WINDOW_BATCHES)
        self._steps: int | None = None
        self._frames_since_change = 0

    def record(self, batch_size: int, steps: int, fixed_ns: int, steps_ns: int) -> None:
        """Learn from a batch, of the warm-up or of work.

        ``fixed_ns`` is the time from the entry of its first frame to its publication without the
        steps, ``steps_ns`` that of all steps, for all samples together.
        """
        with self._lock:
            window = self._measured.setdefault(batch_size, deque(maxlen=WINDOW_BATCHES))
            window.append((fixed_ns, steps_ns / steps))

    @property
    def over_budget(self) -> bool:
        """True if even the fewest steps are predicted to miss the budget."""
        with self._lock:
            return _slowest_ns(self._models(), self.ladder[0]) > self._budget_ns

    def choose(self, batch_size: int) -> int:
        """Return the steps of the next batch, which has ``batch_size`` frames.

        Without any measurement the fewest steps are taken.
        """
        with self._lock:
            self._recent_sizes.append(batch_size)
            self._frames_since_change += batch_size
            models, budget_ns = self._models(), self._budget_ns
            steps = self._most_within(models, budget_ns)
            if self._steps is not None:
                holds = self._frames_since_change < HOLD_FRAMES
                if steps >= self._steps:
                    better = self._most_within(models, STEP_UP_SHARE * budget_ns)
                    steps = self._steps if holds else max(better, self._steps)
                elif holds and _slowest_ns(models, self._steps) <= OVERLOAD_SHARE * budget_ns:
                    steps = self._steps
            if steps != self._steps:
                self._steps, self._frames_since_change = steps, 0
            return steps

    def _models(self) -> list[_LatencyModel]:
        """Return a model for each batch size seen lately, measured or from the nearest one."""
        models = []
        for size in set(self._recent_sizes) if self._measured else ():
            nearest = min(self._measured, key=lambda known, size=size: (abs(known - size), -known))
            fixed_ns, step_ns = np.percentile(self._measured[nearest], PERCENTILE, axis=0)
            scale = max(1.0, size / nearest)
            models.append((scale * float(fixed_ns), scale * float(step_ns)))
        return models

    def _most_within(self, models: list[_LatencyModel], limit_ns: float) -> int:
        """Return the most steps predicted to need at most ``limit_ns``; the fewest if none do."""
        within = [steps for steps in self.ladder if _slowest_ns(models, steps) <= limit_ns]
        return within[-1] if models and within else self.ladder[0]


def _slowest_ns(models: list[_LatencyModel], steps: int) -> int:
    return max((int(fixed_ns + steps * step_ns) for fixed_ns, step_ns in models), default=0)
