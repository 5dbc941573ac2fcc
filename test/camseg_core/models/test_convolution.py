# SPDX-License-Identifier: Apache-2.0
"""Convolutions with batch norm: sizes and the residual path."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from camseg_core.models.convolution import (
    NormedConv,
    ResidualBlock,
    StridedBlocks,
)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("side", "halved"), [(8, 4), (7, 4), (1, 1)])
def test_stride_two_halves_and_rounds_up(side: int, halved: int) -> None:
    assert NormedConv(3, 5, stride=2)(random(2, 3, side, 9)).shape == (2, 5, halved, 5)
    assert StridedBlocks(3, 5, depth=2)(random(2, 3, side, 9)).shape == (2, 5, halved, 5)


def test_a_block_adds_to_its_input() -> None:
    block = ResidualBlock(4).eval()
    x = random(1, 4, 6, 6)
    nn.init.zeros_(block.second.conv.weight)
    assert torch.equal(block(x), x.relu())
