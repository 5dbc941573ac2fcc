# SPDX-License-Identifier: Apache-2.0
"""Prepared networks compute what the networks themselves do, in both precisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from camseg_core.diffusion.options import ONE_STEP
from camseg_core.images.arrays import UInt8
from camseg_core.models.camseg import CamSeg
from camseg_core.models.transformer import latent_from_tokens
from camseg_core.segmenter import Segmenter
from camseg_core.weights.inference import inference_networks
from camseg_core.weights.loading import LoadedModel, load_model


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def conditions(networks: CamSeg, image: Tensor) -> Tensor:
    assert networks.image_encoder is not None
    latent, features = networks.image_encoder(image)
    tokens = latent.flatten(2).transpose(1, 2)
    return networks.condition(tokens, features, grid=(4, 8)).float()


def test_norms_are_folded_without_a_change_of_the_result(demo: LoadedModel) -> None:
    image = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected = conditions(demo.model, image)
        prepared = inference_networks(demo.model, "float32")
        torch.testing.assert_close(conditions(prepared, image), expected, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in demo.model.modules())


def test_the_segmenter_finds_the_classes_of_the_plain_networks(
    demo: LoadedModel, random_image: Callable[..., UInt8]
) -> None:
    """Nothing is folded, shared or left out here: all 2L tokens, one step from zero noise."""
    image = random_image(256, 512)
    model, grid = demo.model, (16, 32)
    batch = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    with torch.inference_mode():
        assert model.image_encoder is not None
        assert model.fine_condition is not None
        latent, features = model.image_encoder(batch)
        tokens = latent.flatten(2).transpose(1, 2)  # [1, L, Y]
        condition = model.transformer(tokens, grid=grid)[0, 512:]  # [L, D]
        condition = condition + model.fine_condition(tokens, features)[0]
        zero = torch.zeros(512, demo.config.transformer.token_channels)
        predicted = model.denoiser(zero, torch.full((512,), 999), condition)
        x0 = -predicted[None, :, : zero.shape[1]]  # of v, where alpha-bar is almost 0
        logits = model.decode_classes(latent_from_tokens(x0, grid, demo.config.patch_size))
        logits = functional.interpolate(logits, image.shape[:2], mode="bilinear")
        expected = logits[0].argmax(dim=0).numpy()
    options = replace(ONE_STEP, precision="float32")
    found = Segmenter(demo).segment(image, options).class_ids
    assert len(np.unique(expected)) > 3
    assert np.mean(found == expected) > 0.999


def test_matrices_are_rounded_once_as_autocast_rounds_them_each_time(
    parity_model: LoadedModel,
) -> None:
    denoiser = parity_model.model.denoiser
    prepared = inference_networks(parity_model.model, "bfloat16").denoiser
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(5, denoiser.config.token_channels, generator=noise)
    condition = torch.randn(5, denoiser.config.condition_channels, generator=noise)
    timestep = torch.tensor([999])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = denoiser(x, timestep, condition)
        assert torch.equal(prepared(x, timestep, condition), expected)
    assert prepared.input_proj.weight.dtype == torch.bfloat16
    assert denoiser.input_proj.weight.dtype == torch.float32


def test_what_stays_as_it_is_takes_no_memory_twice(demo: LoadedModel) -> None:
    own = {tensor.data_ptr() for tensor in demo.model.parameters()}
    prepared = inference_networks(demo.model, "float32")
    added = [t.numel() for t in prepared.parameters() if t.data_ptr() not in own]
    folded = [m for m in prepared.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert sum(added) == sum(m.weight.numel() + m.out_channels for m in folded)
