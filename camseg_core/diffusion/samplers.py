# SPDX-License-Identifier: Apache-2.0
"""Samplers: plain functions of any denoiser callable, noise and a source of step noise.

Each takes x at the noisiest index of a schedule down to x0. Arithmetic is float32, whatever the
denoiser computes in.

Shapes: N = tokens (any leading dimensions); Z = channels of a token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from camseg_core.diffusion.options import check_sampler
from camseg_core.diffusion.process import (
    Schedule,
    implied_epsilon,
    predicted_x0,
    reverse_step,
)
from camseg_core.errors import CamsegError
from camseg_core.models.configs import Prediction


def round_masks(length: int, rounds: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give, per round, the tokens still hidden and those of them that this round generates.

    The cosine mask schedule of MaskGIT (Chang et al. 2022, arXiv 2202.04200, section 3.3) as MAR
    runs it (Li et al. 2024, arXiv 2406.11838, section 4.3): in a random order, after round r of n
    floor(L cos(pi r / 2n)) tokens stay hidden, at least one fewer than before.

    Args:
        length: tokens of one image, L.
        rounds: number of rounds, 1 to L.
        seed: seed of the order.

    Yields:
        (hidden, generated), both bool [L]; ``generated`` is a part of ``hidden``.

    Raises:
        CamsegError: more rounds than tokens.
    """
    if not 1 <= rounds <= length:
        raise CamsegError(
            f"rounds is {rounds}; from 1 to {length}, the number of tokens of the image, is "
            "possible"
        )
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    hidden_count = length
    hidden = torch.ones(length, dtype=torch.bool)
    for number in range(1, rounds + 1):
        remaining = math.floor(length * math.cos(math.pi / 2 * number / rounds))
        # Each round generates at least one token and leaves one for every round to come.
        remaining = max(rounds - number, min(hidden_count - 1, remaining))
        if number == rounds:
            remaining = 0
        still_hidden = torch.zeros(length, dtype=torch.bool)
        still_hidden[order[:remaining]] = True
        yield hidden, hidden & ~still_hidden
        hidden, hidden_count = still_hidden, remaining


DenoiseStep = Callable[[Tensor, int], Tensor]
"""(x [N, Z], the original timestep) -> [N, 2Z]: the prediction, then the variance share."""

LAST_BFLOAT16_TIMESTEP = 900
"""Noisiest timestep at which epsilon may be predicted in bfloat16.

An error e of epsilon is e sqrt(1 / alpha_bar - 1) in x0: 20291 e at t = 999, where bfloat16 ruins
the sample, and 6.4 e here. An error of v is none of x0's at any timestep."""

StepNoise = Callable[[int], Tensor]
"""Number of the step, 0 = the noisiest -> standard normal noise that broadcasts to x."""


class Sampler(Protocol):
    """What every sampler takes and gives."""

    def __call__(
        self,
        denoise: DenoiseStep,
        noise: Tensor,
        schedule: Schedule,
        prediction: Prediction,
        *,
        step_noise: StepNoise,
        temperature: float = 1.0,
    ) -> Tensor:
        """Sample x0 from x at the noisiest index of ``schedule``, both [N, Z]."""
        ...


