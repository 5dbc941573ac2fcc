# SPDX-License-Identifier: Apache-2.0
"""Diagnostics messages from plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from camseg_ros.node.health import Condition

HARDWARE_ID = "camseg"


@dataclass(frozen=True)
class StatusEntry:
    """One status: of the node, or of one of its cameras."""

    name: str
    condition: Condition
    values: Mapping[str, str]


def diagnostics_message(entries: Iterable[StatusEntry], stamp: Time) -> DiagnosticArray:
    """Build a message; ``stamp`` is the node's clock."""
    message = DiagnosticArray()
    message.header.stamp = stamp
    message.status = [
        DiagnosticStatus(
            level=bytes([entry.condition.level]),
            name=entry.name,
            message=entry.condition.text,
            hardware_id=HARDWARE_ID,
            values=[KeyValue(key=key, value=value) for key, value in entry.values.items()],
        )
        for entry in entries
    ]
    return message
