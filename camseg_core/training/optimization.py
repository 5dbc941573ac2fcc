# SPDX-License-Identifier: Apache-2.0
"""Optimizer, learning rate and averaged weights of the published recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from camseg_core.training.configuration import OptimizerConfig

NamedParameters = list[tuple[str, nn.Parameter]]


def make_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """Make the optimizer; weight decay falls on matrices and kernels outside of the denoiser."""
    named = list(named_parameters)
    decayed = [tensor for name, tensor in named if is_decayed(name, tensor)]
    others = [tensor for name, tensor in named if not is_decayed(name, tensor)]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2))


def is_decayed(name: str, tensor: Tensor) -> bool:
    """Return whether weight decay falls on a tensor: not on norms, biases, embeddings, denoiser."""
    embedding = name.endswith(("pos_embed_learned", "mask_token", "codebook"))
    return tensor.ndim >= 2 and not embedding and not name.startswith("denoiser.")


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Return the rate of step ``step`` (from 0) of ``steps``."""
    rate = config.learning_rate
    if step < config.warmup_steps:
        return rate * (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return rate
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * done)))


class AveragedWeights:
    """Exponential moving average of weights, float32, keyed by parameter name."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        """Start from the current weights."""
        self.tensors = {name: tensor.detach().clone() for name, tensor in parameters.items()}
        self._decay = decay

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor], step: int) -> None:
        """Take in the weights after step ``step`` (from 0)."""
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        for name, average in self.tensors.items():
            average.lerp_(parameters[name].detach(), 1.0 - decay)


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, named_parameters: NamedParameters
) -> dict[str, Tensor]:
    """Return the optimizer's state as tensors, keyed ``<parameter name>/<state name>``."""
    tensors = {}
    for name, parameter in named_parameters:
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = torch.as_tensor(value)
    return tensors


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer,
    named_parameters: NamedParameters,
    tensors: Mapping[str, Tensor],
) -> None:
    """Put back what `optimizer_tensors` gave."""
    for name, parameter in named_parameters:
        found = {key: tensors[key] for key in tensors if key.rpartition("/")[0] == name}
        if found:
            optimizer.state[parameter] = {
                # The step count stays on the CPU, as torch has it.
                key.rpartition("/")[2]: value.clone()
                if key.endswith("/step")
                else value.to(parameter.device, copy=True)
                for key, value in found.items()
            }