def sample_ddpm(
    denoise: DenoiseStep,
    noise: Tensor,
    schedule: Schedule,
    prediction: Prediction,
    *,
    step_noise: StepNoise,
    temperature: float = 1.0,
) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, arXiv 2006.11239, algorithm 2), learned variance.

    Args:
        denoise: the network at one timestep.
        noise: x at the noisiest index, [N, Z].
        schedule: the steps to take, from its last index to 0.
        prediction: what ``denoise`` predicts.
        step_noise: asked once per step but the last.
        temperature: scales the step noise; 0 follows the means.

    Returns:
        x0, float32 [N, Z].
    """
    x = noise.float()
    for step, index in enumerate(reversed(range(len(schedule)))):
        output = denoise(x, int(schedule.timesteps[index])).float()
        reverse = reverse_step(prediction, schedule, index, output, x)
        if index == 0 or temperature == 0.0:
            x = reverse.mean
        else:
            x = reverse.sample(step_noise(step), temperature)
    return x


def sample_ddim(
    denoise: DenoiseStep,
    noise: Tensor,
    schedule: Schedule,
    prediction: Prediction,
    *,
    step_noise: StepNoise,
    temperature: float = 1.0,
) -> Tensor:
    """Deterministic DDIM (Song et al. 2021, arXiv 2010.02502, equation 12 with sigma = 0).

    Arguments and result as `sample_ddpm`; ``step_noise`` and ``temperature`` are not used.
    """
    del step_noise, temperature
    x = noise.float()
    for index in reversed(range(len(schedule))):
        x0 = _predict_x0(denoise, x, schedule, index, prediction)
        epsilon = implied_epsilon(x, x0, schedule.alphas_cumprod[index])
        previous = schedule.alphas_cumprod_previous[index]
        x = float(previous**0.5) * x0 + float((1.0 - previous) ** 0.5) * epsilon
    return x


def sample_dpm_solver(
    denoise: DenoiseStep,
    noise: Tensor,
    schedule: Schedule,
    prediction: Prediction,
    *,
    step_noise: StepNoise,
    temperature: float = 1.0,
) -> Tensor:
    """DPM-Solver++(2M), multistep, data prediction (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

    First order where second would hurt: the first step has no history; the step to the least noisy
    timestep spans several times the log signal-to-noise ratio of the one before, so that
    extrapolation over it is worse than none ("lower order final" of the authors' code); the last
    ends at zero noise. So one step gives the network's x0. Arguments and result as `sample_ddpm`;
    ``step_noise`` and ``temperature`` are not used.
    """
    del step_noise, temperature
    x = noise.float()
    alpha_bar = schedule.alphas_cumprod
    half_log_snr = 0.5 * (np.log(alpha_bar) - np.log1p(-alpha_bar))  # the paper's lambda
    last_x0: Tensor | None = None
    last_step_size = 0.0
    for index in reversed(range(1, len(schedule))):
        x0 = _predict_x0(denoise, x, schedule, index, prediction)
        step_size = float(half_log_snr[index - 1] - half_log_snr[index])
        direction = x0
        if last_x0 is not None and index > 1:
            ratio = last_step_size / step_size
            direction = (1.0 + 0.5 / ratio) * x0 - (0.5 / ratio) * last_x0
        sigma_ratio = float(((1.0 - alpha_bar[index - 1]) / (1.0 - alpha_bar[index])) ** 0.5)
        x = (
            sigma_ratio * x
            - float(alpha_bar[index - 1] ** 0.5) * math.expm1(-step_size) * direction
        )
        last_x0, last_step_size = x0, step_size
    return _predict_x0(denoise, x, schedule, 0, prediction)


_SAMPLERS: dict[str, Sampler] = {
    "ddpm": sample_ddpm,
    "ddim": sample_ddim,
    "dpm-solver++": sample_dpm_solver,
}


def sampler(name: str) -> Sampler:
    """Return the sampler called ``name``.

    Raises:
        CamsegError: there is no such sampler; the text lists them.
    """
    check_sampler(name)
    return _SAMPLERS[name]


@dataclass(frozen=True)
class TokenNoise:
    """Standard normal noise as a function of seed, round, draw, sample and token alone.

    The same for each image of a batch and each frame of a video, on every device. Drawn on the
    CPU, because generators of devices differ.

    Attributes:
        seed: 0 or more.
        num_tokens: tokens of one image, L.
        channels: channels of a token, Z.
        round_index: generation round.
        sample: number of the sample where several are averaged.
    """

    seed: int
    num_tokens: int
    channels: int
    round_index: int = 0
    sample: int = 0

    def __call__(self, draw: int) -> Tensor:
        """Return draw number ``draw`` (0 = x at the noisiest index, then one per step): [L, Z]."""
        key = (self.round_index, draw, *([self.sample] if self.sample else []))
        entropy = np.random.SeedSequence(self.seed, spawn_key=key)
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
        # torch draws in blocks of 16 and treats a last, shorter block in another way: whole blocks
        # make a token's noise independent of how many tokens there are.
        numbers = self.num_tokens * self.channels
        drawn = torch.randn(-(-numbers // 16) * 16, generator=generator)
        return drawn[:numbers].view(self.num_tokens, self.channels)


def _predict_x0(
    denoise: DenoiseStep, x: Tensor, schedule: Schedule, index: int, prediction: Prediction
) -> Tensor:
    output = denoise(x, int(schedule.timesteps[index])).float()
    return predicted_x0(prediction, output.chunk(2, dim=-1)[0], x, schedule.alphas_cumprod[index])
