# SPDX-License-Identifier: Apache-2.0
"""Parameters on a real node of rclpy: what is given at the start, and what may be set later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from camseg_core.errors import CamsegError
from camseg_ros.node.declared_parameters import NodeParameters, parameter_descriptor
from camseg_ros.node.parameters import PARAMETERS

Declare = Callable[..., NodeParameters]


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Declare]:
    """Declare the parameters on a node with these values on its command line."""
    context = rclpy.Context()
    nodes: list[Node] = []

    def make(**values: str) -> NodeParameters:
        given = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
        rclpy.init(args=["--ros-args", *given], context=context)
        nodes.append(Node("segment_node", context=context))
        monkeypatch.setattr(nodes[0], "get_logger", Log)
        return NodeParameters(nodes[0])

    Log.warnings.clear()
    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown(context=context)


class Log:
    warnings: list[str] = []  # noqa: RUF012  # one for all, as a logger is

    def warning(self, text: str) -> None:
        self.warnings.append(text)


def test_numbers_have_their_range_of_their_type_and_words_stand_as_they_are() -> None:
    for spec in PARAMETERS:
        described = parameter_descriptor(spec)
        assert described.description == spec.description
        assert described.additional_constraints == spec.rule
        is_number = not isinstance(spec.default, (bool, str, list))
        ranges = [*described.integer_range, *described.floating_point_range]
        ends = [(item.from_value, item.to_value) for item in ranges]
        assert ends == ([(spec.lowest, spec.highest)] if is_number else [])
        assert bool(described.floating_point_range) == isinstance(spec.default, float)


def test_whole_numbers_are_taken_for_floats_at_the_start(declare: Declare) -> None:
    given = {"latency_budget_ms": "80", "camera.mounting": "[1, 0, 2, 0, 0, 0]", "outputs": "[]"}
    values = declare(**given).values()
    assert values["latency_budget_ms"] == 80.0
    assert list(values["camera.mounting"]) == [1.0, 0.0, 2.0, 0.0, 0.0, 0.0]
    assert {*map(type, (values["latency_budget_ms"], *values["camera.mounting"]))} == {float}
    assert values["outputs"] == []
    assert Log.warnings == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"latency_budget_ms": "-1"}, r"parameter latency_budget_ms is -1: .*out of range"),
        ({"latency_budget_ms": "fast"}, r"parameter latency_budget_ms is 'fast': .*'Type.DOUBLE'"),
        ({"autostart": "1"}, r"parameter autostart is 1: Wrong parameter type"),
        ({"camera.mounting": "[a, b]"}, r"parameter camera.mounting is \['a', 'b'\]: Wrong param"),
    ],
)
def test_a_value_that_breaks_its_rule_is_told(
    declare: Declare, values: dict[str, str], told: str
) -> None:
    with pytest.raises(CamsegError, match=told):
        declare(**values)


UNKNOWN = {
    "cameras": "[right]", "latency_budget": "80", "left.mounting": "[1.0]", "xyz": "1",
    "right.transprt": "raw", "qos_overrides./clock.subscription.depth": "5",
}  # fmt: skip


def test_unknown_names_are_told_once_with_the_nearest_ones(declare: Declare) -> None:
    declare(**UNKNOWN)
    assert Log.warnings == [
        "unknown parameters are ignored: latency_budget (did you mean 'latency_budget_ms'?), "
        "left.mounting (cameras does not list left; did you mean 'right.mounting'?), "
        "xyz, right.transprt (did you mean 'right.transport'?)"
    ]


def test_unknown_names_are_fatal_where_that_is_asked_for(declare: Declare) -> None:
    with pytest.raises(CamsegError, match=r"unknown parameters: latency_budget \(.*is true$"):
        declare(**UNKNOWN, strict_parameters="true")


def test_a_change_has_its_parameter_s_type_and_a_present_value_is_none(declare: Declare) -> None:
    declared = declare(latency_budget_ms="80")

    def changes(**values: Any) -> dict[str, Any]:
        given = [Parameter(name.replace("__", "."), value=one) for name, one in values.items()]
        return {one.name: one.value for one in declared.changes(given)}

    present = {
        "latency_budget_ms": 80, "camera__mounting": [0, 0, 0, 0, 0, 0], "cameras": ["camera"],
        "use_sim_time": False, "label_set": "", "steps": 0,
    }  # fmt: skip
    assert changes(**present) == {}
    assert changes(latency_budget_ms=90, steps=False, camera__mounting="[1.5, 0]", outputs=[]) == {
        "latency_budget_ms": 90.0, "steps": False, "camera.mounting": [1.5, 0.0], "outputs": [],
    }  # fmt: skip
    with pytest.raises(CamsegError, match=r"unknown parameter step \(did you mean 'steps'\?\)"):
        changes(step=3)
