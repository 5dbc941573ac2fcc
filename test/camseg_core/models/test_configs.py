# SPDX-License-Identifier: Apache-2.0
"""Model configurations: what fits together, what is refused, what travels through JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.errors import CamsegError
from camseg_core.models.configs import DiffusionConfig, InputConfig, ModelConfig
from camseg_core.models.part_configs import (
    AutoencoderConfig,
    DenoiserConfig,
    MaskAutoencoderConfig,
    TransformerConfig,
)
from camseg_core.models.presets import PRESETS, preset
from camseg_core.system.validation import parse


def parse_config(content: Any) -> ModelConfig:
    return parse(ModelConfig, content, "file")


EVERY_PRESET = pytest.mark.parametrize("name", PRESETS)

SECTIONS = ("autoencoder", "transformer", "denoiser", "diffusion", "input")


def model_of(
    *, rows: int, columns: int, levels: int, patch_size: int, heads: int, head_width: int
) -> ModelConfig:
    """Return a valid configuration of any size."""
    stride = 2 ** (levels - 1) * patch_size
    width = heads * head_width
    channels = 4 * patch_size**2
    return ModelConfig(
        name="any",
        autoencoder=AutoencoderConfig(
            channels=32,
            channel_multipliers=(1,) * levels,
            num_res_blocks=1,
            latent_channels=4,
            resolution=64,
            attention_resolutions=(16, 8),
            latent_scale=0.5,
        ),
        transformer=TransformerConfig(
            width=width,
            encoder_depth=1,
            decoder_depth=2,
            num_heads=heads,
            mlp_ratio=4.0,
            image_token_channels=channels,
            token_channels=channels,
            grid_height=rows,
            grid_width=columns,
            dropout=0.1,
        ),
        denoiser=DenoiserConfig(
            width=32, depth=1, token_channels=channels, condition_channels=width
        ),
        diffusion=DiffusionConfig(prediction="v", first_timestep=900),
        input=InputConfig(resize="pad", height=rows * stride, width=columns * stride),
        patch_size=patch_size,
        palette_temperature=0.01,
    )


def test_attention_is_counted_from_the_configured_resolution() -> None:
    published = preset("base-768").autoencoder
    assert [published.attends(level) for level in range(5)] == [False] * 4 + [True]
    two = replace(published, resolution=64, attention_resolutions=(32, 8))
    assert [two.attends(level) for level in range(5)] == [False, True, False, True, False]


@given(levels=st.integers(1, 7), patch_size=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_stride_doubles_with_each_level_but_the_first(levels: int, patch_size: int) -> None:
    config = model_of(
        rows=2, columns=3, levels=levels, patch_size=patch_size, heads=1, head_width=8
    )
    assert config.autoencoder.stride == 2**levels / 2
    assert config.stride == config.autoencoder.stride * patch_size


@EVERY_PRESET
def test_round_trip_through_json(name: str) -> None:
    config = preset(name)
    as_dict = config.to_dict()
    assert set(as_dict) == {
        *SECTIONS, "name", "patch_size", "palette_temperature", "image_encoder", "mask_decoder",
        "fine_condition",
    }  # fmt: skip
    text = json.dumps(as_dict, allow_nan=False)
    again = parse_config(json.loads(text))
    assert again == config
    assert hash(again) == hash(config)
    assert parse_config(as_dict) == config


@given(
    rows=st.integers(1, 80),
    columns=st.integers(1, 80),
    levels=st.integers(1, 6),
    patch_size=st.integers(1, 4),
    heads=st.integers(1, 16),
    head_width=st.integers(1, 64),
)
@settings(max_examples=50, deadline=None)
def test_any_valid_configuration_survives_json(**sizes: int) -> None:
    config = model_of(**sizes)
    again = parse_config(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.to_dict() == config.to_dict()


@pytest.mark.parametrize("section", SECTIONS)
def test_a_field_too_many_or_too_few_is_named(section: str) -> None:
    content = preset("tiny").to_dict()
    content[section]["surprise"] = 1
    with pytest.raises(CamsegError, match=f"file: {section}.surprise is not known; known are "):
        parse_config(content)
    del content[section]["surprise"]
    missing = next(iter(content[section]))  # the last ones may have defaults
    del content[section][missing]
    with pytest.raises(CamsegError, match=f"file: {section}.{missing} is missing"):
        parse_config(content)


def test_the_bottleneck_decides_what_the_encoder_gives() -> None:
    gaussian, quantized = preset("demo").autoencoder, preset("demo-vq").autoencoder
    assert isinstance(gaussian, MaskAutoencoderConfig)
    assert isinstance(quantized, MaskAutoencoderConfig)
    assert (gaussian.moment_channels, quantized.moment_channels) == (32, 16)


@pytest.mark.parametrize(
    ("bottleneck", "codebook_size"),
    [("vq", 0), ("vq", 1), ("vq", -8), ("vq", 8.0), ("vq", True), ("kl", 8), ("kl", -1)],
)
def test_a_codebook_goes_with_a_vq_bottleneck_alone(bottleneck: str, codebook_size: Any) -> None:
    content = preset("tiny").to_dict()
    content["autoencoder"] |= {"bottleneck": bottleneck, "codebook_size": codebook_size}
    with pytest.raises(CamsegError, match=r"codebook_size"):
        parse_config(content)


@pytest.mark.parametrize("value", ["gan", "", None, 1, ["vq"]])
def test_an_unknown_bottleneck_is_refused(value: Any) -> None:
    content = preset("tiny").to_dict()
    content["autoencoder"]["bottleneck"] = value
    with pytest.raises(CamsegError, match=r"file: autoencoder.bottleneck is .*'kl' or 'vq'"):
        parse_config(content)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("value", [None, 3, "sizes", [1, 2]])
def test_a_section_that_is_no_table_is_named(section: str, value: Any) -> None:
    content = preset("tiny").to_dict()
    content[section] = value
    with pytest.raises(CamsegError, match=f"file: {section} is .*: input should be an object"):
        parse_config(content)


NUMBERS = {
    "autoencoder": ("depth", "latent_channels", "latent_scale", "num_classes"),
    "transformer": (
        "width",
        "encoder_depth",
        "decoder_depth",
        "num_heads",
        "mlp_ratio",
        "token_channels",
        "grid_height",
        "grid_width",
    ),
    "denoiser": ("width", "depth", "token_channels", "condition_channels"),
    "input": ("height", "width"),
}

EVERY_NUMBER = pytest.mark.parametrize(
    ("section", "field"), [(section, name) for section, names in NUMBERS.items() for name in names]
)


@EVERY_NUMBER
@pytest.mark.parametrize("value", [0, -1, float("nan"), None, "12"])
def test_sizes_must_be_above_zero(section: str, field: str, value: Any) -> None:
    content = preset("tiny").to_dict()
    content[section][field] = value
    with pytest.raises(CamsegError) as raised:
        parse_config(content)
    assert section in str(raised.value).lower()
    if isinstance(value, int):
        assert str(value) in str(raised.value)


COUNTS = [
    (section, name)
    for section, names in NUMBERS.items()
    for name in names
    if name not in {"latent_scale", "mlp_ratio"}
]


@pytest.mark.parametrize(("section", "field"), COUNTS)
def test_counts_must_be_whole_numbers(section: str, field: str) -> None:
    """A fraction is named here, rather than in a traceback of whatever is built from it."""
    part = getattr(preset("tiny"), section)
    fraction = getattr(part, field) + 0.5
    with pytest.raises(CamsegError, match=re.escape(f"{fraction}")):
        replace(part, **{field: fraction})


@pytest.mark.parametrize("field", ["patch_size", "palette_temperature"])
@pytest.mark.parametrize("value", [0, -2, float("nan"), None])
def test_model_numbers_must_be_above_zero(field: str, value: Any) -> None:
    with pytest.raises(CamsegError, match=f"ModelConfig.{field} is {value!r}"):
        replace(preset("tiny"), **{field: value})


@pytest.mark.parametrize("channels", [1, 31, 33, 48, -32])
def test_channels_must_fill_the_groups(channels: int) -> None:
    with pytest.raises(CamsegError, match=f"channels {channels}: a positive multiple of 32"):
        replace(preset("base-768").autoencoder, channels=channels)
    with pytest.raises(CamsegError, match=r"norm_groups is 0"):
        replace(preset("base-768").autoencoder, norm_groups=0)


@pytest.mark.parametrize("multipliers", [(), (1, 0), (1, -1, 2)])
def test_channel_multipliers_must_be_positive(multipliers: tuple[int, ...]) -> None:
    with pytest.raises(CamsegError, match="channel_multipliers") as raised:
        replace(preset("base-768").autoencoder, channel_multipliers=multipliers)
    assert str(multipliers) in str(raised.value)


def test_width_must_divide_into_heads() -> None:
    with pytest.raises(CamsegError, match="width 768 is not a multiple of its 7 heads"):
        replace(preset("base-768").transformer, num_heads=7)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, float("nan")])
def test_dropout_is_a_share_below_one(dropout: float) -> None:
    with pytest.raises(CamsegError, match=f"dropout {dropout}"):
        replace(preset("tiny").transformer, dropout=dropout)


@pytest.mark.parametrize("prediction", ["x0", "eps", "", None])
def test_unknown_prediction(prediction: Any) -> None:
    with pytest.raises(CamsegError, match=f"prediction {prediction!r}: one of epsilon, v"):
        DiffusionConfig(prediction=prediction, first_timestep=999)


@pytest.mark.parametrize("first_timestep", [-1, 1000, 5000])
def test_first_timestep_is_one_of_the_thousand(first_timestep: int) -> None:
    with pytest.raises(CamsegError, match=f"first_timestep {first_timestep}: from 0 to 999"):
        DiffusionConfig(prediction="v", first_timestep=first_timestep)


def test_unknown_resize_policy() -> None:
    with pytest.raises(CamsegError, match="resize policy 'crop': one of squash, pad"):
        InputConfig(resize="crop", height=768, width=768)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["transformer", "denoiser"])
def test_parts_must_agree_on_the_token(part: str) -> None:
    config = preset("base-768")
    changed = replace(getattr(config, part), token_channels=8)
    with pytest.raises(CamsegError, match="token channels differ") as raised:
        replace(config, **{part: changed})
    assert "16" in str(raised.value)
    assert "8" in str(raised.value)


def test_tokens_of_larger_patches_have_more_channels() -> None:
    sizes = {"rows": 3, "columns": 2, "levels": 3, "heads": 2, "head_width": 8}
    assert model_of(patch_size=2, **sizes).transformer.token_channels == 16
    with pytest.raises(CamsegError, match="the autoencoder's latent gives 36"):
        replace(model_of(patch_size=2, **sizes), patch_size=3)


def test_denoiser_must_take_the_transformers_width() -> None:
    config = preset("base-768")
    with pytest.raises(CamsegError, match="conditions of width 1024, the transformer gives 768"):
        replace(config, denoiser=replace(config.denoiser, condition_channels=1024))


@pytest.mark.parametrize(("height", "width"), [(752, 768), (768, 784), (384, 1536)])
def test_input_must_be_the_grid_times_the_stride(height: int, width: int) -> None:
    config = preset("base-768")
    with pytest.raises(CamsegError, match=f"input size {height} x {width}.*48 x 48 at stride 16"):
        replace(config, input=InputConfig(resize="squash", height=height, width=width))
