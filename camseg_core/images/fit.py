# SPDX-License-Identifier: Apache-2.0
"""Resizing images from any camera to the model's input, and results back to the image's size.

Shapes: H, W = the image's size; H', W' = the model input's, multiples of the stride.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED
from camseg_core.models.configs import InputConfig

Value = TypeVar("Value", np.uint8, np.float32)


@dataclass(frozen=True)
class Fit:
    """How one image size maps to the model's input, in pixels.

    Attributes:
        height, width: size of the image.
        scaled_height, scaled_width: size of the resized image, which lies at the top left of
            the model's input.
        input_height, input_width: size of the model's input; the rest of it is padding.
    """

    height: int
    width: int
    scaled_height: int
    scaled_width: int
    input_height: int
    input_width: int

    @classmethod
    def of(cls, height: int, width: int, config: InputConfig, stride: int) -> Fit:
        """Return how the policy of ``config`` fits an image of ``height`` x ``width`` pixels."""
        if config.resize == "squash":
            return cls(height, width, config.height, config.width, config.height, config.width)
        scale = min(config.height / height, config.width / width)
        scaled_height = min(max(1, round(height * scale)), config.height)
        scaled_width = min(max(1, round(width * scale)), config.width)
        return cls(
            height,
            width,
            scaled_height,
            scaled_width,
            -(-scaled_height // stride) * stride,
            -(-scaled_width // stride) * stride,
        )

    @property
    def _padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns of padding before and after the resized image."""
        return (
            (0, self.input_height - self.scaled_height),
            (0, self.input_width - self.scaled_width),
        )

    def to_input(self, image: UInt8) -> UInt8:
        """Resize and pad an image uint8 [H, W, 3] to [H', W', 3].

        Resizing is antialiased bilinear on uint8: Pillow's, in a quarter of the time, but for one
        grey level at about one value of a thousand. Padding repeats the border, so that it looks
        like more of the scene.
        """
        if (self.height, self.width) != (self.scaled_height, self.scaled_width):
            # A tensor cannot lie on memory that is read-only, or in another order.
            pixels = torch.from_numpy(np.require(image, requirements=["C", "W"]))  # [H, W, 3]
            resized = F.interpolate(
                pixels.permute(2, 0, 1)[None],  # [1, 3, H, W]
                (self.scaled_height, self.scaled_width),
                mode="bilinear",
                antialias=True,
            )
            image = resized[0].permute(1, 2, 0).contiguous().numpy()
        padding = (*self._padding, (0, 0))
        return np.pad(image, padding, mode="edge") if any(map(any, padding)) else image

    def to_input_ids(self, class_ids: UInt8) -> UInt8:
        """Resize class ids uint8 [H, W] to [H', W'], nearest neighbour; padding is unlabeled."""
        resized = cv2.resize(
            class_ids,
            (self.scaled_width, self.scaled_height),
            interpolation=cv2.INTER_NEAREST_EXACT,
        )
        return np.pad(np.asarray(resized, np.uint8), self._padding, constant_values=UNLABELED)

    def from_input(self, result: NDArray[Value]) -> NDArray[Value]:
        """Crop and resize a result [H', W'] (uint8 or float32) to [H, W], nearest neighbour.

        Neither ids nor palette colours can be blended.
        """
        inside = np.ascontiguousarray(result[: self.scaled_height, : self.scaled_width])
        if inside.shape == (self.height, self.width):
            return inside
        resized = cv2.resize(
            inside, (self.width, self.height), interpolation=cv2.INTER_NEAREST_EXACT
        )
        return np.asarray(resized, result.dtype)
