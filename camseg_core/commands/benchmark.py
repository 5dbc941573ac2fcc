# SPDX-License-Identifier: Apache-2.0
"""``camseg benchmark``: which way to sample is best, how fast is it; and what others add."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camseg_core.commands.options import (
    WEIGHTS_HELP,
    add_dataset_options,
    check_threads,
    open_chosen_dataset,
)
from camseg_core.diffusion.options import DEFAULT_PROFILE
from camseg_core.errors import CamsegError

if TYPE_CHECKING:
    from camseg_core.evaluation.sampling_grid import Sweep

PLUGINS = "camseg.benchmarks"
"""Entry points of other packages, each a function that adds subjects to ``camseg benchmark``."""
PAGE, FIGURE, NUMBERS = "sampling.md", "sampling.svg", "sampling.json"


def add_commands(commands: Any) -> None:
    """Add ``benchmark`` to the subparsers ``commands``."""
    benchmark = commands.add_parser("benchmark", help="compare settings by accuracy and time")
    subjects = benchmark.add_subparsers(required=True, metavar="SUBJECT")
    for entry in entry_points(group=PLUGINS):
        entry.load()(subjects)
    sampling = subjects.add_parser(
        "sampling",
        help="accuracy against steps, samplers, decoders and samples",
        description="Score weights on a labelled data set in many ways, by the official protocol, "
        f"and time them in the same run. Writes {PAGE}, {FIGURE} and {NUMBERS}. A second call with "
        "the same --out goes on where the first one was stopped. See docs/sampling.md.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    sampling.set_defaults(command=_sampling)
    sampling.add_argument(
        "--weights",
        nargs="+",
        required=True,
        metavar="NAME=WEIGHTS",
        help=f"one or more; NAME stands in the tables, WEIGHTS is {WEIGHTS_HELP}",
    )
    data = sampling.add_argument_group("data")
    add_dataset_options(data)
    data.add_argument(
        "--palette-images",
        type=int,
        metavar="M",
        help="the palette decoder, which is slow, gets M of the images; all of them without",
    )
    _add_grid(sampling.add_argument_group("what to try"))
    how = sampling.add_argument_group("how")
    how.add_argument("--budget-ms", type=float, default=80.0, help="of an image, for the best one")
    how.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    how.add_argument("--threads", type=int, help="of torch; as many as torch chooses without")
    sampling.add_argument("--out", type=Path, required=True, help="folder for records and results")


def _add_grid(grid: argparse._ArgumentGroup) -> None:
    def add(name: str, kind: type, default: list[Any], text: str) -> None:
        grid.add_argument(name, type=kind, nargs="+", default=default, help=text)

    add("--steps", int, [1, 2, 4, 8, 16, 100], "numbers of diffusion steps")
    add("--samplers", str, ["ddpm", "ddim", "dpm-solver++"], "samplers")
    add("--decoders", str, ["mask", "palette"], "decoders; what a model lacks is left out")
    add("--temperature", float, [1.0, 0.0], "of ddpm's step noise")
    add(
        "--initial-noise-scale",
        float,
        [1.0, 0.0],
        "scales of the first noise; those after the first with --noise-scale-steps only",
    )
    add("--noise-scale-steps", int, [1], "see there")
    add(
        "--samples",
        int,
        [1, 4, 8],
        "average over so many noises; all but the first with --samples-steps and one decoder only",
    )
    add("--samples-steps", int, [1, 4], "see there")
    grid.add_argument("--precision", default="float32", help="float32 or bfloat16")
    grid.add_argument(
        "--profile",
        default=DEFAULT_PROFILE,
        help="the weights' profile that counts as their default; it is always tried",
    )


def _sampling(parsed: argparse.Namespace) -> int:
    import torch

    from camseg_core.evaluation.sampling_benchmark import (
        Candidate,
        Images,
        run_sampling_benchmark,
    )
    from camseg_core.evaluation.sampling_results import collect_results
    from camseg_core.evaluation.sampling_table import answer_lines, markdown
    from camseg_core.segmenter import Segmenter
    from camseg_core.system.devices import find_device
    from camseg_core.system.files import write_bytes

    try:
        from camseg_core.evaluation.sampling_figure import sampling_figure
    except ModuleNotFoundError as error:
        raise CamsegError(
            f"the benchmark's figure needs {str(error.name).partition('.')[0]}, which is not "
            "installed; pip install -r requirements/research.txt"
        ) from error

    if not (math.isfinite(parsed.budget_ms) and parsed.budget_ms > 0.0):
        raise CamsegError(f"--budget-ms is {parsed.budget_ms}; a number above 0 is needed")
    if parsed.threads is not None:
        check_threads(parsed.threads)
    named = [_split_name(text) for text in parsed.weights]
    sweep = _sweep(parsed)
    find_device(parsed.device)
    images = Images.choose(open_chosen_dataset(parsed), parsed.max_images, parsed.palette_images)
    if parsed.threads is not None:
        torch.set_num_threads(parsed.threads)
    candidates = [
        Candidate(name, Segmenter.load(file, device=parsed.device)) for name, file in named
    ]
    for candidate in candidates:
        if candidate.segmenter.loaded.is_random:
            print(
                f"camseg: the weights {candidate.name!r} are RANDOM, their scores mean nothing",
                file=sys.stderr,
            )
    runs = run_sampling_benchmark(candidates, sweep, images, parsed.out)
    command = shlex.join(["camseg", *sys.argv[1:]])
    results = collect_results(runs, sweep, images, parsed.budget_ms, command)
    write_bytes(parsed.out / NUMBERS, results.to_json())
    write_bytes(parsed.out / FIGURE, sampling_figure(results))
    write_bytes(parsed.out / PAGE, markdown(results, FIGURE).encode("utf-8", "replace"))
    for line in answer_lines(results):
        print(line)
    print(parsed.out / PAGE)
    return 0


def _split_name(text: str) -> tuple[str, str]:
    """Read ``NAME=WEIGHTS``; without a name it is the file's."""
    name, separator, weights = text.partition("=")
    if not separator:
        name, weights = Path(text).stem, text
    if not (name.strip() and weights):
        raise CamsegError(f"--weights {text!r}: NAME=WEIGHTS is needed, neither part empty")
    return name, weights


def _sweep(parsed: argparse.Namespace) -> Sweep:
    from camseg_core.evaluation.sampling_grid import Sweep

    return Sweep(
        steps=_distinct(parsed.steps),
        samplers=_distinct(parsed.samplers),
        decoders=_distinct(parsed.decoders),
        temperatures=_distinct(parsed.temperature),
        initial_noise_scales=_distinct(parsed.initial_noise_scale),
        noise_scale_steps=_distinct(parsed.noise_scale_steps),
        samples=_distinct(parsed.samples),
        samples_steps=_distinct(parsed.samples_steps),
        precision=parsed.precision,
        profile=parsed.profile,
    )


def _distinct(values: list[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
