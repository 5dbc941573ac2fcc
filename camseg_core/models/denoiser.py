# SPDX-License-Identifier: Apache-2.0
"""Per-token denoiser: an MLP with adaptive layer norm, one token at a time.

The diffusion-loss network of MAR (Li et al. 2024, arXiv 2406.11838, appendix B); modulation after
DiT (Peebles and Xie 2023, arXiv 2212.09748, section 3.2).

Shapes: N = tokens of the whole batch; Z = channels of a token; D = condition width; W = width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camseg_core.models.part_configs import DenoiserConfig

FREQUENCIES = 128


def timestep_features(timestep: Tensor) -> Tensor:
    """Return cosines, then sines, of t exp(-ln(10000) i / 128): [N] to float32 [N, 256]."""
    index = torch.arange(FREQUENCIES, dtype=torch.float32, device=timestep.device)  # [128]
    # In this order, which rounds as the published code does: angles reach 999, so that the last bit
    # of a frequency shows as 1e-4 in the embedding.
    frequencies = torch.exp(-math.log(10000) * index / FREQUENCIES)  # [128]
    angles = timestep[:, None].float() * frequencies  # [N, 128]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)  # [N, 256]


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return x (1 + scale) + shift, all [N, W]."""
    return torch.addcmul(shift, x, 1 + scale)


class TimestepEmbedding(nn.Module):
    """Sinusoidal features through Linear, SiLU, Linear."""

    def __init__(self, width: int) -> None:
        """Build for ``width`` channels."""
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, timestep: Tensor) -> Tensor:
        """Map timesteps [N] (0..999, the original index, also when respaced) to [N, W]."""
        features = timestep_features(timestep)  # [N, 256]
        out: Tensor = self.mlp(features)  # [N, W]
        return out


class ResidualBlock(nn.Module):
    """x + gate MLP(LN(x) (1 + scale) + shift), with all three from SiLU(y)."""

    def __init__(self, width: int) -> None:
        """Build for ``width`` channels."""
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(inplace=True), nn.Linear(width, width)
        )
        # The SiLU is computed for all blocks at once, before them; here it keeps the layer's name.
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, x: Tensor, activated: Tensor) -> Tensor:
        """Map [N, W] under the modulation of SiLU(y) [N, W] to [N, W]."""
        modulation = self.adaLN_modulation[1](activated)  # [N, 3W]
        shift, scale, gate = modulation.chunk(3, dim=-1)  # [N, W] each
        return torch.addcmul(x, gate, self.mlp(modulate(self.in_ln(x), shift, scale)))  # [N, W]


class FinalLayer(nn.Module):
    """Layer norm without affine, modulation, linear."""

    def __init__(self, width: int, out_channels: int) -> None:
        """Build from ``width`` to ``out_channels`` channels."""
        super().__init__()
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, activated: Tensor) -> Tensor:
        """Map [N, W] under the modulation of SiLU(y) [N, W] to [N, out_channels]."""
        shift, scale = self.adaLN_modulation[1](activated).chunk(2, dim=-1)  # [N, W] each
        out: Tensor = self.linear(modulate(self.norm_final(x), shift, scale))  # [N, out]
        return out


class Denoiser(nn.Module):
    """Noisy tokens, their timesteps and conditions in; prediction and variance share out."""

    def __init__(self, config: DenoiserConfig) -> None:
        """Build at the size of ``config``, with the published initialisation."""
        super().__init__()
        self.config = config
        self.time_embed = TimestepEmbedding(config.width)
        self.cond_embed = nn.Linear(config.condition_channels, config.width)
        self.input_proj = nn.Linear(config.token_channels, config.width)
        self.res_blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(config.depth))
        self.final_layer = FinalLayer(config.width, 2 * config.token_channels)
        self._initialize()

    def _initialize(self) -> None:
        """Time MLP N(0, 0.02); modulation and last linear zero; the rest xavier-uniform."""
        if self.input_proj.weight.is_meta:  # a file gives the values, as in `MaskedTransformer`
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters():
            if name.startswith("time_embed") and name.endswith("weight"):
                nn.init.normal_(parameter, std=0.02)
            elif "adaLN_modulation" in name or name.startswith("final_layer.linear"):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Predict epsilon (or v) and the variance share.

        Args:
            x: [N, Z], noisy tokens.
            timestep: [N], 0..999, the original index.
            condition: [N, D].

        Returns:
            [N, 2Z]: the prediction, then the unclamped variance share.
        """
        return self.denoise(x, timestep, self.embed_condition(condition))

    def embed_condition(self, condition: Tensor) -> Tensor:
        """Embed conditions [N, D] to [N, W], once for all steps of a sample."""
        out: Tensor = self.cond_embed(condition)  # [N, W]
        return out

    def denoise(self, x: Tensor, timestep: Tensor, embedded_condition: Tensor) -> Tensor:
        """Predict as `forward`, from an embedded condition [N, W]; ``timestep`` is [N] or [1]."""
        y = self.time_embed(timestep) + embedded_condition  # [N, W]
        # The first step of every block's modulation, which is the same for all of them.
        activated = F.silu(y)  # [N, W]
        h = self.input_proj(x)  # [N, W]
        for block in self.res_blocks:
            h = block(h, activated)  # [N, W]
        out: Tensor = self.final_layer(h, activated)  # [N, 2Z]
        return out
