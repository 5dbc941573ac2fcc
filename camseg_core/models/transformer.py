# SPDX-License-Identifier: Apache-2.0
"""Masked transformer: image tokens and mask tokens in, one condition vector per token out.

The masked autoencoder of MAR (Li et al. 2024, arXiv 2406.11838, section 4) as CAM-Seg (arXiv
2503.15617, section 3.2) uses it: the image's tokens stand before the mask's, always visible.

Shapes: B = batch; L = tokens of one half; K = mask tokens that are visible; D = width;
Z = channels of a token; N = any number of tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from camseg_core.errors import CamsegError
from camseg_core.models.part_configs import TransformerConfig

Grid = tuple[int, int]
"""Tokens of one half as (rows, columns)."""


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        """Build for ``width`` channels in ``num_heads`` heads."""
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """Map [B, N, D] to [B, N - F, D]: the tokens from ``first`` (F) on ask all tokens."""
        weight, bias, width = self.qkv.weight, self.qkv.bias, x.shape[2]
        if first:
            query = F.linear(x[:, first:], weight[:width], bias[:width])  # [B, N - F, D]
            key, value = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=2)  # [B, N, D] each
        else:
            query, key, value = self.qkv(x).chunk(3, dim=2)  # [B, N, D] each
        q, k, v = (
            rearrange(part, "b n (heads d) -> b heads n d", heads=self.num_heads)
            for part in (query, key, value)
        )  # [B, heads, N - F or N, D / heads]
        x = F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout if self.training else 0.0
        )  # [B, heads, N - F, D / heads]
        x = self.proj(rearrange(x, "b heads n d -> b n (heads d)"))  # [B, N - F, D]
        return F.dropout(x, self.dropout, self.training)


class FeedForward(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, hidden_width: int, dropout: float) -> None:
        """Build from ``width`` through ``hidden_width`` back to ``width``."""
        super().__init__()
        self.dropout = dropout
        self.fc1 = nn.Linear(width, hidden_width)
        self.fc2 = nn.Linear(hidden_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, D] to [B, N, D]."""
        x = F.dropout(F.gelu(self.fc1(x)), self.dropout, self.training)  # [B, N, hidden]
        return F.dropout(self.fc2(x), self.dropout, self.training)  # [B, N, D]


