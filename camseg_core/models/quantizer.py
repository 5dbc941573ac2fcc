# SPDX-License-Identifier: Apache-2.0
"""Vector quantisation: every latent vector becomes the nearest entry of a learned codebook.

The bottleneck of VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937), as latent diffusion's VQ-reg
(Rombach et al. 2022, arXiv 2112.10752) places it: between the encoder and the decoder of the same
autoencoder. The codebook is trained by gradients; codes that fell out of use are restarted at
vectors of the batch (Dhariwal et al. 2020, arXiv 2005.00341, section 3.1).

Shapes: B = batch; h, w = latent positions; Z = latent channels; K = codes; N = vectors; R = codes
that are restarted.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

USAGE_DECAY = 0.95
"""Decay of the running usage, which looks back over about twenty batches. With 0.99 too many codes
lie idle in a run of a few hundred steps."""

DEAD_USAGE = 0.03
"""A code below this share of a uniform usage is dead; one that is never chosen gets there in
69 batches."""


class VectorQuantizer(nn.Module):
    """A codebook, and how much each of its codes was used of late.

    Attributes:
        codebook: the codes, float [K, Z].
        usage: running share of the vectors that chose a code, times K, float [K]: 1 where all are
            used alike, and 0 before training, when every code is dead and gets restarted. It is
            stored with the weights, so that a resumed run restarts the same codes.
    """

    def __init__(self, codebook_size: int, channels: int) -> None:
        """Build a codebook of ``codebook_size`` standard normal codes of ``channels`` numbers."""
        super().__init__()
        self.codebook = nn.Parameter(torch.empty(codebook_size, channels))
        nn.init.normal_(self.codebook)
        self.usage: Tensor
        self.register_buffer("usage", torch.zeros(codebook_size))

    def nearest(self, latent: Tensor) -> Tensor:
        """Choose the code nearest to each vector of [B, Z, h, w], the first of equals.

        Distances are Euclidean and computed in float32, under autocast too.

        Returns:
            Indices into the codebook, int64 [B, h, w].
        """
        return self._distances(latent).argmin(dim=-1)  # [B, h, w]

    def look_up(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes int64 [B, h, w]: float [B, Z, h, w]."""
        vectors = F.embedding(codes, self.codebook)  # [B, h, w, Z]
        return rearrange(vectors, "b h w z -> b z h w")

    def forward(self, latent: Tensor) -> Tensor:
        """Snap [B, Z, h, w] to the nearest codes, float [B, Z, h, w]; no gradient reaches it."""
        return self.look_up(self.nearest(latent))

    @torch.no_grad()
    def record_usage(self, counts: Tensor) -> None:
        """Take in how many vectors of a batch chose each code, [K]."""
        uniform = counts * (len(counts) / counts.sum())  # [K], 1 where all are used alike
        self.usage.lerp_(uniform.to(self.usage.dtype), 1.0 - USAGE_DECAY)

    @torch.no_grad()
    def restart_dead_codes(self, latent: Tensor, random: np.random.Generator) -> int:
        """Move dead codes to vectors of a batch [B, Z, h, w]; return how many were moved.

        Vectors are drawn without replacement, each with a probability proportional to its squared
        distance from the nearest code (Arthur and Vassilvitskii 2007, k-means++), so that rare
        vectors get codes too. Where there are fewer vectors than dead codes, the rest waits.
        """
        dead = (self.usage < DEAD_USAGE).nonzero()[:, 0]  # [R]
        if not len(dead):
            return 0
        vectors = rearrange(latent.float(), "b z h w -> (b h w) z")  # [N, Z]
        distances = self._distances(latent).amin(dim=-1).flatten()  # [N]
        error = (distances + vectors.square().sum(dim=1)).clamp(min=0.0)  # [N]
        weights = error.double().cpu().numpy() + 1e-12  # never fewer than can be drawn
        moved = dead[: len(vectors)]  # [R]
        chosen = random.choice(
            len(vectors), len(moved), replace=False, p=weights / weights.sum()
        )  # [R]
        self.codebook[moved] = vectors[torch.from_numpy(chosen).to(vectors.device)]
        self.usage[moved] = 1.0
        return len(moved)

    def _distances(self, latent: Tensor) -> Tensor:
        """Return squared distances to the codes, less the vector's own square: [B, h, w, K]."""
        with torch.no_grad(), torch.autocast(latent.device.type, enabled=False):
            vectors = rearrange(latent.float(), "b z h w -> b h w z")  # [B, h, w, Z]
            codes = self.codebook.float()  # [K, Z]
            out: Tensor = codes.square().sum(dim=1) - 2.0 * vectors @ codes.T  # [B, h, w, K]
        return out


def perplexity(counts: Tensor) -> Tensor:
    """Return the exponential of the entropy of code counts [K]: codes in use, were they used alike.

    1 where a single code is used, K where all are used alike; a scalar.
    """
    shares = counts / counts.sum()  # [K]
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()
