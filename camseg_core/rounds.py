# SPDX-License-Identifier: Apache-2.0
"""Which mask tokens are generated in which round."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from camseg_core.errors import CamsegError


def round_masks(length: int, rounds: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give, per round, the tokens still hidden and those of them that this round generates.

    The cosine mask schedule of MaskGIT (Chang et al. 2022, arXiv 2202.04200, section 3.3) as MAR
    runs it (Li et al. 2024, arXiv 2406.11838, section 4.3): in a random order, after round r of n
    floor(L cos(pi r / 2n)) tokens stay hidden, at least one fewer than before.

    Args:
        length: tokens of one image, L.
        rounds: number of rounds, 1 to L.
        seed: of the order.

    Yields:
        (hidden, generated), both bool [L]; ``generated`` is a part of ``hidden``.

    Raises:
        CamsegError: more rounds than tokens.
    """
    if not 1 <= rounds <= length:
        raise CamsegError(
            f"rounds is {rounds}; from 1 to {length}, the number of tokens of the image, is "
            "possible"
        )
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    hidden_count = length
    hidden = torch.ones(length, dtype=torch.bool)
    for number in range(1, rounds + 1):
        remaining = math.floor(length * math.cos(math.pi / 2 * number / rounds))
        # Each round generates at least one token and leaves one for every round to come.
        remaining = max(rounds - number, min(hidden_count - 1, remaining))
        if number == rounds:
            remaining = 0
        still_hidden = torch.zeros(length, dtype=torch.bool)
        still_hidden[order[:remaining]] = True
        yield hidden, hidden & ~still_hidden
        hidden, hidden_count = still_hidden, remaining
