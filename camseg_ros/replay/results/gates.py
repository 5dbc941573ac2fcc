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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.registry import metrics_of
from camseg_core.labels import LabelSet
from camseg_core.system.files import atomic_path, read_yaml
from camseg_core.system.validation import parse

CLASS_IOU = "class_iou"
OF_REPLAYS = {
    "flicker": True,
    "drop_rate": True,
    "latency_p50_ms": False,
    "latency_p95_ms": False,
    "latency_p99_ms": False,
    "age_p99_ms": False,
}
"""Figures of replays only, true for shares, 0..1: flicker of an offline one, the others live."""

LARGEST = 1e9
"""The largest bound."""


@dataclass(frozen=True)
class Bounds:
    """The bounds of a figure, as the file has them; one of the two may be left out."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        given = [bound for bound in (self.min, self.max) if bound is not None]
        if not given or not all(0 <= bound <= LARGEST for bound in given):
            raise CamsegError("min, max or both, numbers from 0, are needed")
        if given[0] > given[-1]:
            raise CamsegError(f"min {given[0]:g} is above max {given[-1]:g}")


@dataclass(frozen=True)
class Gate:
    """One threshold: a figure, ``class_iou.person`` for that of a class, and its bounds."""

    figure: str
    bounds: Bounds

    @property
    def rule(self) -> str:
        """The bounds in words."""
        words = (("at least", self.bounds.min), ("at most", self.bounds.max))
        return " and ".join(f"{word} {bound:g}" for word, bound in words if bound is not None)


@dataclass(frozen=True)
class GateOutcome:
    """The outcome of a gate for one subject, which is a data set or a camera."""

    gate: Gate
    subject: str
    value: float | None

    @property
    def passed(self) -> bool:
        """True if the value is within the bounds; one that was not measured is not."""
        least, most = self.gate.bounds.min, self.gate.bounds.max
        if self.value is None or math.isnan(self.value):
            return False
        return (least is None or self.value >= least) and (most is None or self.value <= most)

    @property
    def line(self) -> str:
        """The outcome in one line."""
        found = "was not measured" if self.value is None else f"is {self.value:.6g}"
        return (
            f"gate {self.gate.figure} {'passed' if self.passed else 'FAILED'}: {self.subject}: "
            f"it {found}, {self.gate.rule} is asked for"
        )


def read_gates(path: Path) -> list[Gate]:
    """Read a file of gates.

    Raises:
        CamsegError: the file is not readable, has no gate, an unknown figure or bad bounds.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise CamsegError(f"{path} has no gates; e.g. mean_iou: {{min: 0.6}} is needed")
    known = known_figures()
    flat: dict[str, Any] = {}
    for name, bounds in content.items():
        if name not in known:
            raise CamsegError(f"{path}: unknown gate {name!r}; known are {', '.join(known)}")
        if name != CLASS_IOU:
            flat[name] = bounds
        elif isinstance(bounds, dict) and bounds:
            flat |= {f"{CLASS_IOU}.{label}": bound for label, bound in bounds.items()}
        else:
            raise CamsegError(f"{path}: {name} names no class; e.g. person: {{min: 0.3}} is needed")
    gates = parse(dict[str, Bounds], flat, str(path))
    for name, bounds in gates.items():
        if known[name.partition(".")[0]] and max(bounds.min or 0, bounds.max or 0) > 1:
            raise CamsegError(
                f"{path}: gate {name} has a bound above 1; it is a share, from 0 to 1"
            )
    return [Gate(name, bounds) for name, bounds in gates.items()]


def known_figures() -> dict[str, bool]:
    """Return the names of the figures that gates know; true for shares, 0..1."""
    metrics = {name: metric.is_share for name, metric in metrics_of("official").items()}
    return {**metrics, CLASS_IOU: True, **OF_REPLAYS}


def check_class_gates(gates: Sequence[Gate], label_set: LabelSet) -> None:
    """Refuse gates of classes that the weights do not know.

    Raises:
        CamsegError: a gate is of an unknown class.
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
    """Compare gates with the figures of each subject; without any subject, every gate fails."""
    return [
        GateOutcome(gate, subject, values.get(gate.figure))
        for subject, values in (figures or {"bags without truth": {}}).items()
        for gate in gates
    ]


def write_junit(outcomes: Sequence[GateOutcome], path: Path) -> None:
    """Write outcomes as JUnit XML, one test case each.

    Raises:
        CamsegError: the file cannot be written, or junitparser is not installed.
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
