# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from camseg_core.published_format import Variant
    from camseg_core.segmenter import SamplingOptions

WEIGHTS_HELP = (
    "a .safetensors file, a folder with one or with the two published files, a published "
    "transformer file with its autoencoder beside it, or random:PRESET"
)


def add_sampling_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add how to sample, but for the number of steps."""
    parser.add_argument("--sampler", default="ddpm", help="ddpm, ddim or dpm-solver++")
    parser.add_argument("--temperature", type=float, default=1.0, help="scales ddpm's step noise")
    parser.add_argument(
        "--initial-noise-scale",
        type=float,
        default=1.0,
        help="scales the first noise; 0 for weights that were fine-tuned for one step",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--rounds", type=int, default=1, help="generation rounds")
    parser.add_argument(
        "--samples", type=int, default=1, help="average probabilities over this many noises"
    )
    parser.add_argument(
        "--decoder", default="auto", help="mask, palette, or auto: mask where the model has one"
    )
    parser.add_argument("--precision", default="float32", help="float32 or bfloat16")


def sampling_options(
    parsed: argparse.Namespace, steps: int, *, sample_image_latent: bool = False
) -> SamplingOptions:
    """Give what `add_sampling_options` read.

    Raises:
        CamsegError: a value out of its range.
    """
    from camseg_core.segmenter import SamplingOptions

    return SamplingOptions(
        steps=steps,
        sampler=parsed.sampler,
        temperature=parsed.temperature,
        seed=parsed.seed,
        rounds=parsed.rounds,
        initial_noise_scale=parsed.initial_noise_scale,
        sample_image_latent=sample_image_latent,
        samples=parsed.samples,
        decoder=parsed.decoder,
        precision=parsed.precision,
    )


def add_published_options(parser: argparse.ArgumentParser) -> None:
    """Add what tells how to read a published file."""
    parser.add_argument(
        "--heads", type=int, help="attention heads of a published file of an unpublished width"
    )
    parser.add_argument(
        "--ema", action="store_true", help="the averaged weights (model_ema) of a published file"
    )


def variant(parsed: argparse.Namespace) -> Variant:
    """Give the table of a published file that `add_published_options` chose."""
    return "model_ema" if parsed.ema else "model"
