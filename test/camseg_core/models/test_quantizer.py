# SPDX-License-Identifier: Apache-2.0
"""The codebook: nearest codes against plain loops, gradients, and codes that are restarted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from camseg_core.models.quantizer import DEAD_USAGE, USAGE_DECAY, VectorQuantizer, perplexity


def quantizer_of(codes: int = 8, channels: int = 3, seed: int = 0) -> VectorQuantizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VectorQuantizer(codes, channels)


def latents(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(
    codes=st.integers(2, 20), channels=st.integers(1, 6), batch=st.integers(1, 3),
    height=st.integers(1, 4), width=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_each_vector_becomes_its_nearest_code(
    codes: int, channels: int, batch: int, height: int, width: int, seed: int
) -> None:
    quantizer = quantizer_of(codes, channels, seed)
    latent = latents(batch, channels, height, width, seed=seed)
    chosen, quantized = quantizer.nearest(latent), quantizer(latent)
    assert chosen.shape == (batch, height, width)
    assert chosen.dtype == torch.int64
    for image, y, x in np.ndindex(batch, height, width):
        vector = latent[image, :, y, x]
        distances = [float((vector - code).square().sum()) for code in quantizer.codebook.detach()]
        found = int(chosen[image, y, x])
        assert distances[found] == pytest.approx(min(distances), abs=1e-5)
        assert torch.equal(quantized[image, :, y, x], quantizer.codebook[found])


def test_distances_are_float32_under_autocast() -> None:
    """Codes that bfloat16 cannot tell apart stay apart."""
    quantizer = quantizer_of(2, 2)
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[100.0, 1.0], [100.1, 1.0]]))
    latent = torch.tensor([100.09, 1.0]).reshape(1, 2, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert quantizer.nearest(latent).item() == 1
        assert quantizer(latent).dtype == torch.float32


def test_only_chosen_codes_get_gradients() -> None:
    quantizer = quantizer_of(4, 2)
    codes = torch.tensor([[[1, 1, 3]]])
    target = torch.zeros(1, 2, 1, 3)
    (quantizer.look_up(codes) - target).square().sum().backward()
    expected = torch.zeros(4, 2)
    expected[1], expected[3] = 4 * quantizer.codebook[1].detach(), 2 * quantizer.codebook[3]
    assert quantizer.codebook.grad is not None
    torch.testing.assert_close(quantizer.codebook.grad, expected.detach())


def test_usage_is_a_running_share() -> None:
    quantizer = quantizer_of(4)
    quantizer.usage.fill_(1.0)
    quantizer.record_usage(torch.tensor([6, 0, 1, 1]))
    expected = [1.0 + (1 - USAGE_DECAY) * (share - 1.0) for share in (3.0, 0.0, 0.5, 0.5)]
    assert quantizer.usage.tolist() == pytest.approx(expected)
    assert float(quantizer.usage.sum()) == pytest.approx(4.0)


def test_a_code_that_is_never_chosen_is_dead_after_69_batches() -> None:
    quantizer = quantizer_of(2)
    quantizer.usage.fill_(1.0)
    random = np.random.default_rng(0)
    moved = []
    for _ in range(100):
        quantizer.record_usage(torch.tensor([5, 0]))
        moved.append(quantizer.restart_dead_codes(latents(1, 3, 2, 2), random))
    assert moved == [0] * 68 + [1] + [0] * 31
    assert math.ceil(math.log(DEAD_USAGE) / math.log(USAGE_DECAY)) == 69


def test_before_training_all_codes_are_dead_and_become_vectors_of_the_batch() -> None:
    quantizer, latent = quantizer_of(8), latents(2, 3, 2, 3)
    assert quantizer.restart_dead_codes(latent, np.random.default_rng(0)) == 8
    vectors = latent.permute(0, 2, 3, 1).reshape(-1, 3)
    same = (quantizer.codebook[:, None] == vectors).all(dim=-1)  # [8, 12]
    assert same.sum(dim=1).tolist() == [1] * 8
    assert same.sum(dim=0).max() == 1  # none is drawn twice
    assert quantizer.usage.tolist() == [1.0] * 8
    assert quantizer.restart_dead_codes(latent, np.random.default_rng(0)) == 0


def test_where_vectors_are_few_the_rest_of_the_codes_waits() -> None:
    quantizer = quantizer_of(8)
    before = quantizer.codebook.detach().clone()
    latent = latents(1, 3, 1, 5)
    assert quantizer.restart_dead_codes(latent, np.random.default_rng(0)) == 5
    assert torch.equal(quantizer.codebook[5:], before[5:])
    assert quantizer.usage.tolist() == [1.0] * 5 + [0.0] * 3
    latent = torch.full((1, 3, 1, 5), 2.0)  # all the same and, after one restart, all exact
    assert quantizer.restart_dead_codes(latent, np.random.default_rng(0)) == 3


def test_codes_are_restarted_where_the_error_is() -> None:
    """A vector far from all codes is drawn, though a thousand others lie on one."""
    quantizer = quantizer_of(3, 2)
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [5.0, 5.0], [9.0, -9.0]]))
    quantizer.usage.copy_(torch.tensor([1.0, 1.0, 0.0]))
    latent = torch.zeros(1, 2, 10, 100)
    latent[0, :, 4, 50] = torch.tensor([-3.0, 3.0])
    assert quantizer.restart_dead_codes(latent, np.random.default_rng(0)) == 1
    assert quantizer.codebook[2].tolist() == [-3.0, 3.0]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([7, 0, 0], 1.0), ([2, 2, 2, 2], 4.0), ([1, 1, 0], 2.0), ([3, 1], 4 / 27**0.25)],
)
def test_perplexity(counts: list[int], expected: float) -> None:
    assert float(perplexity(torch.tensor(counts))) == pytest.approx(expected)
