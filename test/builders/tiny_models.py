# SPDX-License-Identifier: Apache-2.0
"""Tiny models of other kinds than the preset ``tiny``."""

from __future__ import annotations

from dataclasses import replace

from camseg_core.models.configs import ModelConfig
from camseg_core.models.part_configs import AutoencoderConfig, MaskAutoencoderConfig
from camseg_core.models.presets import preset
from camseg_core.weights.loading import LoadedModel, random_model


def tiny_config_of_colors() -> ModelConfig:
    """A size with the published parts: one encoder for images and colour masks, a palette."""
    tiny = preset("tiny")
    return replace(
        tiny,
        autoencoder=AutoencoderConfig(
            channels=8,
            channel_multipliers=(1, 2, 4, 8, 8),
            num_res_blocks=1,
            latent_channels=16,
            resolution=256,
            attention_resolutions=(),
            latent_scale=0.2325,
            norm_groups=8,
        ),
        transformer=replace(tiny.transformer, image_token_channels=16, token_channels=16),
        denoiser=replace(tiny.denoiser, token_channels=16),
        patch_size=1,
        image_encoder=None,
        mask_decoder=None,
        fine_condition=None,
    )


def tiny_with_codebook(codes: int = 32) -> LoadedModel:
    tiny = preset("tiny")
    assert isinstance(tiny.autoencoder, MaskAutoencoderConfig)
    autoencoder = replace(tiny.autoencoder, bottleneck="vq", codebook_size=codes)
    return random_model(replace(tiny, autoencoder=autoencoder))
