# SPDX-License-Identifier: Apache-2.0
"""The executables of the ROS programs, which import the libraries only once signals end them well.

Importing torch and rclpy takes seconds, in which Python would answer Ctrl-C with a traceback, and
SIGTERM by dying of it. Until the program has handlers of its own, either ends it at once, with the
exit status that it has for an end before its work began.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

from camseg_core.errors import BAD_INPUT

NOTHING_SCORED = "stopped before the node was heard: nothing was scored"


def segment_node() -> int:
    """Run `camseg_ros.node.segment_node`."""
    return _run("camseg_ros.node.segment_node")


def play_node() -> int:
    """Run `camseg_ros.replay.live.play_node`."""
    return _run("camseg_ros.replay.live.play_node")


def evaluate_node() -> int:
    """Run `camseg_ros.replay.live.evaluate_node`."""
    return _run("camseg_ros.replay.live.evaluate_node", BAD_INPUT, NOTHING_SCORED)


def _run(module: str, stopped: int = 0, reason: str = "") -> int:
    """Import a program's module and run its ``main``; ``stopped`` is the status of an early end."""

    def end(*_: object) -> None:
        # No exception: while modules are imported, it would pass through code that swallows it.
        if reason:
            os.write(sys.stderr.fileno(), f"{module.rpartition('.')[2]}: {reason}\n".encode())
        os._exit(stopped)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return int(importlib.import_module(module).main())
