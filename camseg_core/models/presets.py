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
    FineConditionConfig,
    ImageEncoderConfig,
    MaskAutoencoderConfig,
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
    autoencoder: MaskAutoencoderConfig,
    transformer_width: int,
    depths: tuple[int, int],
    denoiser_width: int,
    image_encoder: ImageEncoderConfig,
    fine_condition: FineConditionConfig,
    decoder_widths: tuple[int, int],
) -> ModelConfig:
    """Return a small model of our own: v-prediction, aspect kept, light encoder, class latents.

    Args:
        name: the preset's.
        height: height of the largest input, in pixels.
        width: width of the largest input, in pixels.
        autoencoder: size of the autoencoder of class masks.
        transformer_width: embedding width, a multiple of 32.
        depths: number of blocks of the transformer's encoder and decoder.
        denoiser_width: width of its residual blocks.
        image_encoder: its size.
        fine_condition: size of what adds the image encoder's fine features to the conditions.
        decoder_widths: channels of the mask decoder at an eighth and at a quarter.
    """
    patch_size = 2
    token_channels = autoencoder.latent_channels * patch_size**2
    return ModelConfig(
        name=name,
        autoencoder=autoencoder,
        transformer=TransformerConfig(
            width=transformer_width,
            encoder_depth=depths[0],
            decoder_depth=depths[1],
            num_heads=transformer_width // 32,
            mlp_ratio=4.0,
            image_token_channels=image_encoder.token_channels,
            token_channels=token_channels,
            grid_height=height // 16,
            grid_width=width // 16,
            dropout=0.0,  # as slow as all else together on a CPU, and data is made without end
        ),
        denoiser=DenoiserConfig(
            width=denoiser_width,
            depth=3,
            token_channels=token_channels,
            condition_channels=transformer_width,
        ),
        diffusion=DiffusionConfig(prediction="v", first_timestep=999),
        input=InputConfig(resize="pad", height=height, width=width),
        patch_size=patch_size,
        palette_temperature=DEFAULT_PALETTE_TEMPERATURE,
        image_encoder=image_encoder,
        mask_decoder=MaskDecoderConfig(
            widths=decoder_widths,
            depth=1,
            latent_channels=autoencoder.latent_channels,
            latent_stride=autoencoder.stride,
            num_classes=autoencoder.num_classes,
        ),
        fine_condition=fine_condition,
    )


TINY_MASKS = MaskAutoencoderConfig(
    widths=(8, 16, 16),
    depth=1,
    latent_channels=4,
    latent_scale=1.0,
    num_classes=CITYSCAPES.num_classes,
)

DEMO_MASKS = replace(TINY_MASKS, widths=(48, 96, 128), latent_channels=16)

TINY = small_config(
    "tiny",
    height=32,
    width=64,
    autoencoder=TINY_MASKS,
    transformer_width=64,
    depths=(1, 1),
    denoiser_width=128,
    image_encoder=ImageEncoderConfig(
        widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), token_channels=32
    ),
    fine_condition=FineConditionConfig(channels=(4, 8), hidden_width=64),
    decoder_widths=(16, 16),
)

DEMO = small_config(
    "demo",
    height=256,
    width=512,
    autoencoder=DEMO_MASKS,
    transformer_width=256,
    depths=(2, 1),
    denoiser_width=384,
    image_encoder=ImageEncoderConfig(
        widths=(32, 64, 128, 256), depths=(1, 2, 3, 2), token_channels=256
    ),
    fine_condition=FineConditionConfig(channels=(16, 48), hidden_width=512),
    decoder_widths=(96, 64),
)

DEMO_VQ = replace(
    DEMO,
    name="demo-vq",
    autoencoder=replace(DEMO_MASKS, bottleneck="vq", codebook_size=1024),
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
