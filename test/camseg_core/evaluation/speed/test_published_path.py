# SPDX-License-Identifier: Apache-2.0
"""The re-enacted path does the published implementation's work, and no less."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from camseg_core.evaluation.speed.published_path import PublishedPath
from camseg_core.images.arrays import UInt8
from camseg_core.inference.stage_clock import StageClock
from camseg_core.models.autoencoder import Autoencoder
from camseg_core.models.denoiser import Denoiser
from camseg_core.segmentation import STAGES
from camseg_core.segmenter import SamplingOptions, Segmenter
from camseg_core.weights.loading import LoadedModel

CPU = torch.device("cpu")


@pytest.fixture(params=["tiny", "parity"])
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    found: Segmenter = request.getfixturevalue(
        {"tiny": "light_segmenter", "parity": "parity_segmenter"}[request.param]
    )
    return found


def test_every_step_denoises_the_tokens_of_image_and_mask_with_a_timestep_for_each(
    segmenter: Segmenter, random_image: Callable[..., UInt8], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[int, ...], list[int], torch.dtype]] = []
    real = Denoiser.forward

    def watched(denoiser: Denoiser, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        asked.append((tuple(x.shape), timestep.tolist(), condition.dtype))
        return real(denoiser, x, timestep, condition)

    monkeypatch.setattr(Denoiser, "forward", watched)
    size = segmenter.networks.config.input
    clock = StageClock(CPU)
    path = PublishedPath(segmenter.loaded, CPU)
    path.segment(random_image(size.height, size.width), 3, clock)
    grid = segmenter.networks.config.transformer
    tokens = 2 * grid.num_tokens
    assert asked == [
        ((tokens, grid.token_channels), [timestep] * tokens, torch.float32)
        for timestep in (999, 500, 0)
    ]
    assert all(clock.seconds[stage] > 0.0 for stage in STAGES)


def test_given_the_same_latent_it_finds_the_classes_that_the_segmenter_finds(
    segmenter: Segmenter, random_image: Callable[..., UInt8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two decoders of their own: numpy against the device."""
    size = segmenter.networks.config.input
    image = random_image(size.height - 3, size.width)
    options = SamplingOptions(steps=2)
    latent = segmenter.predict_latent(image, options)[0]  # [L, Z]
    path = PublishedPath(segmenter.loaded, CPU)
    monkeypatch.setattr(path, "_sample", lambda *_: torch.cat([torch.zeros_like(latent), latent]))
    found = path.segment(image, 2, StageClock(CPU))
    expected = segmenter.segment(image, options).class_ids
    assert found.shape == image.shape[:2]
    assert len(np.unique(expected)) > 1
    assert np.mean(found == expected) > 0.999


def test_kernels_keep_their_own_layout_and_all_else_is_shared(parity_model: LoadedModel) -> None:
    published = PublishedPath(parity_model, CPU)
    Segmenter(parity_model)  # which lays kernels out anew
    seen: dict[str, bool] = {}
    real = Autoencoder.encode

    def watched(autoencoder: Autoencoder, image: Tensor, *arguments: Tensor) -> Tensor:
        kernel = autoencoder.encoder.conv_in.weight
        seen["contiguous"] = kernel.is_contiguous()
        seen["own"] = kernel is not parity_model.model.color_autoencoder.encoder.conv_in.weight
        return real(autoencoder, image, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Autoencoder, "encode", watched)
        size = parity_model.config.input
        published.segment(np.zeros((size.height, size.width, 3), np.uint8), 1, StageClock(CPU))
    assert seen == {"contiguous": True, "own": True}