class Block(nn.Module):
    """Pre-norm ViT block (Dosovitskiy et al. 2021, arXiv 2010.11929).

    Attributes:
        tokens_at_once: most tokens that the MLP takes at once; all where it is None. Without
            gradients only: the sum of residual and MLP is made in place.
    """

    def __init__(self, config: TransformerConfig) -> None:
        """Build at the size of ``config``."""
        super().__init__()
        self.tokens_at_once: int | None = None
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config.width, config.num_heads, config.dropout)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = FeedForward(config.width, round(config.width * config.mlp_ratio), config.dropout)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """Map [B, N, D] to the tokens from ``first`` (F) on, [B, N - F, D]."""
        x = x[:, first:] + self.attn(self.norm1(x), first)  # [B, N - F, D]
        if self.tokens_at_once is None:
            out: Tensor = x + self.mlp(self.norm2(x))  # [B, N - F, D]
            return out
        portions = -(-x.shape[0] * x.shape[1] // self.tokens_at_once)
        for tokens in x.chunk(portions, dim=1):  # [B, some, D] each
            tokens.add_(self.mlp(self.norm2(tokens)))
        return x


class MaskedTransformer(nn.Module):
    """The transformer, from tokens to one condition vector per token.

    Attributes:
        recomputes_blocks: in training, compute blocks again in the backward pass instead of keeping
            their activations (gradient checkpointing): less memory, a third more work.
    """

    recomputes_blocks = False

    def __init__(self, config: TransformerConfig) -> None:
        """Build at the size of ``config``, with the published initialisation."""
        super().__init__()
        self.config = config
        width = config.width

        def positions() -> nn.Parameter:
            return nn.Parameter(torch.zeros(1, 2 * config.num_tokens, width))

        self.encoder_pos_embed_learned = positions()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed_learned = positions()
        self.diffusion_pos_embed_learned = positions()
        self.z_proj1 = nn.Linear(config.image_token_channels, width)
        self.z_proj2 = nn.Linear(config.token_channels, width)
        self.z_proj_ln = nn.LayerNorm(width, eps=1e-6)
        self.encoder_blocks = nn.ModuleList(Block(config) for _ in range(config.encoder_depth))
        self.encoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, width)
        self.decoder_blocks = nn.ModuleList(Block(config) for _ in range(config.decoder_depth))
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self._initialize()

    def _initialize(self) -> None:
        """Positions and mask token N(0, 0.02); linear layers xavier-uniform with zero bias."""
        if self.mask_token.is_meta:  # a file gives the values; torch would import its compiler here
            return
        for parameter in (
            self.mask_token,
            self.encoder_pos_embed_learned,
            self.decoder_pos_embed_learned,
            self.diffusion_pos_embed_learned,
        ):
            nn.init.normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        image_tokens: Tensor,
        mask_tokens: Tensor | None = None,
        mask: Tensor | None = None,
        grid: Grid | None = None,
        *,
        mask_half_only: bool = False,
    ) -> Tensor:
        """Return one condition vector per token.

        Args:
            image_tokens: [B, L, Z], scaled image latents, row-major.
            mask_tokens: [B, L, Z], scaled mask latents; read only where they are visible.
            mask: bool [B, L], true where a mask token is hidden; the same number in each row.
                Without it (and ``mask_tokens``) the whole mask half is hidden, as in the
                published inference.
            grid: rows and columns of the tokens where they are not the configured ones; the
                position embeddings are interpolated to it.
            mask_half_only: leave the image half out, which the last block then need not compute.

        Returns:
            [B, 2L, D]: the image half first, then the mask half; or the latter alone, [B, L, D].
        """
        encoded = self.encode(image_tokens, mask_tokens, mask, grid)  # [B, L + K, D]
        return self.decode(encoded, mask, grid, mask_half_only=mask_half_only)  # [B, 2L or L, D]

    def encode(
        self,
        image_tokens: Tensor,
        mask_tokens: Tensor | None = None,
        mask: Tensor | None = None,
        grid: Grid | None = None,
    ) -> Tensor:
        """Encode the visible tokens: [B, L, Z] and [B, L, Z] to [B, L + K, D], see `forward`."""
        length = image_tokens.shape[1]
        positions = self._positions(self.encoder_pos_embed_learned, grid)  # [1, 2L, D]
        x = self.z_proj1(image_tokens) + positions[:, :length]  # [B, L, D]
        if mask_tokens is not None and mask is not None:
            hidden = mask.sum(dim=1)  # [B]
            if not bool((hidden == hidden[0]).all()):
                raise CamsegError(
                    f"a mask hides {hidden.tolist()} tokens per row; the same number is needed"
                )
            given = self.z_proj2(mask_tokens) + positions[:, length:]  # [B, L, D]
            x = torch.cat([x, _visible(given, mask)], dim=1)  # [B, L + K, D]
        # The layer norm is per token, so that dropping tokens before it changes nothing.
        x = self.z_proj_ln(x)  # [B, L + K, D]
        for block in self.encoder_blocks:
            x = self._run(block, x)  # [B, L + K, D]
        out: Tensor = self.encoder_norm(x)  # [B, L + K, D]
        return out

    def decode(
        self,
        encoded: Tensor,
        mask: Tensor | None = None,
        grid: Grid | None = None,
        *,
        mask_half_only: bool = False,
    ) -> Tensor:
        """Fill in the hidden tokens and decode: [B, L + K, D] to [B, 2L or L, D], see `forward`."""
        positions = self._positions(self.decoder_pos_embed_learned, grid)  # [1, 2L, D]
        length = positions.shape[1] // 2
        x = self.decoder_embed(encoded)  # [B, L + K, D]
        mask_half = self.mask_token.to(x.dtype).expand(x.shape[0], length, -1)  # [B, L, D]
        if mask is not None:
            visible_places = (~mask)[:, :, None].expand_as(mask_half)  # [B, L, D]
            mask_half = mask_half.masked_scatter(visible_places, x[:, length:])  # [B, L, D]
        x = torch.cat([x[:, :length], mask_half], dim=1) + positions  # [B, 2L, D]
        first = length if mask_half_only else 0
        *blocks, last = self.decoder_blocks
        for block in blocks:
            x = self._run(block, x)  # [B, 2L, D]
        x = self.decoder_norm(self._run(last, x, first))  # [B, 2L or L, D]
        positions = self._positions(self.diffusion_pos_embed_learned, grid)  # [1, 2L, D]
        out: Tensor = x + positions[:, first:]  # [B, 2L or L, D]
        return out

    def _run(self, block: nn.Module, x: Tensor, first: int = 0) -> Tensor:
        """Run a `Block` on x [B, N, D], in training perhaps without keeping what is inside."""
        if self.training and self.recomputes_blocks:
            out: Tensor = checkpoint(block, x, first, use_reentrant=False)  # [B, N - F, D]
        else:
            out = block(x, first)  # [B, N - F, D]
        return out

    def _positions(self, learned: Tensor, grid: Grid | None) -> Tensor:
        """Return position embeddings [1, 2L, D], each half interpolated to another ``grid``."""
        own_grid = (self.config.grid_height, self.config.grid_width)
        if grid is None or grid == own_grid:
            return learned
        return resize_positions(learned, own_grid, grid)


def resize_positions(learned: Tensor, own_grid: Grid, grid: Grid) -> Tensor:
    """Interpolate position embeddings [1, 2L, D] of ``own_grid``, each half, to ``grid``."""
    maps = rearrange(
        learned[0], "(half h w) d -> half d h w", half=2, h=own_grid[0]
    )  # [2, D, rows, columns]
    resized = F.interpolate(maps, size=grid, mode="bicubic", align_corners=False)
    return rearrange(resized, "half d h w -> 1 (half h w) d")  # [1, 2L, D]


def _visible(tokens: Tensor, mask: Tensor) -> Tensor:
    """Keep the visible tokens, in order: [B, L, D] and bool [B, L] (true = hidden) to [B, K, D]."""
    return tokens[~mask].reshape(tokens.shape[0], -1, tokens.shape[2])


def tokens_from_latent(latent: Tensor, patch_size: int) -> Tensor:
    """Cut a latent into tokens: [B, C, rows x p, columns x p] to [B, L, C x p x p], row-major."""
    return rearrange(latent, "b c (h p) (w q) -> b (h w) (c p q)", p=patch_size, q=patch_size)


def latent_from_tokens(tokens: Tensor, grid: Grid, patch_size: int) -> Tensor:
    """Put tokens back: [B, L, C x p x p] to [B, C, rows x p, columns x p]."""
    return rearrange(
        tokens,
        "b (h w) (c p q) -> b c (h p) (w q)",
        h=grid[0],
        w=grid[1],
        p=patch_size,
        q=patch_size,
    )
