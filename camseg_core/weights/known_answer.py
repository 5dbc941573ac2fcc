# SPDX-License-Identifier: Apache-2.0
"""The known answer that weights carry: what their networks make of a small input.

The input is a formula, so that only the answer is stored. Each part of the model is asked once, as
the published code runs it, on the CPU in float32; `camseg_core.inference.known_answer` asks the
same of a device.

Shapes: H', W' = the input's size; L = tokens; Z = channels of a mask token.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from camseg_core.models.camseg import CamSeg
from camseg_core.models.configs import ModelConfig
from camseg_core.models.transformer import latent_from_tokens

TOKENS_PER_SIDE = 8
"""Size of the input where none is given: it takes milliseconds, also at the published width."""

VALUES_PER_PART = 64
"""How many values of a part's output are stored, evenly spaced over it."""

DIGITS = 6
"""Significant digits of the stored values."""


@dataclass(frozen=True)
class KnownAnswer:
    """Values of each part's output, as `some_values` takes them.

    Attributes:
        height, width: size of the input in pixels.
        condition: of the conditions of the input image.
        denoiser: of one step of the input tokens, at half the noise, under these conditions.
        decoder: of what the input tokens decode to: logits of classes, or colours.
    """

    height: int
    width: int
    condition: tuple[float, ...]
    denoiser: tuple[float, ...]
    decoder: tuple[float, ...]


@torch.inference_mode()
def known_answer(model: CamSeg, size: tuple[int, int] | None = None) -> KnownAnswer | None:
    """Ask a model on the CPU in float32; None where an answer is infinite or not a number.

    Args:
        model: the networks, in evaluation mode, in any precision on any device.
        size: height and width of the input in pixels; `TOKENS_PER_SIDE` squared without.
    """
    if {(one.dtype, one.device.type) for one in model.parameters()} != {(torch.float32, "cpu")}:
        model = deepcopy(model).to("cpu", torch.float32)  # e.g. of an export as float16
    config = model.config
    height, width = size or (TOKENS_PER_SIDE * config.stride,) * 2
    grid = height // config.stride, width // config.stride
    tokens = input_tokens(config, height, width)  # [1, L, Z]
    latent = latent_from_tokens(tokens, grid, config.patch_size)
    image_tokens, features = model.encode_image(input_image(height, width))
    condition = model.condition(image_tokens, features, grid=grid)  # [1, L, D]
    timestep = torch.full((1,), input_timestep(config))
    decoded = (
        model.decode_classes(latent)
        if model.mask_decoder is not None
        else model.color_autoencoder.decode(latent)
    )
    answers = [
        some_values(output)
        for output in (condition, model.denoiser(tokens, timestep, condition), decoded)
    ]
    if not all(np.isfinite(values).all() for values in answers):
        return None
    rounded = [tuple(float(f"{value:.{DIGITS}g}") for value in values) for values in answers]
    return KnownAnswer(height, width, *rounded)


def input_image(height: int, width: int) -> Tensor:
    """Return the input image [1, 3, H', W'] in [-1, 1]: waves of another direction per channel."""
    rows, columns = np.mgrid[:height, :width]
    waves = [
        0.6 * np.sin(0.11 * rows + slope * columns) + 0.4 * np.cos(0.7 * rows - 0.5 * columns)
        for slope in (0.07, 0.19, -0.13)
    ]
    return torch.from_numpy(np.stack(waves)[None]).float()


def input_tokens(config: ModelConfig, height: int, width: int) -> Tensor:
    """Return the input tokens [1, L, Z]: values of variance 1 that repeat nowhere."""
    length = (height // config.stride) * (width // config.stride)
    channels = config.transformer.token_channels
    values = np.sqrt(2.0) * np.sin(2.399963 * np.arange(length * channels))  # the golden angle
    return torch.from_numpy(values.reshape(1, length, channels)).float()


def input_timestep(config: ModelConfig) -> int:
    """Return the timestep: one at which every model may compute in bfloat16."""
    return config.diffusion.first_timestep // 2


def some_values(output: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return `VALUES_PER_PART` values, or all if there are fewer, evenly spaced over a tensor."""
    flat = output.detach().flatten()  # as if it were contiguous, whatever its memory format
    places = np.linspace(0, len(flat) - 1, min(VALUES_PER_PART, len(flat))).round().astype(int)
    return flat[torch.from_numpy(places).to(flat.device)].double().cpu().numpy()
