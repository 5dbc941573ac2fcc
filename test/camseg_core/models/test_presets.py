# SPDX-License-Identifier: Apache-2.0
"""The named sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from camseg_core.errors import CamsegError
from camseg_core.models.configs import DiffusionConfig, InputConfig
from camseg_core.models.part_configs import (
    AutoencoderConfig,
    MaskAutoencoderConfig,
    TransformerConfig,
)
from camseg_core.models.presets import PRESETS, preset

EVERY_PRESET = pytest.mark.parametrize("name", PRESETS)


def test_base_is_the_published_size() -> None:
    base = preset("base-768")
    assert base.name == "base-768"
    assert base.autoencoder == AutoencoderConfig(
        channels=128,
        channel_multipliers=(1, 1, 2, 2, 4),
        num_res_blocks=2,
        latent_channels=16,
        resolution=256,
        attention_resolutions=(16,),
        latent_scale=0.2325,
    )
    assert base.transformer == TransformerConfig(
        width=768,
        encoder_depth=12,
        decoder_depth=12,
        num_heads=12,
        mlp_ratio=4,
        image_token_channels=16,
        token_channels=16,
        grid_height=48,
        grid_width=48,
        dropout=0.1,
    )
    assert base.transformer.num_tokens == 2304
    assert (base.denoiser.width, base.denoiser.depth) == (1024, 6)
    assert base.diffusion == DiffusionConfig(prediction="epsilon", first_timestep=999)
    assert base.input == InputConfig(resize="squash", height=768, width=768)
    assert base.image_encoder is None
    assert base.mask_decoder is None
    assert (base.patch_size, base.stride, base.autoencoder.stride) == (1, 16, 16)


@pytest.mark.parametrize(
    ("name", "width", "depth", "heads"),
    [("base-768", 768, 12, 12), ("large-768", 1024, 16, 16), ("huge-768", 1280, 20, 16)],
)
def test_transformer_sizes(name: str, width: int, depth: int, heads: int) -> None:
    config = preset(name)
    transformer = config.transformer
    assert (transformer.width, transformer.num_heads) == (width, heads)
    assert (transformer.encoder_depth, transformer.decoder_depth) == (depth, depth)
    assert config.denoiser.condition_channels == width
    assert config.autoencoder == preset("base-768").autoencoder


@pytest.mark.parametrize("name", ["tiny", "demo", "demo-vq"])
def test_own_presets_predict_v_and_keep_the_aspect(name: str) -> None:
    config = preset(name)
    assert config.diffusion == DiffusionConfig(prediction="v", first_timestep=999)
    assert config.input.resize == "pad"


def test_the_demo_with_a_codebook_differs_in_the_bottleneck_alone() -> None:
    demo, quantized = preset("demo"), preset("demo-vq")
    assert isinstance(quantized.autoencoder, MaskAutoencoderConfig)
    autoencoder = replace(quantized.autoencoder, bottleneck="kl", codebook_size=0)
    assert replace(quantized, name="demo", autoencoder=autoencoder) == demo


@EVERY_PRESET
def test_preset_is_called_by_its_name_and_its_grid_covers_the_input(name: str) -> None:
    config = preset(name)
    assert config is PRESETS[name]
    assert config.name == name
    assert config.transformer.grid_height * config.stride == config.input.height
    assert config.transformer.grid_width * config.stride == config.input.width


def test_unknown_preset_is_named_and_the_presets_are_listed() -> None:
    with pytest.raises(CamsegError, match="unknown preset 'base'; the presets are ") as raised:
        preset("base")
    for name in PRESETS:
        assert name in str(raised.value)
