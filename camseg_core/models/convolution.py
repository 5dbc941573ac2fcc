# SPDX-License-Identifier: Apache-2.0
"""The convolutions that our own networks are made of. B = batch; C = channels; H, W = size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Give a 3 x 3 convolution that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


class ConvBlock(nn.Module):
    """Pre-activation residual block (He et al. 2016, arXiv 1603.05027) with group norm.

    Plain 3 x 3 convolutions: on CPUs they are faster than depthwise ones of the same reach. The
    second one starts at zero, so that a new block is the identity.
    """

    def __init__(self, channels: int) -> None:
        """Build for ``channels`` channels, a multiple of 8."""
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.conv1 = conv3x3(channels, channels)
        self.norm2 = nn.GroupNorm(GROUPS, channels)
        self.conv2 = conv3x3(channels, channels)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))  # [B, C, H, W]
        out: Tensor = x + self.conv2(F.silu(self.norm2(h)))  # [B, C, H, W]
        return out
