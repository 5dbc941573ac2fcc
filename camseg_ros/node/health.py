# SPDX-License-Identifier: Apache-2.0
"""What the node knows of its own health: conditions, limits, warnings. Plain Python.

Every time is on the steady clock, in nanoseconds, and given by the caller: health is known also
where a bag's clock stands still.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Iterable
from enum import IntEnum
from statistics import median
from typing import Any, NamedTuple

from camseg_core.segmentation import NO_NUMBER

PERCENTILES = (50, 95, 99)
"""Percentiles in which durations are told."""
SLOW_FRAMES = 5
"""Processing is slow when the median latency of so many frames is above a limit."""
WARNING_PERIOD_NS = 10 * 10**9


class Level(IntEnum):
    """How bad a condition is; the values are those of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


class Condition(NamedTuple):
    """A level and the reason for it, in words."""

    level: Level
    text: str


def worst(conditions: Iterable[Condition], otherwise: str) -> Condition:
    """Join conditions: the highest level, and the reasons that are not OK, worst first."""
    bad = sorted((item for item in conditions if item.level), key=lambda item: -item.level)
    if not bad:
        return Condition(Level.OK, otherwise)
    return Condition(bad[0].level, "; ".join(dict.fromkeys(item.text for item in bad)))


class Limit(NamedTuple):
    """Durations in nanoseconds beyond which something is a warning or an error; 0 is never."""

    warn_ns: int = 0
    error_ns: int = 0

    def is_error(self, value_ns: int) -> bool:
        """Return whether a duration is an error."""
        return 0 < self.error_ns < value_ns

    def judge(self, value_ns: int, text: str) -> Condition:
        """Return what a duration means; ``text`` is formatted with it in seconds."""
        is_warning = 0 < self.warn_ns < value_ns
        level = Level.ERROR if self.is_error(value_ns) else Level(is_warning)
        return Condition(level, text.format(value_ns / 1e9))


class WatchLimits(NamedTuple):
    """Limits of one camera.

    Attributes:
        no_input: Limit of the time since the last frame, or since activation, and of how long
            every frame was refused.
        input_age: Limit of the difference between a frame's stamp and the node's clock on entry,
            be it older or in the future.
        latency: Limit of the time from a frame's entry to its masks' publication.
    """

    no_input: Limit = Limit()
    input_age: Limit = Limit()
    latency: Limit = Limit()


class CameraWatch:
    """Watches one camera's input and its way through the node; thread-safe."""

    def __init__(self, limits: WatchLimits, now_ns: int) -> None:
        """Begin to wait for input at ``now_ns``; ``limits`` may be replaced at any time."""
        self.limits = limits
        self._lock = threading.Lock()
        self._last_input_ns = now_ns
        self._has_input = False
        self._input_age_ns = 0
        self._refused_ns: tuple[int, int] | None = None  # the first and the last one in a row
        self._latencies_ns: deque[int] = deque(maxlen=SLOW_FRAMES)
        self._has_no_number = False

    def entered(self, now_ns: int, age_ns: int) -> None:
        """Note a frame that came in, with the age of its stamp."""
        with self._lock:
            self._last_input_ns, self._has_input, self._input_age_ns = now_ns, True, age_ns

    def refused(self, now_ns: int) -> None:
        """Note a frame that could not be segmented."""
        with self._lock:
            first_ns = self._refused_ns[0] if self._refused_ns else now_ns
            self._refused_ns = (first_ns, now_ns)

    def left(self, latency_ns: int, *, has_no_number: bool = False) -> None:
        """Note how long a segmented frame took, whether it was published or came too late."""
        with self._lock:
            self._refused_ns = None
            self._has_no_number = has_no_number
            self._latencies_ns.append(latency_ns)

    def breaks_error_limit(self, age_ns: int, latency_ns: int) -> bool:
        """Return whether nobody should act on a mask, because it breaks the limit of an error."""
        limits = self.limits
        return limits.input_age.is_error(abs(age_ns)) or limits.latency.is_error(latency_ns)

    def is_silent(self, now_ns: int) -> bool:
        """Return whether no frame has come in for so long that it is an error."""
        with self._lock:
            return self.limits.no_input.is_error(now_ns - self._last_input_ns)

    def lacks_input(self, now_ns: int) -> bool:
        """Return whether no frame has come in for so long that it is a warning or an error."""
        with self._lock:
            return self.limits.no_input.judge(now_ns - self._last_input_ns, "").level > Level.OK

    def check(self, now_ns: int) -> Condition:
        """Return the camera's condition now."""
        limits = self.limits
        with self._lock:
            since = "no input for" if self._has_input else "no input yet after"
            silence = limits.no_input.judge(now_ns - self._last_input_ns, f"{since} {{:.1f}} s")
            # The span of refusals, not the time since the first: a single bad frame is none,
            # however long the next good one takes.
            first_ns, last_ns = self._refused_ns or (0, 0)
            refusal = limits.no_input.judge(
                last_ns - first_ns, "every frame was refused for {:.1f} s"
            )
            for missing in (silence, refusal):
                if missing.level == Level.ERROR:
                    return missing  # what was measured on earlier frames says nothing about now
            if self._has_no_number:
                return Condition(Level.ERROR, NO_NUMBER)
            stale = limits.input_age.judge(
                abs(self._input_age_ns),
                "stale input: its stamps are {:.1f} s old"
                if self._input_age_ns >= 0
                else "input by another clock: its stamps are {:.1f} s in the future",
            )
            slow = limits.latency.judge(
                int(median(self._latencies_ns or [0])), "slow processing: {:.2f} s a frame"
            )
            well = "frames arrive" if self._has_input else "no frame yet"
        return worst([silence, refusal, stale, slow], otherwise=well)


class RepeatedWarnings:
    """Tells each kind of warning once, and again every ten seconds while it repeats."""

    def __init__(self, log: Any) -> None:
        """Write the warnings to ``log``, a ROS logger."""
        self._log = log
        self._told_ns: dict[str, int] = {}

    def warn(self, what: str, reason: str) -> None:
        """Warn, unless the same was told lately with the same or other numbers."""
        kind = re.sub(r"\d+", "#", f"{what} {reason}")
        now_ns = time.monotonic_ns()
        if now_ns - self._told_ns.get(kind, -WARNING_PERIOD_NS) >= WARNING_PERIOD_NS:
            self._told_ns[kind] = now_ns
            self._log.warning(f"{what}: {reason}")

    def clear(self) -> None:
        """Forget what was told."""
        self._told_ns.clear()
