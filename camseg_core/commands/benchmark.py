# SPDX-License-Identifier: Apache-2.0
"""``camseg benchmark``: what the latent carries, speed; other packages add subjects."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from camseg_core.commands.options import (
    WEIGHTS_HELP,
    add_dataset_options,
    add_device_option,
    add_spread_option,
    check_count,
    open_chosen_dataset,
)
from camseg_core.commands.speed import add_speed
from camseg_core.diffusion.options import DEFAULT_PROFILE

PLUGINS = "camseg.benchmarks"
"""Entry points of other packages that add subjects to ``camseg benchmark``."""


def add_commands(commands: Any) -> None:
    """Add ``benchmark`` to the subparsers ``commands``."""
    benchmark = commands.add_parser("benchmark", help="measure what the latent carries, and speed")
    subjects = benchmark.add_subparsers(required=True, metavar="SUBJECT")
    _add_latent(subjects)
    add_speed(subjects)
    for entry in entry_points(group=PLUGINS):
        entry.load()(subjects)


def _add_latent(subjects: Any) -> None:
    latent = subjects.add_parser(
        "latent",
        help="how much of a segmentation goes through the mask's latent",
        description="Score true masks through the autoencoder, the segmentation, and latents "
        "that are swapped between images: a model that still scores well with those does not "
        "segment through its latent.",
    )
    latent.set_defaults(command=_latent)
    latent.add_argument("--weights", required=True, help=WEIGHTS_HELP)
    add_dataset_options(latent)
    add_spread_option(latent)
    latent.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the numbers there; `camseg report` shows those of files latent.json",
    )
    add_device_option(latent)


def _latent(parsed: argparse.Namespace) -> int:
    check_count("--spread", parsed.spread)
    dataset = open_chosen_dataset(parsed)
    from camseg_core.evaluation.latent import measure_latent
    from camseg_core.evaluation.latent_scores import write_latent_scores
    from camseg_core.segmenter import Segmenter

    segmenter = Segmenter.load(parsed.weights, device=parsed.device)
    options = segmenter.loaded.profiles[DEFAULT_PROFILE]
    scores = measure_latent(segmenter, dataset, options, parsed.spread or 0)
    for name, value in asdict(scores).items():
        print(f"{name:26} {format(value, '.4f') if isinstance(value, float) else value}")
    if parsed.json is not None:
        write_latent_scores(parsed.json, scores)
    return 0
