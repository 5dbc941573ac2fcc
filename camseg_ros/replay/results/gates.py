# SPDX-License-Identifier: Apache-2.0
"""Gates: thresholds in a YAML file that a replay must keep, and their outcome as JUnit XML.

mean_iou: {min: 0.6}
class_iou:
  person: {min: 0.3}
calibration_error: {max: 0.05}
latency_p99_ms: {max: 150}
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_core.system.files import atomic_path, read_yaml

CLASS_IOU = "class_iou"
FIGURES = (
    "mean_iou", "pixel_accuracy", CLASS_IOU, "calibration_error", "flicker", "drop_rate",
    "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "age_p99_ms",
)  # fmt: skip
"""Drops, latency and age are known of a live replay only, flicker of an offline one."""

MILLISECONDS = "_ms"
"""How the names of figures end that are times; the others are shares, 0..1."""

LARGEST = 1e9
"""Of bounds."""

NOTHING_SCORED: Mapping[str, Mapping[str, float | None]] = {"bags without truth": {}}
"""Figures of a replay that scored nothing: no gate holds."""


@dataclass(frozen=True)
class Gate:
    """One threshold.

    Attributes:
        figure: one of `FIGURES`; of a class, ``class_iou.person``.
        least, most: what it may be; None for no bound.
    """

    figure: str
    least: float | None
    most: float | None

    def holds(self, value: float | None) -> bool:
        """Return whether a value is within the bounds; what was not measured is not."""
        if value is None or math.isnan(value):
            return False
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    @property
    def rule(self) -> str:
        """The bounds in words."""
        bounds = (("at least", self.least), ("at most", self.most))
        return " and ".join(f"{words} {bound:g}" for words, bound in bounds if bound is not None)


@dataclass(frozen=True)
class GateOutcome:
    """What became of a gate on one subject (a data set, a camera)."""

    gate: Gate
    subject: str
    value: float | None

    @property
    def passed(self) -> bool:
        """True if the gate holds."""
        return self.gate.holds(self.value)

    @property
    def line(self) -> str:
        """Say it in one line."""
        found = "was not measured" if self.value is None else f"is {self.value:.6g}"
        verdict = "passed" if self.passed else "FAILED"
        asked = f"{self.gate.rule} is asked for"
        return f"gate {self.gate.figure} {verdict}: {self.subject}: it {found}, {asked}"


def read_gates(path: Path) -> list[Gate]:
    """Read a file of gates.

    Raises:
        CamsegError: not readable, no gate, an unknown figure, or bounds that are none.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise CamsegError(f"{path} has no gates; e.g. mean_iou: {{min: 0.6}} is needed")
    return list(_gates(content, path))


def check_class_gates(gates: Sequence[Gate], label_set: LabelSet) -> None:
    """Refuse gates of classes that the weights do not know.

    Raises:
        CamsegError: such a gate.
    """
    for gate in gates:
        figure, _, label = gate.figure.partition(".")
        if figure == CLASS_IOU and label not in label_set.names:
            raise CamsegError(
                f"gate {gate.figure}: the weights know no class {label!r}; "
                f"known are {', '.join(label_set.names)}"
            )


def check_gates(
    gates: Sequence[Gate], figures: Mapping[str, Mapping[str, float | None]]
) -> list[GateOutcome]:
    """Compare gates with figures: subject -> figure -> value; without any, all gates fail."""
    return [
        GateOutcome(gate, subject, values.get(gate.figure))
        for subject, values in (figures or NOTHING_SCORED).items()
        for gate in gates
    ]


def write_junit(outcomes: Sequence[GateOutcome], path: Path) -> None:
    """Write outcomes as JUnit XML, one test case each.

    Raises:
        CamsegError: it cannot be written, or junitparser is not installed.
    """
    try:
        from junitparser import Failure, JUnitXml, TestCase, TestSuite
    except ModuleNotFoundError as error:
        raise CamsegError(
            "JUnit XML needs junitparser, which is not installed; "
            "pip install -r requirements/research.txt"
        ) from error
    xml, suites = JUnitXml("camseg replay"), {}
    for outcome in outcomes:
        suite = suites.setdefault(outcome.subject, TestSuite(outcome.subject))
        case = TestCase(outcome.gate.figure, classname=f"camseg.replay.{outcome.subject}", time=0.0)
        if not outcome.passed:
            case.result = [Failure(outcome.line)]
        suite.add_testcase(case)
    for suite in suites.values():
        xml.add_testsuite(suite)
    with atomic_path(path) as temporary:
        xml.write(str(temporary))


def _gates(content: Mapping[Any, Any], path: Path) -> Iterator[Gate]:
    for name, bounds in content.items():
        if name not in FIGURES:
            raise CamsegError(f"{path}: unknown gate {name!r}; known are {', '.join(FIGURES)}")
        if name != CLASS_IOU:
            yield _gate(str(name), bounds, path)
            continue
        if not isinstance(bounds, dict) or not bounds:
            raise CamsegError(f"{path}: {name} is {bounds!r}; e.g. person: {{min: 0.3}} is needed")
        for label, bound in bounds.items():
            yield _gate(f"{CLASS_IOU}.{label}", bound, path)


def _gate(name: str, bounds: Any, path: Path) -> Gate:
    rule = f"{path}: gate {name} is {bounds!r:.80}; min, max or both, numbers from 0, are needed"
    if not isinstance(bounds, dict) or not bounds or not set(bounds) <= {"min", "max"}:
        raise CamsegError(rule)
    for value in bounds.values():
        if type(value) not in (int, float) or not 0 <= value <= LARGEST:
            raise CamsegError(rule)
        if not name.endswith(MILLISECONDS) and value > 1:
            raise CamsegError(f"{path}: gate {name} is {bounds!r}; it is a share, from 0 to 1")
    least, most = bounds.get("min"), bounds.get("max")
    if least is not None and most is not None and least > most:
        raise CamsegError(f"{path}: gate {name} has min {least:g} above max {most:g}")
    return Gate(name, least, most)
