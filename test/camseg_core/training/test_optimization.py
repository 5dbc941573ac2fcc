# SPDX-License-Identifier: Apache-2.0
"""Optimizer groups, learning rate and averaged weights, against hand-made values."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from camseg_core.training.configuration import OptimizerConfig
from camseg_core.training.optimization import (
    AveragedWeights,
    is_decayed,
    learning_rate,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
)
from camseg_core.weights.loading import random_model

CONFIG = OptimizerConfig(learning_rate=0.1, warmup_steps=4)


def test_decay_falls_on_matrices_outside_of_the_denoiser() -> None:
    named = dict(random_model("tiny").model.named_parameters())
    decayed = {name for name, tensor in named.items() if is_decayed(name, tensor)}
    assert "transformer.encoder_blocks.0.mlp.fc1.weight" in decayed
    assert "image_encoder.stem.conv.weight" in decayed
    for name in (
        "transformer.encoder_blocks.0.mlp.fc1.bias", "transformer.z_proj_ln.weight",
        "transformer.mask_token", "transformer.encoder_pos_embed_learned",
        "denoiser.input_proj.weight", "mask_decoder.quarter.norm.weight",
    ):  # fmt: skip
        assert name in named
        assert name not in decayed
    groups = make_optimizer(named.items(), CONFIG).param_groups
    assert [group["weight_decay"] for group in groups] == [0.02, 0.0]
    assert len(groups[0]["params"]) == len(decayed)
    assert len(groups[1]["params"]) == len(named) - len(decayed)


def test_no_decay_falls_on_codes() -> None:
    named = dict(random_model("demo-vq").model.named_parameters())
    assert not is_decayed("autoencoder.quantizer.codebook", named["autoencoder.quantizer.codebook"])


def test_the_rate_falls_by_a_cosine_to_a_hundredth() -> None:
    config = replace(CONFIG, decay="cosine")
    rates = [learning_rate(step, 104, config) for step in (4, 54, 104)]
    assert rates == pytest.approx([0.1, 0.1 * (0.01 + 0.99 / 2), 0.001])
    assert learning_rate(0, 5, replace(config, warmup_steps=0)) == pytest.approx(0.1)


def test_averages_begin_with_a_warm_up() -> None:
    weights = {"a": torch.tensor([0.0])}
    average = AveragedWeights(weights, decay=0.9)
    expected = 0.0
    for step in range(200):
        weights["a"] = torch.tensor([float(step)])
        average.update(weights, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.tensors["a"].item() == pytest.approx(expected, rel=1e-5)
    assert min(0.9, 201 / 210) == 0.9


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_state_travels_as_tensors(name: str) -> None:
    def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for step in range(steps):
            optimizer.zero_grad()
            (module(torch.full((1, 3), 0.1 * (step + 1))) ** 2).sum().backward()
            optimizer.step()

    config = replace(CONFIG, name=name)
    torch.manual_seed(0)
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    first = make_optimizer(one.named_parameters(), config)
    train(one, first, 3)
    two.load_state_dict(one.state_dict())
    second = make_optimizer(two.named_parameters(), config)
    tensors = optimizer_tensors(first, list(one.named_parameters()))
    assert ("weight/exp_avg" in tensors) == (name == "adamw")
    load_optimizer_tensors(second, list(two.named_parameters()), tensors)
    train(one, first, 2)
    train(two, second, 2)
    assert torch.equal(one.weight, two.weight)
    assert not math.isnan(one.weight.sum().item())
