# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from camseg_ros.diagnostics import diagnostics_message


def test_one_status_with_its_values_and_stamp() -> None:
    message = diagnostics_message(
        "/segment_node", DiagnosticStatus.WARN, "late", {"steps": "4", "drops": "0"}, Time(sec=7)
    )
    (status,) = message.status
    assert message.header.stamp.sec == 7
    assert (status.name, status.level, status.message) == ("/segment_node", b"\x01", "late")
    assert [(entry.key, entry.value) for entry in status.values] == [("steps", "4"), ("drops", "0")]
