# SPDX-License-Identifier: Apache-2.0
"""Fine features reach the conditions, each token's its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from camseg_core.errors import CamsegError
from camseg_core.models.presets import preset
from camseg_core.weights.loading import random_model


def test_a_token_sees_the_features_at_its_place_and_no_others() -> None:
    model = random_model("tiny").model
    assert model.fine_condition is not None
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(1, 8, 32, generator=generator)
    quarter = torch.randn(1, 16, 8, 16, generator=generator)
    eighth = torch.randn(1, 24, 4, 8, generator=generator)
    before = model.fine_condition(tokens, (quarter, eighth))
    assert before.shape == (1, 8, 64)
    for features in ((quarter.clone(), eighth), (quarter, eighth.clone())):
        changed = features[0] if features[0] is not quarter else features[1]
        side = changed.shape[2] // 2  # the grid has 2 x 4 tokens: row 1, column 2 is token 6
        changed[:, :, side : 2 * side, 2 * side : 3 * side] += 1.0
        differs = (model.fine_condition(tokens, features) != before).any(dim=-1)[0]
        assert differs.tolist() == [token == 6 for token in range(8)]


def test_conditions_are_the_transformers_plus_the_fine_ones() -> None:
    model = random_model("tiny").model
    assert model.image_encoder is not None
    assert model.fine_condition is not None
    image = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    latent, features = model.image_encoder(image)
    tokens = latent.flatten(2).transpose(1, 2)
    plain = model.transformer(tokens)[:, 8:]
    torch.testing.assert_close(
        model.condition(tokens, features), plain + model.fine_condition(tokens, features)
    )


def test_fine_features_need_an_encoder_that_gives_them() -> None:
    published = preset("base-768")
    with pytest.raises(CamsegError, match="fine_condition needs an image encoder"):
        replace(published, fine_condition=preset("tiny").fine_condition)
