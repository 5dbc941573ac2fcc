# SPDX-License-Identifier: Apache-2.0
"""Autoencoder: an RGB image, or a colour-coded mask, to and from a latent.

The architecture and the parameter names are those of latent diffusion's first stage (Rombach et
al. 2022, arXiv 2112.10752, appendix), which CAM-Seg (arXiv 2503.15617) uses unchanged.

Shapes: B = batch; H, W = image size in pixels, multiples of the stride S; h, w = H / S, W / S;
C = channels of a level; Z = latent channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from camseg_core.models.part_configs import AutoencoderConfig

LOG_VARIANCE_RANGE = (-30.0, 20.0)

BAND_BYTES = 2**22
"""About how much of a tensor `convolve_in_place` takes at once."""


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """Return the group norm used throughout: eps 1e-6; 32 groups in the published size."""
    return nn.GroupNorm(num_groups=groups, num_channels=channels, eps=1e-6)


def silu(x: Tensor) -> Tensor:
    """Return x sigmoid(x), of any shape; in place of ``x`` where no gradient is wanted.

    At full resolution each new tensor of the published size has 302 MB: measured on a CPU core in
    bfloat16, encoder and decoder take an eighth less time so.
    """
    return F.silu(x, inplace=not torch.is_grad_enabled())


def convolve_in_place(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Overwrite [B, C, H, W] with its 3x3 convolution, padding 1 and as many channels; return it.

    It works through bands of rows that stay in a CPU's cache. Measured on two cores, in bfloat16
    and at the published size, that takes two thirds of the time, and half the memory.
    """
    edge = torch.zeros_like(x[:, :, :1])  # [B, C, 1, W]
    above = edge
    portions = -(-x.numel() * x.element_size() // BAND_BYTES)
    bands = x.chunk(portions, dim=2)  # [B, C, rows, W] each
    for index, band in enumerate(bands):
        below = bands[index + 1][:, :, :1] if index + 1 < len(bands) else edge  # [B, C, 1, W]
        padded = torch.cat([above, band, below], dim=2)  # [B, C, rows + 2, W]
        above = band[:, :, -1:].clone()  # [B, C, 1, W], which the next band still needs
        band.copy_(F.conv2d(padded, conv.weight, conv.bias, padding=(0, 1)))
    return x


class ResnetBlock(nn.Module):
    """Norm, SiLU, conv, norm, SiLU, conv, with a 1x1 shortcut where the channels change.

    Attributes:
        in_place: convolve by `convolve_in_place` where the channels stay; without gradients only.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        """Build a block from ``in_channels`` to ``out_channels``."""
        super().__init__()
        self.in_place = False
        self.norm1 = group_norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm2 = group_norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.nin_shortcut = (
            nn.Conv2d(in_channels, out_channels, kernel_size=1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C_in, H, W] to [B, C_out, H, W]."""
        # One name, so that each tensor goes as soon as the next one is there.
        h: Tensor = self.norm1(x)  # [B, C_in, H, W]
        h = self._convolved(self.conv1, silu(h))  # [B, C_out, H, W]
        h = self.norm2(h)  # [B, C_out, H, W]
        h = self._convolved(self.conv2, silu(h))  # [B, C_out, H, W]
        h += self.nin_shortcut(x)  # [B, C_out, H, W]
        return h

    def _convolved(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        if self.in_place and conv.in_channels == conv.out_channels:
            return convolve_in_place(conv, x)  # [B, C_out, H, W]
        out: Tensor = conv(x)  # [B, C_out, H, W]
        return out


class AttentionBlock(nn.Module):
    """Single-head self-attention over all positions, added to the un-normed input."""

    def __init__(self, channels: int, groups: int) -> None:
        """Build a block of ``channels`` channels."""
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, kernel_size=1)
        self.k = nn.Conv2d(channels, channels, kernel_size=1)
        self.v = nn.Conv2d(channels, channels, kernel_size=1)
        self.proj_out = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, C, h, w]."""
        normed = self.norm(x)  # [B, C, h, w]
        q, k, v = (
            rearrange(projection(normed), "b c h w -> b 1 (h w) c")  # [B, 1, hw, C]
            for projection in (self.q, self.k, self.v)
        )
        attended = F.scaled_dot_product_attention(q, k, v)  # [B, 1, hw, C]
        attended = rearrange(attended, "b 1 (h w) c -> b c h w", h=x.shape[2])  # [B, C, h, w]
        out: Tensor = x + self.proj_out(attended)  # [B, C, h, w]
        return out


class Downsample(nn.Module):
    """Halve the resolution: pad right and bottom by one, then a stride-2 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        """Build for ``channels`` channels."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H/2, W/2]."""
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))  # [B, C, H/2, W/2]
        return out


