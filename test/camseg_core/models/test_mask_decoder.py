# SPDX-License-Identifier: Apache-2.0
"""The mask decoder: shapes, with and without image features, and its rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from camseg_core.errors import CamsegError
from camseg_core.models.configs import ModelConfig
from camseg_core.models.image_encoder import Features
from camseg_core.models.mask_decoder import MaskDecoder
from camseg_core.models.part_configs import MaskDecoderConfig
from camseg_core.models.presets import preset
from camseg_core.weights.loading import random_model

CONFIG = MaskDecoderConfig(width=16, latent_channels=5, feature_channels=(8, 12), num_classes=7)


def features_of(rows: int, columns: int, seed: int = 1) -> Features:
    generator = torch.Generator().manual_seed(seed)
    quarter = torch.randn(1, 8, 4 * rows, 4 * columns, generator=generator)
    return quarter, torch.randn(1, 12, 2 * rows, 2 * columns, generator=generator)


def decoder_of(config: MaskDecoderConfig) -> MaskDecoder:
    torch.manual_seed(0)
    return MaskDecoder(config).eval()


def test_logits_come_at_a_quarter() -> None:
    decoder = decoder_of(CONFIG)
    assert decoder(torch.zeros(1, 5, 3, 4), features_of(3, 4)).shape == (1, 7, 12, 16)
    assert decoder(torch.zeros(2, 5, 3, 4)).shape == (2, 7, 12, 16)


def test_image_features_count_where_the_size_has_them() -> None:
    latent = torch.randn(1, 5, 2, 2, generator=torch.Generator().manual_seed(0))
    quarter, eighth = features_of(2, 2)
    with_features, without = decoder_of(CONFIG), decoder_of(replace(CONFIG, feature_channels=()))
    logits = with_features(latent, (quarter, eighth))
    assert not torch.equal(logits, with_features(latent, (2 * quarter, eighth)))
    assert not torch.equal(logits, with_features(latent, (quarter, 2 * eighth)))
    assert torch.equal(without(latent, (quarter, eighth)), without(latent))
    assert not any("features" in name for name, _ in without.named_parameters())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", 0, "width is 0"),
        ("feature_channels", (8,), r"feature_channels \(8,\): two whole numbers of at"),
        ("feature_channels", (8, 0), r"feature_channels \(8, 0\): two whole numbers"),
        ("feature_channels", 8, "feature_channels 8: two whole numbers of at least 1, or none"),
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
        (
            "mask_decoder",
            {"feature_channels": (9, 9)},
            r"reads \(9, 9\) feature channels, the image",
        ),
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
