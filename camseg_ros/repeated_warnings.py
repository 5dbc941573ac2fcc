# SPDX-License-Identifier: Apache-2.0
"""Warnings that repeat with every frame, told now and then. Plain Python, no rclpy."""

from __future__ import annotations

import re
import time
from typing import Protocol

PERIOD_NS = 10 * 10**9


class Log(Protocol):
    """What a ROS logger offers."""

    def info(self, message: str) -> object:
        """Log what is usual."""

    def warning(self, message: str) -> object:
        """Log what is not."""

    def error(self, message: str) -> object:
        """Log what went wrong."""


class RepeatedWarnings:
    """Tells a kind of warning once, and again every ten seconds while it repeats."""

    def __init__(self, log: Log) -> None:
        """Tell them to ``log``."""
        self._log = log
        self._told_ns: dict[str, int] = {}

    def warn(self, what: str, reason: str) -> None:
        """Warn, unless one of this kind was told lately: numbers differ from frame to frame."""
        kind = re.sub(r"\d+", "#", f"{what} {reason}")
        now_ns = time.monotonic_ns()
        if now_ns - self._told_ns.get(kind, -PERIOD_NS) >= PERIOD_NS:
            self._told_ns[kind] = now_ns
            self._log.warning(f"{what}: {reason}")

    def clear(self) -> None:
        """Forget what was told."""
        self._told_ns.clear()
