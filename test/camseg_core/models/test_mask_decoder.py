# SPDX-License-Identifier: Apache-2.0
"""The mask decoder: shapes, with and without image features, and its rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from camseg_core.checkpoint import random_model
from camseg_core.errors import CamsegError
from camseg_core.models.configs import MaskDecoderConfig, ModelConfig
from camseg_core.models.convolution import ConvBlock
from camseg_core.models.mask_decoder import MaskDecoder
from camseg_core.models.presets import preset

CONFIG = MaskDecoderConfig(
    widths=(16, 24, 32), quarter_depth=2, latent_channels=5, feature_channels=8, num_classes=7
)


def decoder_of(config: MaskDecoderConfig) -> MaskDecoder:
    torch.manual_seed(0)
    return MaskDecoder(config).eval()


def test_logits_come_at_a_quarter() -> None:
    decoder = decoder_of(CONFIG)
    logits = decoder(torch.zeros(2, 5, 3, 4), torch.zeros(2, 8, 12, 16))
    assert logits.shape == (2, 7, 12, 16)
    assert len(decoder.quarter) == 2


def test_image_features_count_where_the_size_has_them() -> None:
    latent = torch.randn(1, 5, 2, 2, generator=torch.Generator().manual_seed(0))
    features = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    with_features, without = decoder_of(CONFIG), decoder_of(replace(CONFIG, feature_channels=0))
    assert not torch.equal(with_features(latent, features), with_features(latent, 2 * features))
    assert torch.equal(without(latent, features), without(latent))
    assert not any("features" in name for name, _ in without.named_parameters())


def test_a_new_block_is_the_identity() -> None:
    x = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    block = ConvBlock(16)
    torch.nn.init.zeros_(block.conv2.bias)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("widths", (16, 24, 30), "widths is .*; three are needed, multiples of 8"),
        ("quarter_depth", 0, "quarter_depth is 0"),
        ("feature_channels", -1, "feature_channels -1: a whole number of at least 0 is needed"),
        ("num_classes", 0, "num_classes is 0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        replace(CONFIG, **{field: value})


def changed(part: str, **fields: Any) -> ModelConfig:
    tiny = preset("tiny")
    return replace(tiny, **{part: replace(getattr(tiny, part), **fields)})


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("mask_decoder", {"feature_channels": 9}, "reads 9 feature channels, the image encoder g"),
        ("mask_decoder", {"latent_channels": 8}, "takes 8 latent channels at stride 16, the auto"),
        ("image_encoder", {"token_channels": 8}, "image tokens have 8 numbers, the transformer t"),
    ],
)
def test_parts_must_fit_together(part: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        changed(part, **fields)


def test_a_model_without_one_says_so() -> None:
    plain = random_model(replace(preset("tiny"), mask_decoder=None)).model
    with pytest.raises(CamsegError, match="model 'tiny' has no mask decoder"):
        plain.decode_classes(torch.zeros(1, 16, 1, 1), None)
