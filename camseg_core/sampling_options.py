# SPDX-License-Identifier: Apache-2.0
"""How to sample: what a caller chooses per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from camseg_core.errors import CamsegError
from camseg_core.models.configs import TRAIN_TIMESTEPS
from camseg_core.sampling import sampler

Decoder = Literal["auto", "mask", "palette"]
Precision = Literal["float32", "bfloat16"]
MAX_SAMPLES = 64


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample, per call.

    Attributes:
        steps: diffusion steps, 1 to 1000.
        sampler: ``ddpm``, ``ddim`` or ``dpm-solver++``.
        temperature: scales ddpm's step noise; 0 follows the means.
        seed: of the noise, 0 or more; the noise is a function of seed and token.
        rounds: generation rounds of the transformer; 1 is the published path.
        initial_noise_scale: scales x at the noisiest step; 0 starts from zero noise.
        samples: class probabilities are the mean over this many noises.
        decoder: ``mask`` reads classes from the mask decoder, ``palette`` from the decoded colours;
            ``auto`` takes the mask decoder where the model has one.
        precision: of encoders, transformer and decoders; the denoiser and the sampler's arithmetic
            are always float32.
        sample_image_latent: draw the image's latent from its posterior, as the published protocol
            does, instead of taking the mean.

    Raises:
        CamsegError: a value out of its range.
    """

    steps: int = 10
    sampler: str = "ddpm"
    temperature: float = 1.0
    seed: int = 0
    rounds: int = 1
    initial_noise_scale: float = 1.0
    sample_image_latent: bool = False
    samples: int = 1
    decoder: Decoder = "auto"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        """Check every range, so that a bad value is refused before any work."""
        sampler(self.sampler)
        for name, lowest, highest in (("steps", 1, TRAIN_TIMESTEPS), ("seed", 0, 2**63 - 1)):
            _require_whole(name, getattr(self, name), lowest, highest)
        _require_whole("rounds", self.rounds, 1, 2**31)
        _require_whole("samples", self.samples, 1, MAX_SAMPLES)
        for name, choices in (("decoder", get_args(Decoder)), ("precision", get_args(Precision))):
            if getattr(self, name) not in choices:
                raise CamsegError(
                    f"unknown {name} {getattr(self, name)!r}; one of {', '.join(choices)}"
                )
        for name in ("temperature", "initial_noise_scale"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0.0):
                raise CamsegError(f"{name} is {value!r}; a finite number of at least 0 is needed")


def _require_whole(name: str, value: object, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise CamsegError(
            f"{name} is {value!r}; a whole number from {lowest} to {highest} is needed"
        )
