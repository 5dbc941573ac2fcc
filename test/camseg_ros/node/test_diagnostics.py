# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from camseg_ros.node.diagnostics import StatusEntry, diagnostics_message
from camseg_ros.node.health import Condition, Level


def test_entries_become_statuses() -> None:
    message = diagnostics_message(
        [
            StatusEntry("/node", Condition(Level.WARN, "over budget"), {"steps": "4"}),
            StatusEntry("/node: front", Condition(Level.ERROR, "no input"), {}),
        ],
        Time(sec=7),
    )
    assert message.header.stamp.sec == 7
    node, front = message.status
    assert (node.level, node.name, node.message) == (DiagnosticStatus.WARN, "/node", "over budget")
    assert [(entry.key, entry.value) for entry in node.values] == [("steps", "4")]
    assert node.hardware_id == front.hardware_id == "camseg"
    assert (front.level, front.name, list(front.values)) == (
        DiagnosticStatus.ERROR,
        "/node: front",
        [],
    )
