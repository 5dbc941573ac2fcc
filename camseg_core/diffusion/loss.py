# SPDX-License-Identifier: Apache-2.0
"""The training loss of the denoiser: squared error and variational term, per token."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camseg_core.diffusion.process import (
    FULL_SCHEDULE,
    Denoise,
    Schedule,
    _like,
    _log_variance,
    noised,
    predicted_x0,
)
from camseg_core.models.configs import DiffusionConfig, Prediction


def training_loss(
    denoise: Denoise, config: DiffusionConfig, x0: Tensor, timestep: Tensor, noise: Tensor
) -> Tensor:
    """Return the loss of each token, float [N].

    Mean over channels of the squared prediction error, plus the variational term in bits with the
    predicted mean detached (Nichol and Dhariwal 2021, equation 16, weight 1).

    Args:
        denoise: the network with its conditions bound.
        config: says what the network predicts.
        x0: clean tokens [N, Z].
        timestep: int64 [N], 0..999.
        noise: standard normal [N, Z].
    """
    schedule = FULL_SCHEDULE
    index = timestep.cpu().numpy()
    alpha_bar = schedule.alphas_cumprod[index][:, None]
    x = noised(x0, noise, alpha_bar)
    predicted, share = denoise(x, timestep).chunk(2, dim=-1)
    if config.prediction == "v":
        target = _like(alpha_bar**0.5, x) * noise - _like((1.0 - alpha_bar) ** 0.5, x) * x0
    else:
        target = noise
    squared_error = (target - predicted).square().mean(dim=-1)
    frozen = torch.cat([predicted.detach(), share], dim=-1)
    return squared_error + _variational_bits(schedule, index, config.prediction, frozen, x, x0)


def masked_mean(loss: Tensor, mask: Tensor) -> Tensor:
    """Average per-token losses [N] over the tokens where ``mask`` [N] is 1: a number."""
    return (loss * mask).sum() / mask.sum()


def _variational_bits(
    schedule: Schedule,
    index: NDArray[np.int64],
    prediction: Prediction,
    output: Tensor,
    x: Tensor,
    x0: Tensor,
) -> Tensor:
    """KL(true posterior || model) in bits [N]; at t = 0 the discretised negative log-likelihood."""
    predicted, share = output.chunk(2, dim=-1)
    by_x0 = schedule.posterior_mean_x0[index][:, None]
    by_x = schedule.posterior_mean_x[index][:, None]
    model_x0 = predicted_x0(prediction, predicted, x, schedule.alphas_cumprod[index][:, None])
    true_mean = _like(by_x0, x) * x0 + _like(by_x, x) * x
    model_mean = _like(by_x0, x) * model_x0 + _like(by_x, x) * x
    true_log_variance = _like(schedule.posterior_log_variance[index][:, None], x)
    model_log_variance = _log_variance(schedule, index[:, None], share)
    divergence = 0.5 * (
        -1.0
        + model_log_variance
        - true_log_variance
        + torch.exp(true_log_variance - model_log_variance)
        + (true_mean - model_mean).square() * torch.exp(-model_log_variance)
    )
    likelihood = _discretised_gaussian_log_likelihood(x0, model_mean, 0.5 * model_log_variance)
    first = torch.as_tensor(index == 0, device=x.device)
    return torch.where(first, -likelihood.mean(dim=-1), divergence.mean(dim=-1)) / math.log(2.0)


def _discretised_gaussian_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log-likelihood of x [N, Z] in bins of half-width 1/255, with open ends beyond +-0.999.

    Ho et al. 2020, equation 13, with the tanh approximation of the normal CDF that the published
    code uses; an exact CDF gives a loss that differs by 2e-4.
    """

    def cumulative(z: Tensor) -> Tensor:
        return 0.5 * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (z + 0.044715 * z**3)))

    centered = x - mean
    inverse_scale = torch.exp(-log_scale)
    upper = cumulative(inverse_scale * (centered + 1.0 / 255.0))
    lower = cumulative(inverse_scale * (centered - 1.0 / 255.0))
    tiny = 1e-12
    return torch.where(
        x < -0.999,
        upper.clamp(min=tiny).log(),
        torch.where(
            x > 0.999, (1.0 - lower).clamp(min=tiny).log(), (upper - lower).clamp(min=tiny).log()
        ),
    )
