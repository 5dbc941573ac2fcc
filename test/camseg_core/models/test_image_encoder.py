# SPDX-License-Identifier: Apache-2.0
"""The light image encoder: shapes, what each output sees, and its rules."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from camseg_core.errors import CamsegError
from camseg_core.models.image_encoder import ImageEncoder
from camseg_core.models.part_configs import ImageEncoderConfig

CONFIG = ImageEncoderConfig(widths=(8, 16, 24, 32), depths=(1, 2, 1, 3), token_channels=12)


@pytest.fixture
def encoder() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(CONFIG).eval()


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 5), (16, 32)])
def test_tokens_at_a_sixteenth_and_features_at_a_quarter_and_an_eighth(
    encoder: ImageEncoder, rows: int, columns: int
) -> None:
    latent, features = encoder(torch.zeros(2, 3, 16 * rows, 16 * columns))
    assert latent.shape == (2, 12, rows, columns)
    assert features[0].shape == (2, 16, 4 * rows, 4 * columns)
    assert features[1].shape == (2, 24, 2 * rows, 2 * columns)


def test_depths_and_widths_are_as_configured(encoder: ImageEncoder) -> None:
    stages = (encoder.quarter, encoder.eighth, encoder.sixteenth, encoder.context)
    assert [len(stage.blocks) for stage in stages] == [1, 2, 1, 3]
    assert [stage.down.conv.out_channels for stage in stages] == [16, 24, 32, 32]
    assert encoder.stem.conv.weight.shape == (8, 3, 3, 3)
    assert CONFIG.feature_channels == (16, 24)
    assert CONFIG.stride == 16


def test_every_pixel_reaches_its_token(encoder: ImageEncoder) -> None:
    images = torch.randn(16, 3, 32, 48, requires_grad=True)  # in one image, units may be silent
    encoder(images)[0][:, :, 1, 2].sum().backward()
    assert images.grad is not None
    seen = images.grad.abs().sum(dim=(0, 1)) > 0
    assert seen[16:, 32:].all()


def test_a_token_knows_of_the_scene_around_it(encoder: ImageEncoder) -> None:
    image = torch.randn(1, 3, 128, 256, requires_grad=True)
    encoder(image)[0][0, :, 4, 8].sum().backward()
    assert image.grad is not None
    _, columns = torch.nonzero(image.grad[0].abs().sum(dim=0), as_tuple=True)
    assert int(columns.max() - columns.min()) > 128


def test_images_of_a_batch_do_not_mix(encoder: ImageEncoder) -> None:
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    together, apart = encoder(images)[0], torch.cat([encoder(one[None])[0] for one in images])
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "widths",
            (16, 24),
            r"ImageEncoderConfig.widths is \(16, 24\); 4 whole numbers",
        ),
        ("widths", (0, 8, 8, 8), "widths is .*; 4 whole numbers from 1 to "),
        ("depths", (1, 0, 1, 1), "depths is .*; 4 whole numbers from 1 to "),
        ("depths", [1, 1, 1, 1], "depths is"),
        ("token_channels", 0, "token_channels is 0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(field: str, value: Any, message: str) -> None:
    sizes: dict[str, Any] = {
        "widths": (8, 16, 24, 32),
        "depths": (1, 1, 1, 1),
        "token_channels": 12,
    }
    with pytest.raises(CamsegError, match=message):
        ImageEncoderConfig(**(sizes | {field: value}))
