# SPDX-License-Identifier: Apache-2.0
"""The mask decoder: shapes, its rules, and how it fits the other parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_models import tiny_config_of_colors

from camseg_core.errors import CamsegError
from camseg_core.models.mask_decoder import MaskDecoder
from camseg_core.models.part_configs import MaskDecoderConfig
from camseg_core.models.presets import preset
from camseg_core.weights.loading import random_model

CONFIG = MaskDecoderConfig(
    widths=(16, 8), depth=1, latent_channels=5, latent_stride=8, num_classes=7
)


@pytest.mark.parametrize(("stride", "height", "width"), [(8, 24, 40), (16, 32, 48)])
def test_logits_come_at_a_half(stride: int, height: int, width: int) -> None:
    decoder = MaskDecoder(replace(CONFIG, latent_stride=stride)).eval()
    logits = decoder(torch.zeros(2, 5, height // stride, width // stride))
    assert logits.shape == (2, 7, height // 2, width // 2)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("widths", (8,), r"widths is \(8,\); 2 whole numbers from 1 to "),
        ("depth", 0, "depth is 0"),
        ("latent_stride", 4, "latent_stride 4: 8 or 16"),
        ("num_classes", 0, "num_classes is 0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        replace(CONFIG, **{field: value})


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("mask_decoder", {"latent_channels": 8}, "takes 8 latent channels at stride 8, the auto"),
        ("mask_decoder", {"latent_stride": 16}, "takes 4 latent channels at stride 16, the auto"),
        ("mask_decoder", {"num_classes": 3}, "a mask decoder of the same 19 classes"),
        ("image_encoder", {"token_channels": 8}, "image tokens have 8 numbers, the transformer t"),
    ],
)
def test_parts_must_fit_together(part: str, fields: dict[str, Any], message: str) -> None:
    tiny = preset("tiny")
    with pytest.raises(CamsegError, match=message):
        replace(tiny, **{part: replace(getattr(tiny, part), **fields)})


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("mask_decoder", "an autoencoder of class masks needs an image encoder and a mask decoder"),
        ("image_encoder", "image tokens have 16 numbers, the transformer takes 32"),
    ],
)
def test_class_latents_need_what_reads_them(missing: str, message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        replace(preset("tiny"), **{missing: None})


def test_a_model_without_one_says_so() -> None:
    with pytest.raises(CamsegError, match="model 'tiny' has no mask decoder"):
        random_model(tiny_config_of_colors()).model.decode_classes(torch.zeros(1, 16, 1, 1))


def test_a_model_of_classes_has_no_palette() -> None:
    with pytest.raises(CamsegError, match="encodes classes, not colours"):
        _ = random_model("tiny").model.color_autoencoder
