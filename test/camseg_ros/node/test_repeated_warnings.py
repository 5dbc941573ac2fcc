# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from camseg_ros.node import health as repeated_warnings
from camseg_ros.node.health import RepeatedWarnings


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, message: str) -> None:
        self.lines.append(message)

    info = error = warning


def test_a_kind_is_told_once_in_ten_seconds_whatever_its_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_ns = 10**12
    monkeypatch.setattr(repeated_warnings.time, "monotonic_ns", lambda: now_ns)
    log = Log()
    warnings = RepeatedWarnings(log)
    for reason in ("7 bytes are too short", "8 bytes are too short", "no pixels"):
        warnings.warn("front: refused", reason)
    assert log.lines == ["front: refused: 7 bytes are too short", "front: refused: no pixels"]
    now_ns += 10 * 10**9
    warnings.warn("front: refused", "no pixels")
    assert len(log.lines) == 3
    warnings.clear()
    warnings.warn("front: refused", "no pixels")
    assert len(log.lines) == 4
