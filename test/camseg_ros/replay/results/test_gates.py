# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from junitparser import JUnitXml

from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES
from camseg_ros.replay.results.gates import (
    Bounds,
    Gate,
    GateOutcome,
    check_class_gates,
    check_gates,
    read_gates,
    write_junit,
)

TEXT = """
mean_iou: {min: 0.6}
class_iou:
  person: {min: 0.3}
  traffic light: {min: 0.1, max: 0.9}
latency_p99_ms: {max: 150}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    return path


def test_reading(tmp_path: Path) -> None:
    assert read_gates(written(tmp_path, TEXT)) == [
        Gate("mean_iou", Bounds(0.6, None)),
        Gate("class_iou.person", Bounds(0.3, None)),
        Gate("class_iou.traffic light", Bounds(0.1, 0.9)),
        Gate("latency_p99_ms", Bounds(None, 150)),  # no share, and so it may be above 1
    ]


@pytest.mark.parametrize(
    ("bounds", "value", "passed"),
    [
        (Bounds(0.6, None), 0.6, True),
        (Bounds(0.6, None), 0.5999, False),
        (Bounds(None, 0.1), 0.1, True),
        (Bounds(None, 0.1), 0.11, False),
        (Bounds(0.1, 0.9), 0.95, False),
        (Bounds(0.0, None), None, False),
        (Bounds(None, 1.0), float("nan"), False),
    ],
)
def test_bounds_are_part_of_what_holds(bounds: Bounds, value: float | None, passed: bool) -> None:
    assert GateOutcome(Gate("x", bounds), "", value).passed is passed


def test_outcomes_and_junit(tmp_path: Path) -> None:
    gates = [Gate("mean_iou", Bounds(0.6, None)), Gate("class_iou.person", Bounds(0.3, None))]
    outcomes = check_gates(
        gates,
        {"kitti-step val": {"mean_iou": 0.65, "class_iou.person": 0.25}, "acdc val": {}},
    )
    assert [(o.subject, o.gate.figure, o.passed) for o in outcomes] == [
        ("kitti-step val", "mean_iou", True),
        ("kitti-step val", "class_iou.person", False),
        ("acdc val", "mean_iou", False),
        ("acdc val", "class_iou.person", False),
    ]
    assert outcomes[1].line == (
        "gate class_iou.person FAILED: kitti-step val: it is 0.25, at least 0.3 is asked for"
    )
    assert outcomes[2].line == (
        "gate mean_iou FAILED: acdc val: it was not measured, at least 0.6 is asked for"
    )
    write_junit(outcomes, tmp_path / "junit.xml")
    suites = list(JUnitXml.fromfile(str(tmp_path / "junit.xml")))
    assert [(s.name, s.tests, s.failures) for s in suites] == [
        ("kitti-step val", 2, 1), ("acdc val", 2, 2),
    ]  # fmt: skip
    write_junit(outcomes, tmp_path / "again.xml")
    assert (tmp_path / "junit.xml").read_bytes() == (tmp_path / "again.xml").read_bytes()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", r"has no gates; e\.g\. mean_iou: \{min: 0\.6\} is needed"),
        ("- a", "has no gates"),
        ("a: [", r"gates\.yaml, line 1: not YAML: "),
        ("mean_iou: {min: 1" + 400 * "0" + "}", "mean_iou: min, max or both, numbers from 0, are"),
        ("mean_iou: {min: 67.5}", "gate mean_iou has a bound above 1; it is a share, from 0 to 1"),
        ("class_iou: {car: {min: 30}}", r"gate class_iou\.car has a bound above 1"),
        ("latency_p99_ms: {max: -1}", "min, max or both, numbers from 0"),
        ("miou: {min: 1}", "unknown gate 'miou'; known are mean_iou, pixel_accuracy, "),
        ("mean_iou: 0.6", r"gates\.yaml: mean_iou is 0\.6: input should be a"),
        ("mean_iou: {min: high}", 'mean_iou.min is "high": input should be a valid number'),
        ("mean_iou: {min: .nan}", "min, max or both, numbers from 0"),
        ("mean_iou: {min: 0.9, max: 0.1}", r"mean_iou: min 0\.9 is above max 0\.1"),
        ("class_iou: {min: 0.3}", r"class_iou\.min is 0\.3: input"),
        ("class_iou: 3", r"class_iou names no class; e\.g\. person: \{min: 0\.3\} is needed"),
    ],
)
def test_what_is_no_gate(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(CamsegError, match=rule) as caught:
        read_gates(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_without_anything_scored_every_gate_fails() -> None:
    (outcome,) = check_gates([Gate("mean_iou", Bounds(0.6, None))], {})
    assert (outcome.passed, outcome.subject) == (False, "bags without truth")


def test_absent_file_and_unknown_class(tmp_path: Path) -> None:
    with pytest.raises(CamsegError, match=r"^cannot read .*absent\.yaml: No such file"):
        read_gates(tmp_path / "absent.yaml")
    check_class_gates([Gate("class_iou.person", Bounds(0.3, None))], CITYSCAPES)
    with pytest.raises(CamsegError, match="the weights know no class 'persn'; known are road, si"):
        check_class_gates([Gate("class_iou.persn", Bounds(0.3, None))], CITYSCAPES)
