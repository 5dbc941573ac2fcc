# SPDX-License-Identifier: Apache-2.0
"""What the ROS programs share: start and end, signals, parameters, one line for a user's error."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy._rclpy_pybind11 import RCLError, UnknownROSArgsError
from rclpy.context import Context
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from camseg_core.errors import BAD_INPUT, CamsegError
from camseg_core.system.validation import parse
from camseg_ros.node.dds_environment import use_large_images
from camseg_ros.remote.number_lists import with_float_lists

USER_ERRORS = (CamsegError, InvalidParameterTypeException, InvalidParameterValueException)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_program(
    name: str,
    work: Callable[[Context, threading.Event], int],
    arguments: Sequence[str] | None = None,
    *,
    about: str,
    parameters: Mapping[str, str],
) -> int:
    """Run a ROS program until its work ends, and return its exit status.

    Ctrl-C and SIGTERM only set the event that ``work`` gets, so that the program can publish its
    last messages before the context is shut down. Afterwards both are ignored: while Python ends,
    a second Ctrl-C would otherwise kill the process and change its exit status.

    Args:
        name: the program's name, which begins its messages.
        work: what to do with the context until the event is set; returns the exit status.
        arguments: command line, ROS arguments included; the process's own if not given.
        about: what the program does, for ``--help``.
        parameters: what to say there of each parameter, by name.

    Raises:
        SystemExit: of status 0, after ``--help``.
    """
    given = [name, *(sys.argv[1:] if arguments is None else arguments)]
    use_large_images()
    stop = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    context = Context()
    try:
        with TemporaryDirectory(prefix="camseg_") as folder:  # rcl reads the files at once
            given = with_float_lists(given, Path(folder))
            usage = f"{name} --ros-args [--params-file FILE] [-p NAME:=VALUE ...]"
            lines = (f"  {key}: {text}" for key, text in parameters.items())
            parser = argparse.ArgumentParser(
                prog=name,
                usage=usage,
                description=about,
                epilog="\n".join(["parameters:", *lines]),
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            _, leftover = parser.parse_known_args(remove_ros_args(given)[1:])
            if leftover:
                raise CamsegError(f"unknown argument {leftover[0]!r}; usage: {usage}")
            # rclpy's own handlers would shut the context down before the last messages are out.
            rclpy.init(args=given, context=context, signal_handler_options=SignalHandlerOptions.NO)
        return work(context, stop)
    except USER_ERRORS as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except (RCLError, UnknownROSArgsError) as error:
        if context.ok():  # the arguments were fine: this is no error of the user's
            raise
        print(f"{name}: {str(error).partition(', at ')[0]}", file=sys.stderr)
        return BAD_INPUT
    finally:
        rclpy.try_shutdown(context=context)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def declared(node: Node, defaults: dict[str, Any]) -> dict[str, Any]:
    """Declare parameters by their defaults, and return their values, of the defaults' types.

    A whole number is accepted for a number with decimals.

    Raises:
        CamsegError: a value is of another type.
    """
    free = ParameterDescriptor(dynamic_typing=True)
    values = {}
    for name, default in defaults.items():
        kind: Any = list[str] if isinstance(default, list) else type(default)
        value = node.declare_parameter(name, default, free).value
        given = {name: [] if value is None else value}  # to rclpy, an empty list has no type
        values |= parse(dict[str, kind], given, "parameters")
    return values


def default_help(defaults: Mapping[str, Any]) -> dict[str, str]:
    """Return what ``--help`` says of parameters that are known by their defaults."""
    return {name: f"default {json.dumps(value)}" for name, value in defaults.items()}
