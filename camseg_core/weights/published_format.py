# SPDX-License-Identifier: Apache-2.0
"""The published file formats: names of the weights in them, and the sizes their tensors tell.

``transformer.pth`` holds ``model`` and ``model_ema``, with the denoiser under ``diffloss.net.``;
``vae.ckpt`` is Lightning's, with the autoencoder in ``state_dict`` beside training losses under
``loss.``. Parts of names that torch's wrappers put in, such as ``module.``, are left out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from camseg_core.errors import CamsegError
from camseg_core.models.configs import DiffusionConfig, InputConfig, ModelConfig
from camseg_core.models.part_configs import AutoencoderConfig, DenoiserConfig, TransformerConfig
from camseg_core.models.presets import DEFAULT_PALETTE_TEMPERATURE, HEADS_BY_WIDTH
from camseg_core.system.files import read_bytes
from camseg_core.weights.unpickling import load_without_code

Tensors = dict[str, Tensor]
Variant = Literal["model", "model_ema"]

PUBLISHED_FILES = ("mar/city768.16.pth", "vae/modelf16.ckpt")
"""Paths of transformer and autoencoder below the folder ``pretrained_models`` that is published."""

DENOISER_PREFIX = "diffloss.net."
LATENT_SCALE = 0.2325
AUTOENCODER_RESOLUTION = 256
WRAPPER = re.compile(
    r"(?<![^.])(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""Part of a parameter's name that a wrapper of torch puts in, at any depth."""


def read_transformer(path: Path, variant: Variant = "model") -> Tensors:
    """Read transformer and denoiser tensors, keyed ``transformer.*`` and ``denoiser.*``.

    Raises:
        CamsegError: unreadable, or not of this format.
    """
    named = {
        f"denoiser.{key.removeprefix(DENOISER_PREFIX)}"
        if key.startswith(DENOISER_PREFIX)
        else f"transformer.{key}": tensor
        for key, tensor in _read_table(path, variant, "transformer").items()
    }
    _require(named, ("transformer.z_proj1.weight", "denoiser.input_proj.weight"), path)
    return named


def read_autoencoder(path: Path) -> Tensors:
    """Read autoencoder tensors, keyed ``autoencoder.*``; the training losses are left out.

    Raises:
        CamsegError: unreadable, or not of this format.
    """
    named = {
        f"autoencoder.{key}": tensor
        for key, tensor in _read_table(path, "state_dict", "autoencoder").items()
        if not key.startswith("loss.")
    }
    _require(named, ("autoencoder.encoder.conv_in.weight",), path)
    return named


def read_num_heads(path: Path) -> int:
    """Read ``transformer.num_heads`` of the ``config.json`` beside published files.

    Raises:
        CamsegError: no such file, or it does not state the number.
    """
    content = read_bytes(path)
    try:
        return int(json.loads(content)["transformer"]["num_heads"])
    except (ValueError, KeyError, TypeError) as error:
        raise CamsegError(f"{path} states no transformer.num_heads: {error!r}") from error


def published_name(key: str) -> tuple[str, str]:
    """Return the file part and the name that ``key`` of our state dict has in the published files.

    ``denoiser.x`` is ``("transformer", "diffloss.net.x")``: the denoiser is in that file.
    """
    part, _, name = key.partition(".")
    if part == "denoiser":
        return "transformer", DENOISER_PREFIX + name
    return part, name


