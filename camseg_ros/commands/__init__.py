# SPDX-License-Identifier: Apache-2.0
"""What ROS adds to the command ``camseg``: parsing only."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import wraps

from camseg_core.errors import CamsegError

Command = Callable[[argparse.Namespace], int]


def ros_needed(command: Command) -> Command:
    """Return a command that says in one line which of ROS 2's Python packages is missing."""

    @wraps(command)
    def checked(parsed: argparse.Namespace) -> int:
        try:
            return command(parsed)
        except ModuleNotFoundError as error:
            raise CamsegError(
                f"this command needs {error.name}, which is not installed; docs/install.md"
            ) from error

    return checked
