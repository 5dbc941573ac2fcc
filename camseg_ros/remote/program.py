# SPDX-License-Identifier: Apache-2.0
"""What the replay's own ROS programs share: parameters, signals, one line for a user's error."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from camseg_core.errors import BAD_INPUT, CamsegError
from camseg_ros.node.dds_environment import use_large_images

Defaults = dict[str, Any]

TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def run_program(
    name: str,
    work: Callable[[Context, threading.Event], int],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run ``work`` with a context until it ends; gives the exit status.

    Args:
        name: of the program, before its messages.
        work: gets the context and an event that Ctrl-C and SIGTERM set.
        arguments: of the command line, ROS arguments included; those of the process without.
    """
    given = [name, *(sys.argv[1:] if arguments is None else arguments)]
    use_large_images()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    context = Context()
    try:
        leftover = remove_ros_args(given)[1:]
        if leftover:
            raise CamsegError(f"unknown argument {leftover[0]!r}; parameters follow --ros-args -p")
        rclpy.init(args=given, context=context, signal_handler_options=SignalHandlerOptions.NO)
        return work(context, stop)
    except CamsegError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except Exception as error:
        if type(error).__module__.startswith("rclpy") and not context.ok():
            print(f"{name}: {str(error).partition(', at ')[0]}", file=sys.stderr)
            return BAD_INPUT
        raise
    finally:
        rclpy.try_shutdown(context=context)


def declared(node: Node, defaults: Defaults) -> Defaults:
    """Declare parameters by their defaults; gives their values, of the defaults' types.

    Raises:
        CamsegError: a value of another type. A whole number is a real one, too.
    """
    free = ParameterDescriptor(dynamic_typing=True)
    return {
        name: _of_type(name, node.declare_parameter(name, default, free).value, default)
        for name, default in defaults.items()
    }


def _of_type(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, list) and value is None:  # to rclpy, [] has no type
        return []
    if type(default) is float and type(value) is int:
        return float(value)
    if type(value) is not type(default) or (
        isinstance(default, list) and not all(isinstance(entry, str) for entry in value)
    ):
        kind = "a list of texts" if isinstance(default, list) else TYPE_NAMES[type(default)]
        raise CamsegError(f"parameter {name} is {value!r}; {kind} is needed")
    return value