def infer_config(tensors: Mapping[str, Tensor], name: str, num_heads: int | None) -> ModelConfig:
    """Read every size off the tensors of all parts.

    Args:
        tensors: Tensors keyed ``autoencoder.*``, ``transformer.*``, ``denoiser.*``.
        name: Name of the configuration.
        num_heads: Number of attention heads, which no tensor tells; that of the published width
            if not given.

    Raises:
        CamsegError: a tensor that tells a size is missing or of the wrong rank, or the parts do
            not fit together.
    """
    autoencoder = infer_autoencoder(tensors)
    transformer = infer_transformer(tensors, num_heads)
    denoiser = DenoiserConfig(
        width=_size(tensors, "denoiser.input_proj.weight", 0, rank=2),
        depth=_count(tensors, r"denoiser\.res_blocks\.(\d+)\."),
        token_channels=_size(tensors, "denoiser.input_proj.weight", 1, rank=2),
        condition_channels=_size(tensors, "denoiser.cond_embed.weight", 1, rank=2),
    )
    patch_size = max(1, math.isqrt(transformer.token_channels // autoencoder.latent_channels))
    stride = autoencoder.stride * patch_size
    return ModelConfig(
        name=name,
        autoencoder=autoencoder,
        transformer=transformer,
        denoiser=denoiser,
        diffusion=DiffusionConfig(prediction="epsilon", first_timestep=999),
        input=InputConfig(
            resize="squash",
            height=transformer.grid_height * stride,
            width=transformer.grid_width * stride,
        ),
        patch_size=patch_size,
        palette_temperature=DEFAULT_PALETTE_TEMPERATURE,
    )


def infer_autoencoder(tensors: Mapping[str, Tensor]) -> AutoencoderConfig:
    """Read the autoencoder's sizes off its tensors; see `infer_config`."""
    prefix = "autoencoder.encoder."
    channels = _size(tensors, f"{prefix}conv_in.weight", 0, rank=4)
    levels = _count(tensors, r"autoencoder\.encoder\.down\.(\d+)\.")
    widths = [
        _size(tensors, f"{prefix}down.{level}.block.0.conv1.weight", 0, rank=4)
        for level in range(levels)
    ]
    attends = [
        AUTOENCODER_RESOLUTION // 2**level
        for level in range(levels)
        if any(key.startswith(f"{prefix}down.{level}.attn.") for key in tensors)
    ]
    return AutoencoderConfig(
        channels=channels,
        channel_multipliers=tuple(max(1, width // max(1, channels)) for width in widths),
        num_res_blocks=_count(tensors, r"autoencoder\.encoder\.down\.0\.block\.(\d+)\."),
        latent_channels=_size(tensors, "autoencoder.post_quant_conv.weight", 1, rank=4),
        # Tensors tell which levels attend, not from which side they were counted: any will do.
        resolution=AUTOENCODER_RESOLUTION,
        attention_resolutions=tuple(attends),
        latent_scale=LATENT_SCALE,
    )


def infer_transformer(tensors: Mapping[str, Tensor], num_heads: int | None) -> TransformerConfig:
    """Read the transformer's sizes off its tensors; see `infer_config`."""
    width = _size(tensors, "transformer.z_proj1.weight", 0, rank=2)
    positions = _size(tensors, "transformer.encoder_pos_embed_learned", 1, rank=3)
    side = math.isqrt(positions // 2)
    if 2 * side * side != positions:
        raise CamsegError(
            f"transformer.encoder_pos_embed_learned has {positions} positions; "
            "two halves of a square token grid are needed"
        )
    heads = num_heads if num_heads is not None else HEADS_BY_WIDTH.get(width)
    if heads is None:
        raise CamsegError(
            f"no tensor tells the number of attention heads, and width {width} is none of the "
            f"published ({', '.join(map(str, HEADS_BY_WIDTH))}); state it with --heads"
        )
    hidden = _size(tensors, "transformer.encoder_blocks.0.mlp.fc1.weight", 0, rank=2)
    return TransformerConfig(
        width=width,
        encoder_depth=_count(tensors, r"transformer\.encoder_blocks\.(\d+)\."),
        decoder_depth=_count(tensors, r"transformer\.decoder_blocks\.(\d+)\."),
        num_heads=heads,
        mlp_ratio=hidden / width,
        # One encoder makes both kinds of tokens.
        image_token_channels=_size(tensors, "transformer.z_proj1.weight", 1, rank=2),
        token_channels=_size(tensors, "transformer.z_proj1.weight", 1, rank=2),
        grid_height=side,
        grid_width=side,
        dropout=0.1,
    )


def _read_table(path: Path, name: str, part: str) -> Tensors:
    """Read the table ``name`` of the file of a ``part``: tensors by name, wrappers left out."""
    content = load_without_code(path)
    table = content.get(name) if isinstance(content, dict) else None
    if not isinstance(table, dict):
        found = map(str, content) if isinstance(content, dict) else [f"a {type(content).__name__}"]
        raise CamsegError(
            f"{path} is no CAM-Seg {part} file: it has no {name!r} table of tensors; "
            f"at its top level are {_some(found)}"
        )
    wrong = [str(key) for key, value in table.items() if not isinstance(value, Tensor)]
    if wrong:
        raise CamsegError(f"{path} has entries that are no tensors: {_some(wrong)}")
    tensors = {WRAPPER.sub("", str(key)): tensor for key, tensor in table.items()}
    if len(tensors) < len(table):
        raise CamsegError(f"{path} has tensors whose names differ by torch's wrappers alone")
    return tensors


def _require(tensors: Mapping[str, Tensor], keys: tuple[str, ...], path: Path) -> None:
    missing = [key for key in keys if key not in tensors]
    if missing:
        raise CamsegError(
            f"{path} is of another model: it has no {' and no '.join(missing)}; "
            f"its tensors are {_some(tensors)}"
        )


def _size(tensors: Mapping[str, Tensor], key: str, dimension: int, *, rank: int) -> int:
    if key not in tensors:
        raise CamsegError(f"the weights lack {key}, which tells a size of the model")
    shape = tuple(tensors[key].shape)
    if len(shape) != rank or 0 in shape:
        raise CamsegError(f"{key} has shape {shape}; {rank} dimensions above 0 are needed")
    return shape[dimension]


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """Count numbered modules: one more than the largest number that ``pattern`` finds."""
    numbers = [int(match[1]) for key in tensors if (match := re.match(pattern, key))]
    if not numbers:
        raise CamsegError(
            f"the weights have no tensor named like {pattern}, which tells a size of the model"
        )
    return max(numbers) + 1


def _some(keys: Iterable[str], most: int = 5) -> str:
    listed = list(keys)
    more = f", ... ({len(listed)} in all)" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more if listed else "nothing"
