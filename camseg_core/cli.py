# SPDX-License-Identifier: Apache-2.0
"""The command ``camseg``: parsing only, work happens in the modules it calls.

Exit status: 0 done, 1 a check failed, 2 bad usage or input, 130 interrupted, 143 terminated. The
commands are imported where a signal already ends the program well.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from camseg_core.errors import exit_status, warnings_in_one_line
from camseg_core.system.command_parser import CommandParser
from camseg_core.system.processes import termination_unwinds

Command = Callable[[argparse.Namespace], int]

PLUGINS = "camseg.commands"
"""Entry points that add commands: what needs ROS comes from camseg_ros."""


COMPLETION = "_ARGCOMPLETE"
"""Variable that a shell sets when it asks argcomplete what may come next."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    with warnings_in_one_line(), termination_unwinds():
        return exit_status("camseg", lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    if COMPLETION in os.environ:
        with suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)
    parsed = parser.parse_args(arguments)
    command: Command = parsed.command
    return command(parsed)


def _parser() -> CommandParser:
    from importlib.metadata import entry_points, version

    from camseg_core.commands import benchmark, data, evaluation, segment, train, weights

    parser = CommandParser(
        prog="camseg", description="CAM-Seg semantic segmentation of road scenes."
    )
    parser.add_argument("--version", action="version", version=f"camseg {version('camseg_ros')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (segment, evaluation, train, benchmark, data, weights):
        module.add_commands(commands)
    for entry in entry_points(group=PLUGINS):
        entry.load()(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
