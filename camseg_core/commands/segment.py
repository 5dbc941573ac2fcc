# SPDX-License-Identifier: Apache-2.0
"""``camseg segment``: images, videos and folders to result files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camseg_core.commands.options import (
    WEIGHTS_HELP,
    add_backend_options,
    add_published_options,
    add_sampling_options,
    add_threads_option,
    backend_options,
    check_sampling_options,
    check_threads,
    profile_options,
    variant,
)
from camseg_core.errors import BAD_INPUT, FAILED_CHECK, CamsegError, listed, message_of
from camseg_core.models.configs import TRAIN_TIMESTEPS

MOST_NAMES = 5
"""Most files that a line names."""


def add_commands(commands: Any) -> None:
    """Add ``segment`` to the subparsers ``commands``."""
    segment = commands.add_parser(
        "segment",
        help="segment an image, a video or a folder of images",
        description="Write ids, colours, overlay and confidence of every image as PNG files, and "
        "the overlay of a video as MP4; classes.json and legend.png tell what ids and colours "
        "mean.",
    )
    segment.set_defaults(command=_segment)
    segment.add_argument("input", type=Path, metavar="IMAGE|VIDEO|FOLDER")
    segment.add_argument("--weights", default="demo", help=WEIGHTS_HELP)
    segment.add_argument("--out", type=Path, required=True, help="folder for the results")
    segment.add_argument(
        "--stills", action="store_true", help="of a video, also the PNG files of every frame"
    )
    segment.add_argument(
        "--steps",
        type=int,
        default=argparse.SUPPRESS,
        help=f"diffusion steps, 1 to {TRAIN_TIMESTEPS}",
    )
    add_sampling_options(segment)
    add_backend_options(segment)
    add_threads_option(segment, default=None)
    add_published_options(segment)


def _segment(parsed: argparse.Namespace) -> int:
    import torch

    from camseg_core.images.reading import find_sources
    from camseg_core.segment_files import segment_files
    from camseg_core.segmentation import NO_NUMBER
    from camseg_core.segmenter import Segmenter
    from camseg_core.system.devices import find_device
    from camseg_core.weights.loading import load_model

    check_sampling_options(parsed)
    check_threads(parsed.threads)
    if parsed.threads is not None:
        torch.set_num_threads(parsed.threads)
    find_device(parsed.device)
    # What is wrong with the input is said before weights are loaded.
    sources = find_sources(parsed.input)
    if parsed.out.resolve().is_relative_to(parsed.input.resolve()) and parsed.input.is_dir():
        raise CamsegError(
            f"--out {parsed.out} lies inside the input folder {parsed.input}: a second run would "
            "segment the results of the first; choose a folder outside"
        )
    loaded = load_model(parsed.weights, num_heads=parsed.heads, variant=variant(parsed))
    if loaded.is_random:
        print("camseg: the weights are RANDOM, the masks mean nothing", file=sys.stderr)
    options = profile_options(parsed, loaded.profiles)
    segmenter = Segmenter(loaded, parsed.device, **backend_options(parsed))
    summary = segment_files(segmenter, sources, parsed.out, options, stills=parsed.stills)
    for line in summary.lines():
        print(line)
    for failure in summary.failures:
        print(f"camseg: {failure}", file=sys.stderr)
    if summary.without_number:
        images = f"{summary.without_number} of {summary.frames} images"
        print(f"camseg: {images}: {NO_NUMBER}", file=sys.stderr)
    if summary.label_images:
        print(f"camseg: note: {_label_line(summary.label_images, len(sources))}", file=sys.stderr)
    if summary.files:
        print(f"wrote {summary.files} files to {parsed.out}")
    if summary.failures or not summary.frames:
        return BAD_INPUT
    return FAILED_CHECK if summary.without_number else 0


def _label_line(label_images: Sequence[Path], inputs: int) -> str:
    """Say which pictures look like labels, the first ones by name, and what became of them."""
    names = listed(label_images, MOST_NAMES)
    reason = "as few colours as label images have, not photos"
    done = "left out" if inputs > 1 else "segmented all the same"
    return message_of(f"{len(label_images)} of {inputs} images {done}, with {reason}: {names}")
