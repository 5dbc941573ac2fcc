# SPDX-License-Identifier: Apache-2.0
"""The diffusion process: noise schedule, respacing, what predictions mean, the training loss.

Tables are float64; they are cast where they meet a tensor. "Index" is a place in a respaced
schedule, 0 = least noisy; "timestep" is the original 0..999.

Shapes: n = steps of a schedule; N = tokens; Z = channels of a token.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camseg_core.errors import CamsegError
from camseg_core.models.configs import TRAIN_TIMESTEPS, Prediction

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x [N, Z], timestep [N] or [1]) -> [N, 2Z]: the prediction, then the variance share."""

Array = NDArray[np.float64]

COSINE_OFFSET = 0.008
MAX_BETA = 0.999


def cosine_alphas_cumprod() -> Array:
    """Return alpha-bar of the cosine schedule, float64 [1000].

    Nichol and Dhariwal 2021 (arXiv 2102.09672, equation 17), with betas capped at 0.999.
    """

    def alpha_bar(time: float) -> float:
        return math.cos((time + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2

    betas = [
        min(
            1 - alpha_bar((step + 1) / TRAIN_TIMESTEPS) / alpha_bar(step / TRAIN_TIMESTEPS),
            MAX_BETA,
        )
        for step in range(TRAIN_TIMESTEPS)
    ]
    return np.cumprod(1.0 - np.array(betas, np.float64))


def respaced_timesteps(steps: int, first_timestep: int = TRAIN_TIMESTEPS - 1) -> list[int]:
    """Spread ``steps`` timesteps evenly over 0..``first_timestep``, ends included, ascending.

    One step is ``first_timestep`` itself. More steps than there are timesteps visit each one once.

    Raises:
        CamsegError: ``steps`` is not from 1 to 1000.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= TRAIN_TIMESTEPS:
        raise CamsegError(
            f"steps is {steps!r}; a whole number of diffusion steps from 1 to {TRAIN_TIMESTEPS} "
            "is needed"
        )
    steps = min(steps, first_timestep + 1)
    if steps == 1:
        return [first_timestep]
    # Accumulated in float64 and rounded half to even each time, as the published code does: a
    # closed form gives other timesteps for some step counts.
    stride = first_timestep / (steps - 1)
    timesteps, place = [], 0.0
    for _ in range(steps):
        timesteps.append(round(place))
        place += stride
    return timesteps


@dataclass(frozen=True)
class Schedule:
    """The tables of a (respaced) diffusion process, all float64 [n] but ``timesteps``.

    Attributes:
        timesteps: int64 [n], the original index of each respaced one.
        betas: 1 - abar_i / abar_(i-1).
        alphas_cumprod: abar.
        alphas_cumprod_previous: abar_(i-1), with 1 before the first.
        posterior_log_variance: log of the true posterior's variance; its first entry, which would
            be log 0, replaced by its second (by log beta where there is no second).
        posterior_mean_x0: coefficient of x0 in the posterior mean.
        posterior_mean_x: coefficient of x_t in the posterior mean.
    """

    timesteps: NDArray[np.int64]
    betas: Array
    alphas_cumprod: Array
    alphas_cumprod_previous: Array
    posterior_log_variance: Array
    posterior_mean_x0: Array
    posterior_mean_x: Array

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.timesteps)

    @classmethod
    def from_timesteps(cls, timesteps: list[int]) -> Schedule:
        """Build the schedule that visits ascending original ``timesteps``.

        Ho et al. 2020 (arXiv 2006.11239, equations 6 and 7) on the respaced betas of Nichol and
        Dhariwal 2021 (arXiv 2102.09672, section 4).
        """
        kept = cosine_alphas_cumprod()[timesteps]
        betas = 1.0 - kept / np.concatenate([[1.0], kept[:-1]])
        alphas = 1.0 - betas
        alphas_cumprod = np.cumprod(alphas)
        previous = np.concatenate([[1.0], alphas_cumprod[:-1]])
        variance = betas * (1.0 - previous) / (1.0 - alphas_cumprod)
        log_variance = np.log(
            np.concatenate([variance[1:2] if len(kept) > 1 else betas, variance[1:]])
        )
        return cls(
            timesteps=np.array(timesteps, np.int64),
            betas=betas,
            alphas_cumprod=alphas_cumprod,
            alphas_cumprod_previous=previous,
            posterior_log_variance=log_variance,
            posterior_mean_x0=betas * np.sqrt(previous) / (1.0 - alphas_cumprod),
            posterior_mean_x=(1.0 - previous) * np.sqrt(alphas) / (1.0 - alphas_cumprod),
        )

    @classmethod
    def respaced(cls, steps: int, first_timestep: int = TRAIN_TIMESTEPS - 1) -> Schedule:
        """Build the schedule of ``steps`` steps from ``first_timestep`` down to 0.

        Raises:
            CamsegError: ``steps`` is not from 1 to 1000.
        """
        return cls.from_timesteps(respaced_timesteps(steps, first_timestep))

    def from_index(self, index: int) -> Schedule:
        """Return the part that starts at ``index``, for a sample that is already that clean."""
        return Schedule(*(getattr(self, table.name)[: index + 1] for table in fields(self)))


FULL_SCHEDULE = Schedule.from_timesteps(list(range(TRAIN_TIMESTEPS)))
"""The schedule that visits every timestep."""


def predicted_x0(prediction: Prediction, output: Tensor, x: Tensor, alpha_bar: Any) -> Tensor:
    """Read x0 [N, Z] from the network's prediction [N, Z] at x [N, Z].

    epsilon: x0 = (x - sqrt(1 - abar) eps) / sqrt(abar) (Ho et al. 2020, equation 15);
    v: x0 = sqrt(abar) x - sqrt(1 - abar) v (Salimans and Ho 2022, arXiv 2202.00512, appendix D).
    ``alpha_bar`` is a float64 number or array [N, 1]; the coefficients are formed in float64.
    """
    if prediction == "v":
        return _like(alpha_bar**0.5, x) * x - _like((1.0 - alpha_bar) ** 0.5, x) * output
    return (
        _like((1.0 / alpha_bar) ** 0.5, x) * x - _like((1.0 / alpha_bar - 1.0) ** 0.5, x) * output
    )


def implied_epsilon(x: Tensor, x0: Tensor, alpha_bar: Any) -> Tensor:
    """Return the noise that leads from x0 [N, Z] to x [N, Z], the inverse of `predicted_x0`."""
    return (_like((1.0 / alpha_bar) ** 0.5, x) * x - x0) / _like((1.0 / alpha_bar - 1.0) ** 0.5, x)


@dataclass(frozen=True)
class ReverseStep:
    """One reverse step's Gaussian, all [N, Z]: predicted x0, mean and log variance of x_(t-1)."""

    x0: Tensor
    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor, temperature: float) -> Tensor:
        """Draw x_(t-1) [N, Z] with standard normal ``noise``, scaled by ``temperature``."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise * temperature


def reverse_step(
    prediction: Prediction, schedule: Schedule, index: int, output: Tensor, x: Tensor
) -> ReverseStep:
    """Turn the network's output [N, 2Z] at x [N, Z] into the Gaussian of x_(t-1).

    The variance is learned: exp(f log beta + (1 - f) log posterior variance), f = (v + 1) / 2, not
    clamped (Nichol and Dhariwal 2021, equation 15). x0 is not clipped.
    """
    predicted, share = output.chunk(2, dim=-1)
    x0 = predicted_x0(prediction, predicted, x, schedule.alphas_cumprod[index])
    mean = (
        _like(schedule.posterior_mean_x0[index], x) * x0
        + _like(schedule.posterior_mean_x[index], x) * x
    )
    return ReverseStep(x0, mean, _log_variance(schedule, index, share))


def noised(x0: Tensor, noise: Tensor, alpha_bar: Any) -> Tensor:
    """Noise x0 [N, Z] (Ho et al. 2020, equation 4); ``alpha_bar`` a number or array [N, 1]."""
    return _like(alpha_bar**0.5, x0) * x0 + _like((1.0 - alpha_bar) ** 0.5, x0) * noise


def _log_variance(schedule: Schedule, index: Any, share: Tensor) -> Tensor:
    """Interpolate between the posterior's log variance (share -1) and log beta (share 1)."""
    fraction = (share + 1.0) / 2.0
    return fraction * _like(np.log(schedule.betas[index]), share) + (1.0 - fraction) * _like(
        schedule.posterior_log_variance[index], share
    )


def _like(value: Any, tensor: Tensor) -> float | Tensor:
    """Cast a float64 table entry for arithmetic with ``tensor``: a number stays one."""
    if np.ndim(value) == 0:
        return float(value)
    return torch.as_tensor(value, dtype=tensor.dtype, device=tensor.device)
