# SPDX-License-Identifier: Apache-2.0
"""``camseg benchmark``: what other packages measure besides accuracy, such as the node's speed."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

PLUGINS = "camseg.benchmarks"
"""Entry points of other packages, each a function that adds subjects to ``camseg benchmark``."""


def add_commands(commands: Any) -> None:
    """Add ``benchmark`` to the subparsers ``commands``, if there is anything to measure."""
    entries = entry_points(group=PLUGINS)
    if not entries:
        return
    benchmark = commands.add_parser("benchmark", help="measure speed")
    subjects = benchmark.add_subparsers(required=True, metavar="SUBJECT")
    for entry in entries:
        entry.load()(subjects)
