# SPDX-License-Identifier: Apache-2.0
"""The command ``camseg``: parsing only, work happens in the modules it calls.

Exit status: 0 done, 1 a check failed, 2 bad usage or input, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import TextIO

from camseg_core.commands import benchmark, data, evaluation, segment, weights
from camseg_core.errors import CamsegWarning, exit_status
from camseg_core.system.processes import termination_unwinds

Command = Callable[[argparse.Namespace], int]

PLUGINS = "camseg.commands"
"""Entry points that add commands: what needs ROS comes from camseg_ros."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parsed = _parser().parse_args(arguments)
    command: Command = parsed.command
    with warnings.catch_warnings(), termination_unwinds():
        warnings.showwarning = _show_warning
        return exit_status("camseg", lambda: command(parsed))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print what users must know as one line, and other warnings as Python does."""
    text = warnings.formatwarning(message, category, filename, lineno, line)
    is_ours = issubclass(category, CamsegWarning)
    print(f"camseg: note: {message}\n" if is_ours else text, end="", file=file or sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="camseg", description="CAM-Seg semantic segmentation of road scenes."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (segment, evaluation, benchmark, data, weights):
        module.add_commands(commands)
    for entry in entry_points(group=PLUGINS):
        entry.load()(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
