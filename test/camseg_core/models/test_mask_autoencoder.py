# SPDX-License-Identifier: Apache-2.0
"""The autoencoder of class masks: what it sees, both bottlenecks, the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from camseg_core.errors import CamsegError
from camseg_core.models.mask_autoencoder import MaskAutoencoder
from camseg_core.models.part_configs import MaskAutoencoderConfig
from camseg_core.models.presets import preset
from camseg_core.weights.loading import random_model

CONFIG = MaskAutoencoderConfig(
    widths=(8, 8, 16), depth=1, latent_channels=4, latent_scale=0.5, num_classes=3
)
VQ = replace(CONFIG, bottleneck="vq", codebook_size=6)
MASK = torch.randint(0, 3, (2, 16, 24), generator=torch.Generator().manual_seed(1))


def autoencoder_of(config: MaskAutoencoderConfig) -> MaskAutoencoder:
    torch.manual_seed(0)
    return MaskAutoencoder(config).eval()


def test_a_latent_has_an_eighth_of_the_size() -> None:
    posterior = autoencoder_of(CONFIG).posterior(MASK)
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 4, 2, 3)


def test_unlabeled_pixels_are_a_class_of_their_own() -> None:
    autoencoder = autoencoder_of(CONFIG)
    encoded = [
        autoencoder.posterior(MASK.masked_fill(MASK == 2, class_id)).mean
        for class_id in (1, 2, 255)
    ]
    assert not torch.allclose(encoded[1], encoded[2])
    assert not torch.allclose(encoded[0], encoded[2])


def test_a_codebook_gives_its_vectors_and_passes_the_gradient_straight_through() -> None:
    autoencoder = autoencoder_of(VQ)
    posterior = autoencoder.posterior(MASK)
    assert torch.equal(posterior.sample(torch.ones_like(posterior.mean)), posterior.mean)
    latent = torch.randn(1, 4, 2, 2, requires_grad=True)
    snapped = autoencoder.nearest(latent)
    assert autoencoder.quantizer is not None
    torch.testing.assert_close(snapped, autoencoder.quantizer(latent))
    snapped.sum().backward()  # type: ignore[no-untyped-call]  # torch's
    assert latent.grad is not None
    assert torch.equal(latent.grad, torch.ones_like(latent))


def test_without_a_codebook_nothing_snaps() -> None:
    latent = torch.randn(1, 4, 2, 2)
    assert autoencoder_of(CONFIG).nearest(latent) is latent


def test_classes_are_decoded_from_raw_latents() -> None:
    model = random_model("tiny").model
    assert model.mask_decoder is not None
    raw = torch.randn(1, 4, 4, 8)
    scale = model.config.autoencoder.latent_scale
    assert torch.equal(model.decode_classes(raw * scale), model.mask_decoder(raw))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("widths", (8, 8), r"widths is \(8, 8\); 3 whole numbers from 1 to "),
        ("latent_channels", 0, "latent_channels is 0"),
        ("latent_scale", 0.0, "latent_scale is 0.0; a number above 0"),
        ("bottleneck", "vae", "bottleneck 'vae': kl or vq"),
        ("codebook_size", 8, "codebook_size 8 with a kl bottleneck"),
    ],
)
def test_sizes_that_cannot_be_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        replace(CONFIG, **{field: value})


def test_a_codebook_needs_codes() -> None:
    with pytest.raises(CamsegError, match="codebook_size 1 with a vq bottleneck"):
        replace(VQ, codebook_size=1)
    assert preset("demo-vq").autoencoder.stride == preset("demo").autoencoder.stride == 8
