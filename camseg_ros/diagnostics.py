# SPDX-License-Identifier: Apache-2.0
"""Diagnostics messages from plain values."""

from __future__ import annotations

from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue


def diagnostics_message(
    name: str, level: bytes, text: str, values: Mapping[str, str], stamp: Time
) -> DiagnosticArray:
    """Build one status: ``level`` is a `DiagnosticStatus` constant, ``stamp`` the node's clock."""
    message = DiagnosticArray()
    message.header.stamp = stamp
    message.status = [
        DiagnosticStatus(
            level=level,
            name=name,
            message=text,
            hardware_id="camseg",
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
    ]
    return message