class Upsample(nn.Module):
    """Double the resolution: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        """Build for ``channels`` channels."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, C, 2h, 2w]."""
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")  # [B, C, 2h, 2w]
        out: Tensor = self.conv(x)  # [B, C, 2h, 2w]
        return out


class Level(nn.Module):
    """One resolution: residual blocks, attention after each where it is on, then resampling."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depth: int,
        groups: int,
        *,
        attends: bool,
        downsample: Downsample | None = None,
        upsample: Upsample | None = None,
    ) -> None:
        """Build ``depth`` residual blocks; the lowest or last level has no resampling."""
        super().__init__()
        widths = [in_channels] + [out_channels] * depth
        self.block = nn.ModuleList(
            ResnetBlock(widths[index], widths[index + 1], groups) for index in range(depth)
        )
        self.attn = nn.ModuleList(
            AttentionBlock(out_channels, groups) for _ in range(depth * attends)
        )
        self.downsample = downsample
        self.upsample = upsample

    def in_order(self) -> Iterator[nn.Module]:
        """Yield the parts in the order in which they run, each on what the one before gives.

        A forward of the level would keep its input, as large as any tensor, while all of them run.
        """
        for index, block in enumerate(self.block):
            yield block
            if len(self.attn) > 0:
                yield self.attn[index]
        if self.downsample is not None:
            yield self.downsample
        if self.upsample is not None:
            yield self.upsample


def _parts(levels: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield the parts of one `Level` after the other."""
    for level in levels:
        yield from cast(Level, level).in_order()


class Middle(nn.Module):
    """Block, attention, block, at the lowest resolution."""

    def __init__(self, channels: int, groups: int) -> None:
        """Build for ``channels`` channels."""
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttentionBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, C, h, w]."""
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))  # [B, C, h, w]
        return out


class Encoder(nn.Module):
    """RGB to the moments of the latent, before ``quant_conv``."""

    def __init__(self, config: AutoencoderConfig) -> None:
        """Build at the size of ``config``."""
        super().__init__()
        widths = [config.channels * multiplier for multiplier in config.channel_multipliers]
        self.conv_in = nn.Conv2d(3, config.channels, kernel_size=3, padding=1)
        self.down = nn.ModuleList()
        in_channels = config.channels
        for level, width in enumerate(widths):
            is_last = level == len(widths) - 1
            self.down.append(
                Level(
                    in_channels,
                    width,
                    config.num_res_blocks,
                    config.norm_groups,
                    attends=config.attends(level),
                    downsample=None if is_last else Downsample(width),
                )
            )
            in_channels = width
        self.mid = Middle(in_channels, config.norm_groups)
        self.norm_out = group_norm(in_channels, config.norm_groups)
        self.conv_out = nn.Conv2d(in_channels, 2 * config.latent_channels, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image [B, 3, H, W] to moments [B, 2Z, h, w]."""
        x = self.conv_in(image)  # [B, C, H, W]
        for part in _parts(self.down):
            x = part(x)  # [B, C', H', W'], half the size after each level but the last one
        x = self.mid(x)  # [B, C', h, w]
        out: Tensor = self.conv_out(silu(self.norm_out(x)))  # [B, 2Z, h, w]
        return out


