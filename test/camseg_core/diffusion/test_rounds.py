# SPDX-License-Identifier: Apache-2.0
"""Which mask tokens are generated in which round: MAR's cosine schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.diffusion.samplers import round_masks
from camseg_core.errors import CamsegError


def mar_mask_lengths(length: int, rounds: int) -> list[int]:
    """Return how many tokens stay hidden after each round, as MAR computes it; 0 after the last."""
    remaining, lengths = length, []
    for step in range(rounds - 1):
        share = np.cos(np.pi / 2.0 * (step + 1) / rounds)
        remaining = int(max(1, min(remaining - 1, np.floor(length * share))))
        lengths.append(remaining)
    return [*lengths, 0]


@st.composite
def lengths_and_rounds(draw: st.DrawFn) -> tuple[int, int]:
    length = draw(st.integers(1, 300))
    return length, draw(st.integers(1, length))


@settings(max_examples=100, deadline=None)
@given(lengths_and_rounds(), st.integers(0, 2**63 - 1))
def test_each_token_is_generated_exactly_once(case: tuple[int, int], seed: int) -> None:
    length, rounds = case
    count = torch.zeros(length, dtype=torch.int64)
    number = 0
    for hidden, generated in round_masks(length, rounds, seed):
        assert hidden.dtype == generated.dtype == torch.bool
        assert hidden.shape == generated.shape == (length,)
        assert generated.any()
        assert not (generated & ~hidden).any()
        # Hidden are exactly the tokens that no earlier round generated.
        assert torch.equal(hidden, count == 0)
        count += generated
        number += 1
    assert number == rounds
    assert (count == 1).all()


@settings(max_examples=100, deadline=None)
@given(lengths_and_rounds(), st.integers(0, 1000))
def test_the_schedule_is_mars(case: tuple[int, int], seed: int) -> None:
    length, rounds = case
    left = [
        int((hidden & ~generated).sum()) for hidden, generated in round_masks(length, rounds, seed)
    ]
    assert left == mar_mask_lengths(length, rounds)


@pytest.mark.parametrize("rounds", [0, -1, 9, 1000])
def test_other_numbers_of_rounds_are_refused(rounds: int) -> None:
    with pytest.raises(
        CamsegError, match=rf"rounds is {rounds}; from 1 to 8, the number of tokens of the image"
    ):
        next(iter(round_masks(8, rounds, 0)))


def test_the_order_is_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = [generated for _, generated in round_masks(64, 5, seed=4)]
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again = [generated for _, generated in round_masks(64, 5, seed=4)]
    other = [generated for _, generated in round_masks(64, 5, seed=5)]
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())  # the global generator was not drawn from
