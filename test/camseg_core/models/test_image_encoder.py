# SPDX-License-Identifier: Apache-2.0
"""The light image encoder: shapes, what each output sees, and its rules."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from camseg_core.errors import CamsegError
from camseg_core.models.configs import ImageEncoderConfig
from camseg_core.models.image_encoder import ImageEncoder

CONFIG = ImageEncoderConfig(widths=(16, 24, 32), depths=(1, 2, 1), token_channels=12)


@pytest.fixture
def encoder() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(CONFIG).eval()


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 5), (16, 32)])
def test_tokens_at_a_sixteenth_and_features_at_a_quarter(
    encoder: ImageEncoder, rows: int, columns: int
) -> None:
    latent, features = encoder(torch.zeros(2, 3, 16 * rows, 16 * columns))
    assert latent.shape == (2, 12, rows, columns)
    assert features.shape == (2, 16, 4 * rows, 4 * columns)


def test_depths_and_widths_are_as_configured(encoder: ImageEncoder) -> None:
    depths = [len(stage) for stage in (encoder.quarter, encoder.eighth, encoder.sixteenth)]
    assert depths == [1, 2, 1]
    assert encoder.stem.weight.shape == (16, 48, 3, 3)
    assert encoder.to_eighth.weight.shape == (24, 64, 1, 1)
    assert encoder.to_sixteenth.weight.shape == (32, 96, 1, 1)
    assert CONFIG.stride == 16


def test_every_pixel_reaches_its_token(encoder: ImageEncoder) -> None:
    image = torch.zeros(1, 3, 32, 48, requires_grad=True)
    encoder(image)[0][0, :, 1, 2].sum().backward()
    assert image.grad is not None
    seen = image.grad[0].abs().sum(dim=0) > 0
    assert seen[16:, 32:].all()


def test_images_of_a_batch_do_not_mix(encoder: ImageEncoder) -> None:
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    together, apart = encoder(images)[0], torch.cat([encoder(one[None])[0] for one in images])
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("widths", (16, 24), r"ImageEncoderConfig.widths is \(16, 24\); three are needed, multip"),
        ("widths", (16, 20, 32), "multiples of 8"),
        ("widths", (0, 8, 8), "multiples of 8"),
        ("depths", (1, 0, 1), "depths is .*; three are needed, whole numbers of at least 1"),
        ("depths", [1, 1, 1], "depths is"),
        ("token_channels", 0, "token_channels is 0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(field: str, value: Any, message: str) -> None:
    sizes: dict[str, Any] = {"widths": (16, 24, 32), "depths": (1, 1, 1), "token_channels": 12}
    with pytest.raises(CamsegError, match=message):
        ImageEncoderConfig(**(sizes | {field: value}))
