# SPDX-License-Identifier: Apache-2.0
"""One thing changed, everything else kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camseg_core.data.class_merges import MergeFile
from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, LabelSet
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import LoadedModel, load_model, save_model
from camseg_core.weights.variants import (
    with_input_size,
    with_label_set,
    with_mask_decoder,
    with_palette_temperature,
)


def changed_names(one: LoadedModel, two: LoadedModel) -> set[str]:
    first, second = one.model.state_dict(), two.model.state_dict()
    return {
        name
        for name in first.keys() | second.keys()
        if name not in first or name not in second or not first[name].equal(second[name])
    }


def test_the_palette_temperature_is_stored(tiny_model: LoadedModel, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    changed = with_palette_temperature(tiny_model, 0.0625)
    save_model(changed, path)
    loaded = load_model(path)
    assert loaded.config.palette_temperature == 0.0625
    assert replace(loaded.config, palette_temperature=0.01) == tiny_model.config
    assert tiny_model.config.palette_temperature == 0.01
    assert changed_names(loaded, tiny_model) == set()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_palette_temperature_is_above_zero(tiny_model: LoadedModel, temperature: float) -> None:
    with pytest.raises(CamsegError, match="ModelConfig.palette_temperature is .* above 0 is need"):
        with_palette_temperature(tiny_model, temperature)


def test_another_input_size_interpolates_positions(tiny_model: LoadedModel) -> None:
    changed = with_input_size(tiny_model, 48, 96)
    assert (changed.config.input.height, changed.config.input.width) == (48, 96)
    names = {
        f"transformer.{part}_pos_embed_learned" for part in ("encoder", "decoder", "diffusion")
    }
    assert changed_names(changed, tiny_model) == names
    # What the smaller model does for a 3 x 6 grid, the larger one does for its own.
    tokens = torch.randn(1, 18, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = tiny_model.model.transformer(tokens, grid=(3, 6))
        assert torch.equal(changed.model.transformer(tokens, grid=(3, 6)), expected)
    assert with_input_size(tiny_model, 32, 64).config == tiny_model.config


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (40, 64, "input size 40 x 64 does not match the token grid 2 x 4 at stride 16"),
        (32, 72, "input size 32 x 72 does not match the token grid 2 x 4 at stride 16"),
        (0, 64, "height is 0; a whole number from 1 to "),
    ],
)
def test_sides_are_multiples_of_the_stride(
    tiny_model: LoadedModel, height: int, width: int, message: str
) -> None:
    with pytest.raises(CamsegError, match=message):
        with_input_size(tiny_model, height, width)


def test_other_classes_renew_the_layers_that_touch_them(
    tiny_model: LoadedModel, tmp_path: Path
) -> None:
    save_model(with_label_set(tiny_model, CAMVID, seed=3), tmp_path / "model.safetensors")
    changed = load_model(tmp_path / "model.safetensors")
    assert changed.label_set == CAMVID
    assert changed_names(changed, tiny_model) == {
        "mask_decoder.to_logits.weight", "mask_decoder.to_logits.bias",
        "autoencoder.stem.conv.weight",
    }  # fmt: skip
    assert changed.model.state_dict()["mask_decoder.to_logits.bias"].shape == (44,)
    result = Segmenter(changed).segment(np.full((32, 64, 3), 90, np.uint8))
    assert result.class_ids.max() < 11


def test_other_classes_start_from_those_that_they_come_from(tiny_model: LoadedModel) -> None:
    three = LabelSet("three", ("road", "vehicle", "snow"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))
    origins = MergeFile("mine", {"road": ["road"], "vehicle": ["car", "truck"]})
    old = tiny_model.model.state_dict()
    new = with_label_set(tiny_model, three, merge=origins).model.state_dict()
    car, truck = (tiny_model.label_set.names.index(name) for name in ("car", "truck"))
    for name in ("mask_decoder.to_logits.weight", "mask_decoder.to_logits.bias"):
        before, after = old[name].unflatten(0, (-1, 4)), new[name].unflatten(0, (-1, 4))
        assert after[0].equal(before[0])
        assert torch.allclose(after[1], (before[car] + before[truck]) / 2)
    before, after = (one["autoencoder.stem.conv.weight"] for one in (old, new))
    assert after.shape[1] == 4
    assert after[:, 0].equal(before[:, 0])
    assert torch.allclose(after[:, 1], (before[:, car] + before[:, truck]) / 2)
    assert after[:, 3].equal(before[:, 19])  # unlabeled
    # By equal names where nothing is said; what comes from nothing is new.
    named = with_label_set(tiny_model, three, seed=7).model.state_dict()
    other = with_label_set(tiny_model, three, seed=8).model.state_dict()
    biases = [one["mask_decoder.to_logits.bias"].unflatten(0, (-1, 4)) for one in (named, other)]
    assert biases[0][0].equal(old["mask_decoder.to_logits.bias"][:4])
    assert not biases[0][1].equal(biases[1][1])
    with pytest.raises(CamsegError, match="merge 'mine' names 'vehicle', which is no class of"):
        with_label_set(tiny_model, CAMVID, merge=origins)


def test_a_published_model_has_no_mask_decoder_to_change(parity_model: LoadedModel) -> None:
    with pytest.raises(CamsegError, match="has no mask decoder: its classes cannot be replaced"):
        with_label_set(parity_model, CAMVID)


def test_a_mask_decoder_is_added_to_weights_that_have_none(
    parity_model: LoadedModel, tiny_model: LoadedModel
) -> None:
    decoding = with_mask_decoder(parity_model)
    added = changed_names(parity_model, decoding)
    assert added
    assert all(name.startswith("mask_decoder.") for name in added)
    assert decoding.config.mask_decoder is not None
    size = decoding.config.input
    image = np.zeros((size.height, size.width, 3), np.uint8)
    by_decoder = Segmenter(decoding).segment(image).logarithms
    by_palette = Segmenter(parity_model).segment(image).logarithms
    assert by_decoder.shape == (19, size.height // 2, size.width // 2)
    assert by_palette.shape == (19, size.height, size.width)
    assert with_mask_decoder(tiny_model) is tiny_model
