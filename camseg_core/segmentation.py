# SPDX-License-Identifier: Apache-2.0
"""The result for one image: class ids, confidence, and probabilities in more detail when asked for.

Shapes: H, W = the image's size; H', W' = the model input's; C = classes; h, w = token grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from camseg_core.images.arrays import UInt8
from camseg_core.images.fit import Fit

InferenceStage = Literal["prepare", "image_encoder", "transformer", "denoiser", "decoder", "finish"]
NO_NUMBER = "the networks gave no number for some pixels, which are unlabeled"
"""What is told where `Segmentation.has_no_number` is true."""

STAGES: tuple[InferenceStage, ...] = get_args(InferenceStage)
NETWORK_STAGES = STAGES[1:-1]
"""The stages in which the networks run; the first and the last one prepare and finish pixels."""


@dataclass(frozen=True)
class Segmentation:
    """The result for one image.

    Attributes:
        class_ids: uint8 [H, W] at the image's size, 0..C-1, 255 = unlabeled.
        confidence: uint8 [H, W], the largest class probability x 255, rounded.
        logarithms: of class probabilities as they were decoded, float [C, ...], on the model's
            device.
        fit: how the image lies in the model's input.
        stride: pixels of a token's side.
        has_no_number: true if the networks gave infinite values or none for some pixels, which are
            unlabeled and have no confidence.
        stage_seconds: wall time per stage on the steady clock; a batch's time is on each result.
    """

    class_ids: UInt8
    confidence: UInt8
    logarithms: Tensor = field(repr=False, compare=False)
    fit: Fit = field(repr=False)
    stride: int = field(repr=False)
    has_no_number: bool
    stage_seconds: dict[InferenceStage, float] = field(compare=False)

    @cached_property
    def input_probabilities(self) -> Tensor:
        """Probability per class at the model's input size, float [C, H', W'].

        What is missing to 1 is void's share. Computed when asked for.
        """
        with torch.inference_mode():
            size = self.fit.input_height, self.fit.input_width
            if tuple(self.logarithms.shape[1:]) == size:
                return self.logarithms.exp()
            enlarged = enlarged_logarithms(self.logarithms[None], size)[0].exp_()  # [C, H', W']
            return enlarged.div_(enlarged.sum(dim=0, keepdim=True))

    @cached_property
    def token_probabilities(self) -> UInt8:
        """Probability x 255 per class and token, uint8 [h, w, C].

        The mean over each token's pixels that lie inside the image. Computed when asked for.
        """
        probabilities, fit = self.input_probabilities, self.fit
        inside = torch.zeros_like(probabilities[:1])  # [1, H', W']
        inside[:, : fit.scaled_height, : fit.scaled_width] = 1.0
        sums = F.avg_pool2d(probabilities * inside, self.stride)  # [C, h, w]
        means = sums / F.avg_pool2d(inside, self.stride)  # [C, h, w]
        array: UInt8 = as_255ths(means.permute(1, 2, 0)).cpu().numpy()
        return array

    @cached_property
    def class_probabilities(self) -> NDArray[np.float32]:
        """Probability per class and pixel at the image's size, float32 [C, H, W].

        By nearest neighbour, as the class ids; not-a-number is 0. Computed when asked for.
        """
        probabilities = self.input_probabilities.float().nan_to_num(0.0).cpu().numpy()
        return np.stack([self.fit.from_input(channel) for channel in probabilities])


def as_255ths(shares: Tensor) -> Tensor:
    """Turn shares 0..1 into uint8 0..255, rounded; not-a-number is no confidence."""
    return (shares.nan_to_num(0.0) * 255.0).round_().to(torch.uint8)


def enlarged_logarithms(logarithms: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge logarithms of probabilities [B, C, h, w]: enlarged probabilities blur thin things."""
    return F.interpolate(logarithms, size, mode="bilinear", align_corners=False)  # [B, C, H', W']
