# SPDX-License-Identifier: Apache-2.0
"""A light image encoder of our own: image tokens and fine features at a small price.

The published model encodes images with the KL autoencoder, whose 128 channels at full resolution
cost most of the time. Here the first convolution halves the resolution and the second one halves it
again; residual blocks follow at a quarter, an eighth and a sixteenth, and at a thirty-second, whose
view of the scene is added to the sixteenth's.

Shapes: B = batch; H, W = image size in pixels, multiples of 16; C1 to C4 = widths; Z = channels of
an image token.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from camseg_core.models.convolution import NormedConv, StridedBlocks
from camseg_core.models.part_configs import ImageEncoderConfig

Features = tuple[Tensor, Tensor]
"""Features at a quarter and an eighth of the image: [B, C2, H/4, W/4] and [B, C3, H/8, W/8]."""


class ImageEncoder(nn.Module):
    """RGB images to image tokens on the token grid, and features at two finer resolutions."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        """Build at the size of ``config``."""
        super().__init__()
        self.config = config
        half, quarter, eighth, sixteenth = config.widths
        self.stem = NormedConv(3, half, stride=2)
        self.quarter = StridedBlocks(half, quarter, config.depths[0])
        self.eighth = StridedBlocks(quarter, eighth, config.depths[1])
        self.sixteenth = StridedBlocks(eighth, sixteenth, config.depths[2])
        self.context = StridedBlocks(sixteenth, sixteenth, config.depths[3])
        self.to_tokens = nn.Conv2d(sixteenth, config.token_channels, kernel_size=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Features]:
        """Encode RGB in [-1, 1], [B, 3, H, W].

        Returns:
            Image latent [B, Z, H/16, W/16], and `Features`.
        """
        x = F.relu_(self.stem(image))  # [B, C1, H/2, W/2]
        quarter = self.quarter(x)  # [B, C2, H/4, W/4]
        eighth = self.eighth(quarter)  # [B, C3, H/8, W/8]
        x = self.sixteenth(eighth)  # [B, C4, H/16, W/16]
        context = F.interpolate(self.context(x), size=x.shape[2:], mode="nearest")
        x = x + context  # [B, C4, H/16, W/16]
        latent: Tensor = self.to_tokens(x)  # [B, Z, H/16, W/16]
        return latent, (quarter, eighth)
