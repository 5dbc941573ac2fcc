# SPDX-License-Identifier: Apache-2.0
"""Does this device compute what the weights should? `camseg_core.weights.known_answer` has what."""

from __future__ import annotations

import numpy as np
import torch

from camseg_core.diffusion.options import Precision
from camseg_core.errors import CamsegError
from camseg_core.inference.networks import Networks
from camseg_core.weights.known_answer import (
    KnownAnswer,
    input_image,
    input_timestep,
    input_tokens,
    some_values,
)

TOLERANCE: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 0.1}
"""Largest relative error of a part's output. The largest ones measured are 2e-5 and 0.065, see
docs/model.md; weights that are deeper than those may round more often."""

TENSOR_CORE_TOLERANCE = 0.005
"""The same for float32 where a GPU multiplies it with the 11 significant bits of TF32 or float16:
half the error measured with bfloat16's 8 bits, which is four times what is to be expected."""


@torch.inference_mode()
def relative_errors(
    networks: Networks, answer: KnownAnswer, precision: Precision
) -> dict[str, float]:
    """Return by part the norm of the difference from the known answer over the answer's norm."""
    size = answer.height, answer.width
    stride = networks.config.stride
    grid = size[0] // stride, size[1] // stride
    tokens = input_tokens(networks.config, *size).to(networks.device)  # [1, L, Z]
    encoded = networks.encode(input_image(*size).to(networks.device), precision)
    condition = networks.condition(encoded, precision)  # [1, L, D]
    denoise = networks.denoiser(condition, precision)
    has_one = networks.config.mask_decoder is not None
    decode = networks.class_logits if has_one else networks.colors
    found = {
        "condition": condition,
        "denoiser": denoise(tokens, input_timestep(networks.config)),
        "decoder": decode(tokens, grid, precision),
    }
    errors = {}
    for part, output in found.items():
        expected = np.array(getattr(answer, part))  # [values]
        difference = np.linalg.norm(some_values(output) - expected)
        errors[part] = float(difference / max(float(np.linalg.norm(expected)), 1e-12))
    return errors


def check_known_answer(networks: Networks, answer: KnownAnswer, precision: Precision) -> None:
    """Refuse a device that computes something else.

    Raises:
        CamsegError: a part differs by more than rounding in this precision may.
    """
    allowed = TOLERANCE[precision]
    if not networks.has_exact_float32:
        allowed = max(allowed, TENSOR_CORE_TOLERANCE)
    for part, error in relative_errors(networks, answer, precision).items():
        if not error <= allowed:  # also where it is not a number
            raise CamsegError(
                f"{networks.device_name} computes something else than these weights should: in "
                f"{precision} the {part} is off by {100 * error:.2g} %, and rounding explains at "
                f"most {100 * allowed:g} %; choose another device, backend or precision, or "
                "install other versions of PyTorch, ONNX Runtime or the driver"
            )
