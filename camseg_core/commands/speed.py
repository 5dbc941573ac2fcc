# SPDX-License-Identifier: Apache-2.0
"""``camseg benchmark speed``: each way to run a model, against the published implementation's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from camseg_core.commands.options import (
    WEIGHTS_HELP,
    add_device_option,
    add_providers_option,
    check_count,
    check_threads,
    image_size,
    list_of,
)
from camseg_core.errors import CamsegError


def add_speed(subjects: Any) -> None:
    """Add ``speed`` to the subparsers of ``camseg benchmark``."""
    speed = subjects.add_parser(
        "speed",
        help="each way to run a model, against the published implementation's work",
        description="Time, in turns and in one run, the work of the published implementation, ours "
        "without any approximation, and the profiles. With --sweep, time one profile at every "
        "combination of --size, --steps, --cameras and --threads. See docs/performance.md.",
    )
    speed.set_defaults(command=_speed)
    speed.add_argument("--weights", default="demo", help=WEIGHTS_HELP)
    add_device_option(speed)
    speed.add_argument("--image", type=Path, help="image file; noise of the model's size without")
    speed.add_argument(
        "--ways", type=list_of(str), default=(), help="only these, e.g. exact,balanced"
    )
    speed.add_argument("--repeats", type=int, default=3, help="runs of each; the median counts")
    when = "also time the graphs of a folder that camseg export made, by ONNX Runtime"
    add_providers_option(speed, when)
    counts: dict[str, Any] = {"type": list_of(int), "default": (), "metavar": "N[,N...]"}
    speed.add_argument("--cameras", **counts, help="images at once; 1 if not given")
    speed.add_argument("--threads", **counts, help="torch's; one per core if not given")
    speed.add_argument("--sweep", metavar="PROFILE", help="time this profile alone")
    speed.add_argument("--steps", **counts, help="diffusion steps; the profile's if not given")
    speed.add_argument(
        "--size",
        type=list_of(image_size),
        default=(),
        metavar="WIDTHxHEIGHT[,...]",
        help="of the model's input, in multiples of its stride; its own if not given",
    )
    speed.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    speed.add_argument("--plot", type=Path, metavar="FILE", help="draw them there: svg, png, pdf")


def _speed(parsed: argparse.Namespace) -> int:
    for name in ("cameras", "threads", "steps", "size"):
        _check_counts(name, getattr(parsed, name), sweeps=parsed.sweep is not None)
    check_count("--repeats", parsed.repeats)
    if parsed.sweep is not None and (parsed.ways or parsed.image or parsed.providers):
        raise CamsegError("--sweep times one profile on noise: no --ways, --image or --providers")
    import torch

    from camseg_core.evaluation.report.speed_plot import check_plot_path, write_speed_plot
    from camseg_core.evaluation.speed.measure import Ladder, Sweep, measure_ladder, measure_sweep
    from camseg_core.evaluation.speed.results import notes, table_lines, write_speed_results
    from camseg_core.images.reading import read_image

    if parsed.plot is not None:
        check_plot_path(parsed.plot)
    if parsed.sweep is None:
        if parsed.threads:
            torch.set_num_threads(parsed.threads[0])
        ladder = Ladder(
            parsed.weights,
            parsed.device,
            None if parsed.image is None else read_image(parsed.image),
            parsed.cameras[0] if parsed.cameras else 1,
            parsed.ways,
            parsed.providers,
        )
        results = measure_ladder(ladder, parsed.repeats)
    else:
        sizes = [(height, width) for width, height in parsed.size]
        cameras = parsed.cameras or (1,)
        sweep = Sweep(
            parsed.weights,
            parsed.device,
            parsed.sweep,
            sizes,
            parsed.steps,
            cameras,
            parsed.threads,
        )
        results = measure_sweep(sweep, parsed.repeats)
    print(*table_lines(results), "", *notes(results), sep="\n")
    if parsed.json is not None:
        write_speed_results(parsed.json, results)
    if parsed.plot is not None:
        write_speed_plot(parsed.plot, results)
    return 0


def _check_counts(name: str, values: tuple[Any, ...], *, sweeps: bool) -> None:
    """Refuse counts below 1, and what only a sweep takes.

    Raises:
        CamsegError: such a value.
    """
    if name == "threads":
        for value in values:
            check_threads(value)
    elif name != "size" and any(value < 1 for value in values):
        raise CamsegError(f"--{name} is {','.join(map(str, values))}; at least 1 is needed")
    if not sweeps and (len(values) > 1 or (values and name in {"steps", "size"})):
        raise CamsegError(f"--{name} with several values, --steps and --size need --sweep PROFILE")
