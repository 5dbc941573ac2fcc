# SPDX-License-Identifier: Apache-2.0
"""``camseg benchmark node``: how fast is the node end to end, over DDS?"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

from camseg_core.commands.options import WEIGHTS_HELP, check_count, image_size
from camseg_core.errors import FAILED_CHECK, CamsegError
from camseg_core.system.files import parse_yaml
from camseg_ros.commands import ros_needed

SMALLEST_SIDE = 16
STANDARD_OUTPUT = "-"


def add_node_benchmark(subjects: Any) -> None:
    """Add ``node`` to the subparsers of ``camseg benchmark``."""
    node = subjects.add_parser(
        "node",
        help="rate, latency, drops, CPU and memory of the node over DDS",
        description="Play synthetic frames over DDS to segment_node in its own process, and "
        "measure what comes out. Exit status 1 if the node breaks a promise (counts, stamps). See "
        "docs/node.md.",
    )
    node.set_defaults(command=_node)
    node.add_argument("--weights", default="demo", help=WEIGHTS_HELP)
    node.add_argument("--cameras", type=int, default=1, help="each gets every frame")
    node.add_argument("--rate", type=float, default=10.0, help="frames per second and camera")
    node.add_argument(
        "--overload",
        type=float,
        metavar="FACTOR",
        help="instead of --rate: FACTOR frames in the time that the node takes for one, which a "
        "short first run measures",
    )
    node.add_argument("--seconds", type=float, default=30.0, help="how long to play")
    node.add_argument(
        "--size", type=image_size, default="512x256", help="WIDTHxHEIGHT of the frames in pixels"
    )
    add_set_option(node)
    node.add_argument(
        "--json",
        nargs="?",
        const=STANDARD_OUTPUT,
        metavar="FILE",
        help="write all figures there, or print them, instead of the main ones",
    )


def add_set_option(parser: Any) -> None:
    """Add ``--set``, which `node_parameters` reads."""
    from camseg_ros.node.parameters import SET_HELP

    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help=SET_HELP)


@ros_needed
def _node(parsed: argparse.Namespace) -> int:
    from camseg_core.system.devices import describe_machine
    from camseg_core.system.files import write_bytes
    from camseg_ros.benchmark.node_benchmark import (
        NodeBenchmark,
        run_node_benchmark,
        summary_lines,
    )
    from camseg_ros.node.dds_environment import use_free_domain, use_large_images

    for name in ("rate", "seconds", "overload"):
        value = getattr(parsed, name)
        if value is not None and not (math.isfinite(value) and value > 0.0):
            raise CamsegError(f"--{name} is {value}; a number above 0 is needed")
    check_count("--cameras", parsed.cameras)
    width, height = parsed.size
    if min(width, height) < SMALLEST_SIDE:
        raise CamsegError(
            f"--size is {width}x{height}; at least {SMALLEST_SIDE}x{SMALLEST_SIDE} is needed"
        )
    use_free_domain()
    use_large_images()
    benchmark = NodeBenchmark(
        cameras=parsed.cameras,
        rate_hz=parsed.rate,
        seconds=parsed.seconds,
        height=height,
        width=width,
        parameters={"weights": parsed.weights, **node_parameters(parsed.set)},
    )
    result = run_node_benchmark(benchmark, parsed.overload)
    content = {
        "command": shlex.join(["camseg", *sys.argv[1:]]),
        "machine": describe_machine(),
        **result,
    }
    text = json.dumps(content, indent=1) + "\n"
    if parsed.json == STANDARD_OUTPUT:
        print(text, end="")
    else:
        print(*summary_lines(result), sep="\n")
        if parsed.json is not None:
            write_bytes(Path(parsed.json), text.encode())
            print(parsed.json)
    for problem in result["problems"]:
        print(f"camseg: {problem}", file=sys.stderr)
    return FAILED_CHECK if result["problems"] else 0


def node_parameters(settings: list[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE``, where a value is YAML as in a params file.

    Raises:
        CamsegError: a setting has no name or is not YAML.
    """
    parameters = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not (separator and name):
            raise CamsegError(f"--set {setting!r}: NAME=VALUE is needed")
        parameters[name] = parse_yaml(value, f"--set {setting!r}")
    return parameters