class Decoder(nn.Module):
    """Latent, after ``post_quant_conv``, to RGB; ``up.i`` is level i and runs last to first."""

    def __init__(self, config: AutoencoderConfig) -> None:
        """Build at the size of ``config``."""
        super().__init__()
        widths = [config.channels * multiplier for multiplier in config.channel_multipliers]
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], kernel_size=3, padding=1)
        self.mid = Middle(widths[-1], config.norm_groups)
        levels: list[Level] = []
        in_channels = widths[-1]
        for level in reversed(range(len(widths))):
            levels.insert(
                0,
                Level(
                    in_channels,
                    widths[level],
                    config.num_res_blocks + 1,
                    config.norm_groups,
                    attends=config.attends(level),
                    upsample=Upsample(widths[level]) if level > 0 else None,
                ),
            )
            in_channels = widths[level]
        self.up = nn.ModuleList(levels)
        self.norm_out = group_norm(in_channels, config.norm_groups)
        self.conv_out = nn.Conv2d(in_channels, 3, kernel_size=3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """Map a latent [B, Z, h, w] to an image [B, 3, H, W]."""
        x = self.conv_in(latent)  # [B, C', h, w]
        x = self.mid(x)  # [B, C', h, w]
        for part in _parts(reversed(self.up)):
            x = part(x)  # [B, C, h', w'], twice the size after each level but the last one
        out: Tensor = self.conv_out(silu(self.norm_out(x)))  # [B, 3, H, W]
        return out


@dataclass(frozen=True)
class GaussianPosterior:
    """The latent's diagonal Gaussian: ``mean`` and ``log_variance``, both [B, Z, h, w].

    A quantised latent is a point: its log-variance is minus infinity, its samples are the mean.
    """

    @classmethod
    def of_moments(cls, moments: Tensor) -> GaussianPosterior:
        """Split [B, 2Z, h, w] into mean and log-variance, which is clamped."""
        mean, log_variance = moments.chunk(2, dim=1)  # [B, Z, h, w] each
        return cls(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return a sample for standard normal ``noise`` [B, Z, h, w]: [B, Z, h, w]."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


class Autoencoder(nn.Module):
    """Encoder, bottleneck, decoder and the latent scale, which never leaves this class.

    `posterior` and `decode_raw` speak raw latents, as the published vectors do; `encode` and
    `decode` speak scaled ones, as the transformer does.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        """Build at the size of ``config``."""
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        moments = 2 * config.latent_channels
        self.quant_conv = nn.Conv2d(moments, moments, kernel_size=1)
        self.post_quant_conv = nn.Conv2d(
            config.latent_channels, config.latent_channels, kernel_size=1
        )

    def moments(self, image: Tensor) -> Tensor:
        """Encode RGB in [-1, 1], [B, 3, H, W]: mean, log-variance, not clamped, [B, 2Z, h, w]."""
        out: Tensor = self.quant_conv(self.encoder(image))  # [B, 2Z, h, w]
        return out

    def posterior(self, image: Tensor) -> GaussianPosterior:
        """Encode RGB in [-1, 1], [B, 3, H, W], to the Gaussian of its raw latent [B, Z, h, w]."""
        return GaussianPosterior.of_moments(self.moments(image))

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Encode RGB in [-1, 1], [B, 3, H, W], to a scaled latent [B, Z, h, w].

        The posterior mean without ``noise``; with standard normal ``noise`` [B, Z, h, w], a sample.
        """
        posterior = self.posterior(image)
        latent = posterior.mean if noise is None else posterior.sample(noise)
        return latent * self.config.latent_scale

    def decode(self, latent: Tensor) -> Tensor:
        """Decode a scaled latent [B, Z, h, w] to RGB around [-1, 1], not clamped, [B, 3, H, W]."""
        return self.decode_raw(latent / self.config.latent_scale)

    def decode_raw(self, latent: Tensor) -> Tensor:
        """Decode a raw latent [B, Z, h, w], as it is, to RGB around [-1, 1], not clamped."""
        out: Tensor = self.decoder(self.post_quant_conv(latent))  # [B, 3, H, W]
        return out

    def forward(self, image: Tensor) -> Tensor:
        """Reconstruct [B, 3, H, W] from its posterior mean, for tests and summaries."""
        return self.decode(self.encode(image))
