# SPDX-License-Identifier: Apache-2.0
"""The published files: which tensors are weights, their names here, and the sizes they tell."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from camseg_core.errors import CamsegError
from camseg_core.models.autoencoder import Autoencoder
from camseg_core.models.camseg import CamSeg
from camseg_core.models.configs import DiffusionConfig, InputConfig, ModelConfig
from camseg_core.models.denoiser import Denoiser
from camseg_core.models.part_configs import AutoencoderConfig, DenoiserConfig, TransformerConfig
from camseg_core.models.transformer import MaskedTransformer
from camseg_core.weights.loading import build_model
from camseg_core.weights.published_format import (
    infer_config,
    infer_transformer,
    published_name,
    read_autoencoder,
    read_transformer,
)
from camseg_core.weights.unpickling import load_without_code

TRANSFORMER_FILES = ("transformer.pth", "transformer_torchrun.pth")


@pytest.fixture(scope="module")
def tensors(parity: Path) -> dict[str, Tensor]:
    return read_transformer(parity / "transformer.pth") | read_autoencoder(parity / "vae.ckpt")


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", TRANSFORMER_FILES)
def test_transformer_and_denoiser_have_their_own_prefix(parity: Path, name: str) -> None:
    stored = load_without_code(parity / name)["model"]
    expected = {}
    for key, tensor in stored.items():
        bare = key[len("module.") :] if key.startswith("module.") else key
        part = "denoiser." if bare.startswith("diffloss.net.") else "transformer."
        expected[part + bare.replace("diffloss.net.", "")] = tensor
    found = read_transformer(parity / name)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key
        assert not found[key].requires_grad
    assert not any("module." in key for key in found)
    assert {key.partition(".")[0] for key in found} == {"transformer", "denoiser"}


PREFIXES = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_wrappers_put_into_names_is_left_out(
    data: st.DataObject, parity: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stored = load_without_code(parity / "transformer.pth")["model"]
    wrappers = st.lists(st.sampled_from(PREFIXES), max_size=3)
    chosen = ["z_proj1.weight", "diffloss.net.input_proj.weight", "mask_token"]
    table = {}
    for name in chosen:
        parts = [part for own in name.split(".") for part in (*data.draw(wrappers), own)]
        table[".".join(parts)] = stored[name]
    path = saved(tmp_path_factory.mktemp("wrapped") / "file.pth", {"model": table})
    assert set(read_transformer(path)) == {
        "transformer.z_proj1.weight", "denoiser.input_proj.weight", "transformer.mask_token",
    }  # fmt: skip


def test_names_that_wrappers_alone_tell_apart_are_refused(tmp_path: Path) -> None:
    table = {"module.a": torch.ones(1), "_orig_mod.a": torch.ones(1)}
    path = saved(tmp_path / "file.pth", {"model": table})
    with pytest.raises(CamsegError, match="names differ by torch's wrappers alone"):
        read_transformer(path)


def test_the_training_losses_of_the_autoencoder_file_are_left_out(parity: Path) -> None:
    stored = load_without_code(parity / "vae.ckpt")["state_dict"]
    found = read_autoencoder(parity / "vae.ckpt")
    assert found.keys() == {
        f"autoencoder.{key}" for key in stored if key.partition(".")[0] != "loss"
    }
    assert len(found) < len(stored)
    for key, tensor in found.items():
        assert torch.equal(tensor, stored[key.removeprefix("autoencoder.")])


def test_the_sizes_are_those_of_the_config(parity: Path, tensors: dict[str, Tensor]) -> None:
    stated = json.loads((parity / "config.json").read_text())
    vae, sizes = stated["vae"], stated["transformer"]
    side = math.isqrt(sizes["seq_len"])
    attends = [
        256 // 2**level
        for level in range(len(vae["ch_mult"]))
        if vae["resolution"] // 2**level in vae["attn_resolutions"]
    ]
    config = infer_config(tensors, "small", num_heads=sizes["num_heads"])
    expected = model_config(
        channels=vae["ch"],
        multipliers=tuple(vae["ch_mult"]),
        num_res_blocks=vae["num_res_blocks"],
        latent_channels=vae["z_channels"],
        attention=tuple(attends),
        width=sizes["embed_dim"],
        depths=(sizes["depth"], sizes["depth"]),
        hidden=sizes["mlp_ratio"] * sizes["embed_dim"],
        side=side,
        denoiser=(stated["denoiser"]["width"], stated["denoiser"]["depth"]),
        patch_size=sizes["patch_size"],
    )
    transformer = replace(expected.transformer, num_heads=sizes["num_heads"])
    assert config == replace(expected, name="small", transformer=transformer)
    assert config.stride == vae["stride"]
    assert config.input == InputConfig("squash", height=sizes["img_size"], width=sizes["img_size"])
    assert config.autoencoder.latent_scale == vae["latent_scale"]


def model_config(
    *,
    channels: int = 32,
    multipliers: tuple[int, ...] = (1, 2),
    num_res_blocks: int = 1,
    latent_channels: int = 4,
    attention: tuple[int, ...] = (),
    width: int = 24,
    depths: tuple[int, int] = (1, 1),
    hidden: int = 96,
    side: int = 3,
    denoiser: tuple[int, int] = (16, 1),
    patch_size: int = 1,
) -> ModelConfig:
    """Return a published-like model of any size."""
    token_channels = latent_channels * patch_size**2
    pixels = side * 2 ** (len(multipliers) - 1) * patch_size
    return ModelConfig(
        name="any",
        autoencoder=AutoencoderConfig(
            channels=channels,
            channel_multipliers=multipliers,
            num_res_blocks=num_res_blocks,
            latent_channels=latent_channels,
            resolution=256,
            attention_resolutions=attention,
            latent_scale=0.2325,
        ),
        transformer=TransformerConfig(
            width=width,
            encoder_depth=depths[0],
            decoder_depth=depths[1],
            num_heads=2,
            mlp_ratio=hidden / width,
            image_token_channels=token_channels,
            token_channels=token_channels,
            grid_height=side,
            grid_width=side,
            dropout=0.1,
        ),
        denoiser=DenoiserConfig(
            width=denoiser[0],
            depth=denoiser[1],
            token_channels=token_channels,
            condition_channels=width,
        ),
        diffusion=DiffusionConfig(prediction="epsilon", first_timestep=999),
        input=InputConfig(resize="squash", height=pixels, width=pixels),
        patch_size=patch_size,
        palette_temperature=0.01,
    )


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"channels": 64, "multipliers": (1, 1, 3, 2)},
        {"multipliers": (1,), "side": 1},
        {"num_res_blocks": 3},
        {"latent_channels": 16, "attention": (128,)},
        {"multipliers": (1, 1, 1), "attention": (256, 64)},
        {"width": 32, "hidden": 32, "depths": (3, 1)},
        {"depths": (1, 12)},
        {"hidden": 72},
        {"side": 7},
        {"denoiser": (40, 11)},
        {"patch_size": 2},
        {"patch_size": 3, "latent_channels": 3},
    ],
    ids=str,
)
def test_every_size_is_read_off_the_tensors(sizes: dict[str, Any]) -> None:
    config = model_config(**sizes)
    with torch.device("meta"):
        model = CamSeg(
            config,
            Autoencoder(config.autoencoder),
            MaskedTransformer(config.transformer),
            Denoiser(config.denoiser),
        )
    assert infer_config(model.state_dict(), "any", num_heads=2) == config


def transformer_tensors(config: TransformerConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        state = MaskedTransformer(config).state_dict()
    return {f"transformer.{key}": tensor for key, tensor in state.items()}


@pytest.mark.parametrize(("width", "hidden"), [(28, 61), (44, 30), (48, 129), (768, 3071)])
def test_any_hidden_width_survives_the_ratio_that_stands_for_it(width: int, hidden: int) -> None:
    config = model_config(width=width, hidden=hidden).transformer
    tensors = transformer_tensors(replace(config, mlp_ratio=4.0))
    with torch.device("meta"):
        tensors["transformer.encoder_blocks.0.mlp.fc1.weight"] = torch.empty(hidden, width)
        rebuilt = MaskedTransformer(infer_transformer(tensors, num_heads=2))
    assert rebuilt.encoder_blocks[0].mlp.fc1.weight.shape == (hidden, width)


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (1024, 16), (1280, 16)])
def test_published_widths_tell_their_heads(width: int, heads: int) -> None:
    tensors = transformer_tensors(model_config(width=width, hidden=width).transformer)
    assert infer_transformer(tensors, num_heads=None).num_heads == heads
    assert infer_transformer(tensors, num_heads=8).num_heads == 8


def test_other_widths_need_the_number_of_heads(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(
        CamsegError,
        match=r"no tensor tells the number of attention heads, and width 48 is none of the "
        r"published \(768, 1024, 1280\); state it with --heads",
    ):
        infer_config(tensors, "small", num_heads=None)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (5, "transformer width 48 is not a multiple of its 5 heads"),
        (0, "TransformerConfig.num_heads is 0; a whole number from 1 to "),
        (-4, "TransformerConfig.num_heads is -4; a whole number from 1 to "),
    ],
)
def test_a_wrong_number_of_heads_is_refused(
    tensors: dict[str, Tensor], heads: int, message: str
) -> None:
    with pytest.raises(CamsegError, match=message):
        infer_config(tensors, "small", num_heads=heads)


SIZE_TENSORS = (
    "transformer.z_proj1.weight",
    "transformer.encoder_pos_embed_learned",
    "transformer.encoder_blocks.0.mlp.fc1.weight",
    "denoiser.input_proj.weight",
    "denoiser.cond_embed.weight",
    "autoencoder.encoder.conv_in.weight",
    "autoencoder.post_quant_conv.weight",
    "autoencoder.encoder.down.3.block.0.conv1.weight",
)


@pytest.mark.parametrize("key", SIZE_TENSORS)
def test_a_tensor_that_tells_a_size_is_missed_by_name(tensors: dict[str, Tensor], key: str) -> None:
    left = {name: tensor for name, tensor in tensors.items() if name != key}
    with pytest.raises(CamsegError, match=f"the weights lack {re.escape(key)}, which tells a size"):
        infer_config(left, "small", num_heads=4)


@pytest.mark.parametrize("key", SIZE_TENSORS)
@pytest.mark.parametrize("shape", [(), (0, 0), (0, 0, 0, 0), (1, 2, 3, 4, 5)])
def test_a_tensor_of_a_senseless_shape_is_refused(
    tensors: dict[str, Tensor], key: str, shape: tuple[int, ...]
) -> None:
    changed = {**tensors, key: torch.empty(shape)}
    with pytest.raises(CamsegError, match=f"{re.escape(key)}|above 0 is needed|positive multiple"):
        build_model(infer_config(changed, "small", num_heads=4), changed, "the files")


@pytest.mark.parametrize("part", ["encoder_blocks", "decoder_blocks", "res_blocks", "encoder.down"])
def test_a_model_without_blocks_is_refused(tensors: dict[str, Tensor], part: str) -> None:
    left = {name: tensor for name, tensor in tensors.items() if f".{part}." not in name}
    with pytest.raises(CamsegError, match="the weights .*, which tells a size of the model"):
        infer_config(left, "small", num_heads=4)


def test_a_token_grid_that_is_no_square_is_refused(tensors: dict[str, Tensor]) -> None:
    key = "transformer.encoder_pos_embed_learned"
    with pytest.raises(CamsegError, match=f"{key} has 30 positions; two halves of a square token"):
        infer_config({**tensors, key: torch.empty(1, 30, 48)}, "small", num_heads=4)


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("denoiser.cond_embed.weight", (64, 40), "takes conditions of width 40, .* gives 48"),
        ("denoiser.input_proj.weight", (64, 8), "token channels differ: .* 16, .* 16, the denoi"),
        ("transformer.z_proj1.weight", (48, 24), "token channels differ: .* 16, .* takes 24"),
    ],
)
def test_parts_of_two_models_are_refused(
    tensors: dict[str, Tensor], key: str, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(CamsegError, match=message):
        infer_config({**tensors, key: torch.empty(shape)}, "small", num_heads=4)


def test_published_names_are_those_in_the_files(parity: Path, tensors: dict[str, Tensor]) -> None:
    transformer = load_without_code(parity / "transformer.pth")["model"]
    autoencoder = load_without_code(parity / "vae.ckpt")["state_dict"]
    names = [published_name(key) for key in tensors]
    assert {name for part, name in names if part == "transformer"} == set(transformer)
    assert {name for part, name in names if part == "autoencoder"} == {
        key for key in autoencoder if not key.startswith("loss.")
    }


Reader = Callable[[Path], dict[str, Tensor]]


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (read_transformer, {"model": 3}, "it has no 'model' table of tensors; .* are model"),
        (read_transformer, {}, "it has no 'model' table of tensors; .* are nothing"),
        (read_transformer, [1, 2], "it has no 'model' table of tensors; .* are a list"),
        (
            read_transformer,
            {"model": {"conv1.weight": torch.ones(1), "fc.bias": torch.ones(1)}},
            "is of another model: it has no transformer.z_proj1.weight and no "
            "denoiser.input_proj.weight; its tensors are transformer.conv1.weight, "
            "transformer.fc.bias",
        ),
        (
            read_autoencoder,
            {"model": {}, "optimizer": {}, "a": 1, "b": 1, "c": 1, "d": 1},
            r"no CAM-Seg autoencoder file: it has no 'state_dict' table of tensors; "
            r"at its top level are model, optimizer, a, b, c, \.\.\. \(6 in all\)",
        ),
        (
            read_autoencoder,
            {"state_dict": {"encoder.conv_in.weight": [1.0]}},
            "has entries that are no tensors: encoder.conv_in.weight",
        ),
    ],
)
def test_a_file_of_another_kind_is_described(
    tmp_path: Path, reader: Reader, content: Any, message: str
) -> None:
    path = saved(tmp_path / "file.pth", content)
    with pytest.raises(CamsegError, match=f"^{re.escape(str(path))} .*{message}") as caught:
        reader(path)
    assert "\n" not in str(caught.value)


def test_what_a_file_does_not_hold_is_said(parity: Path, tmp_path: Path) -> None:
    with pytest.raises(CamsegError, match="no CAM-Seg transformer file: it has no 'model' table"):
        read_transformer(parity / "vae.ckpt")
    with pytest.raises(CamsegError, match="no CAM-Seg autoencoder file: it has no 'state_dict'"):
        read_autoencoder(parity / "transformer.pth")
    with pytest.raises(CamsegError, match="it has no 'model_ema' table of tensors"):
        read_transformer(saved(tmp_path / "file.pth", {"model": {}}), "model_ema")
