# SPDX-License-Identifier: Apache-2.0
"""The convolutions that our own networks are made of. B = batch; C = channels; H, W = size.

Batch norm (Ioffe and Szegedy 2015, arXiv 1502.03167): measured on the synthetic drive, group norm
learned half as much in as many steps, and its backward pass costs more on a CPU.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class NormedConv(nn.Module):
    """A 3 x 3 convolution and its batch norm; with stride 2, sizes are halved and rounded up."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        """Build from ``in_channels`` to ``out_channels`` channels."""
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False
        )
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C_in, H, W] to [B, C_out, H / stride, W / stride]."""
        out: Tensor = self.norm(self.conv(x))  # [B, C_out, H', W']
        return out

    def fold_norm(self) -> None:
        """Fold the norm, with the statistics that it has learned, into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class ResidualBlock(nn.Module):
    """Two convolutions around which the input passes (He et al. 2015, arXiv 1512.03385)."""

    def __init__(self, channels: int) -> None:
        """Build for ``channels`` channels."""
        super().__init__()
        self.first = NormedConv(channels, channels)
        self.second = NormedConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        h = F.relu_(self.first(x))  # [B, C, H, W]
        return F.relu_(self.second(h).add_(x))  # [B, C, H, W]


class StridedBlocks(nn.Module):
    """A strided convolution, then residual blocks."""

    def __init__(self, in_channels: int, out_channels: int, depth: int) -> None:
        """Build from ``in_channels`` to ``out_channels`` channels, with ``depth`` blocks."""
        super().__init__()
        self.down = NormedConv(in_channels, out_channels, stride=2)
        self.blocks = nn.Sequential(*(ResidualBlock(out_channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C_in, H, W] to [B, C_out, H/2, W/2]."""
        out: Tensor = self.blocks(F.relu_(self.down(x)))  # [B, C_out, H/2, W/2]
        return out
