# SPDX-License-Identifier: Apache-2.0
"""The named model sizes. Plain data: importing it imports no network."""

from __future__ import annotations

from dataclasses import replace

from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES
from camseg_core.models.configs import DiffusionConfig, InputConfig, ModelConfig
from camseg_core.models.part_configs import (
    AutoencoderConfig,
    DenoiserConfig,
    ImageEncoderConfig,
    MaskDecoderConfig,
    TransformerConfig,
)

DEFAULT_PALETTE_TEMPERATURE = 0.01
"""About twice the variance of a decoded colour channel with a 7 % error; not fitted to data."""

HEADS_BY_WIDTH = {768: 12, 1024: 16, 1280: 16}
"""Attention heads of the published transformer sizes."""


def published_config(
    name: str,
    *,
    width: int,
    depth: int,
    side: int = 768,
) -> ModelConfig:
    """Return the published architecture at a transformer size, for square images of ``side`` px."""
    return ModelConfig(
        name=name,
        autoencoder=AutoencoderConfig(
            channels=128,
            channel_multipliers=(1, 1, 2, 2, 4),
            num_res_blocks=2,
            latent_channels=16,
            resolution=256,
            attention_resolutions=(16,),
            latent_scale=0.2325,
        ),
        transformer=TransformerConfig(
            width=width,
            encoder_depth=depth,
            decoder_depth=depth,
            num_heads=HEADS_BY_WIDTH[width],
            mlp_ratio=4.0,
            image_token_channels=16,
            token_channels=16,
            grid_height=side // 16,
            grid_width=side // 16,
            dropout=0.1,
        ),
        denoiser=DenoiserConfig(width=1024, depth=6, token_channels=16, condition_channels=width),
        diffusion=DiffusionConfig(prediction="epsilon", first_timestep=999),
        input=InputConfig(resize="squash", height=side, width=side),
        patch_size=1,
        palette_temperature=DEFAULT_PALETTE_TEMPERATURE,
    )


def small_config(
    name: str,
    *,
    height: int,
    width: int,
    autoencoder_channels: int,
    transformer_width: int,
    depths: tuple[int, int],
    denoiser_width: int,
    image_encoder: ImageEncoderConfig,
    decoder_width: int,
) -> ModelConfig:
    """Return a small model of our own: v-prediction, aspect kept, light encoder, mask decoder.

    Args:
        name: the preset's.
        height: height of the largest input, in pixels.
        width: width of the largest input, in pixels.
        autoencoder_channels: channels of the mask's autoencoder at full size, a multiple of 8.
        transformer_width: embedding width, a multiple of 32.
        depths: number of blocks of the transformer's encoder and decoder.
        denoiser_width: width of its residual blocks.
        image_encoder: its size.
        decoder_width: width of the mask decoder, which reads the image encoder's features.
    """
    latent_channels = 16
    return ModelConfig(
        name=name,
        autoencoder=AutoencoderConfig(
            channels=autoencoder_channels,
            channel_multipliers=(1, 2, 4, 8, 8),
            num_res_blocks=1,
            latent_channels=latent_channels,
            resolution=256,
            attention_resolutions=(),
            latent_scale=0.2325,
            norm_groups=8,
        ),
        transformer=TransformerConfig(
            width=transformer_width,
            encoder_depth=depths[0],
            decoder_depth=depths[1],
            num_heads=transformer_width // 32,
            mlp_ratio=4.0,
            image_token_channels=image_encoder.token_channels,
            token_channels=latent_channels,
            grid_height=height // 16,
            grid_width=width // 16,
            dropout=0.0,  # as slow as all else together on a CPU, and data is drawn without end
        ),
        denoiser=DenoiserConfig(
            width=denoiser_width,
            depth=3,
            token_channels=latent_channels,
            condition_channels=transformer_width,
        ),
        diffusion=DiffusionConfig(prediction="v", first_timestep=999),
        input=InputConfig(resize="pad", height=height, width=width),
        patch_size=1,
        palette_temperature=DEFAULT_PALETTE_TEMPERATURE,
        image_encoder=image_encoder,
        mask_decoder=MaskDecoderConfig(
            width=decoder_width,
            latent_channels=latent_channels,
            feature_channels=image_encoder.feature_channels,
            num_classes=CITYSCAPES.num_classes,
        ),
    )


TINY = small_config(
    "tiny",
    height=32,
    width=64,
    autoencoder_channels=8,
    transformer_width=64,
    depths=(1, 1),
    denoiser_width=128,
    image_encoder=ImageEncoderConfig(
        widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), token_channels=32
    ),
    decoder_width=16,
)

DEMO = small_config(
    "demo",
    height=256,
    width=512,
    autoencoder_channels=16,
    transformer_width=192,
    depths=(2, 1),
    denoiser_width=256,
    image_encoder=ImageEncoderConfig(
        widths=(32, 64, 128, 192), depths=(1, 1, 2, 2), token_channels=192
    ),
    decoder_width=64,
)

DEMO_VQ = replace(
    DEMO,
    name="demo-vq",
    autoencoder=replace(DEMO.autoencoder, bottleneck="vq", codebook_size=1024),
)

PRESETS: dict[str, ModelConfig] = {
    "tiny": TINY,
    "demo": DEMO,
    "base-768": published_config("base-768", width=768, depth=12),
    "large-768": published_config("large-768", width=1024, depth=16),
    "huge-768": published_config("huge-768", width=1280, depth=20),
    "demo-vq": DEMO_VQ,
}
"""The named sizes. ``tiny`` is for tests; ``demo-vq`` is the demo with a codebook, to compare;
``base-768`` is the published one."""


def preset(name: str) -> ModelConfig:
    """Return the configuration called ``name``.

    Raises:
        CamsegError: there is no such preset; the text lists them.
    """
    if name not in PRESETS:
        raise CamsegError(f"unknown preset {name!r}; the presets are {', '.join(PRESETS)}")
    return PRESETS[name]
