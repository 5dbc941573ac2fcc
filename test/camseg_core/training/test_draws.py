# SPDX-License-Identifier: Apache-2.0
"""Randomness of training is a function of seed, purpose and place, and of nothing else."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.training.draws import (
    BatchDraws,
    SampleOrder,
    generator,
    torch_seed,
)

CPU = torch.device("cpu")


@settings(max_examples=30, deadline=None)
@given(samples=st.integers(1, 40), seed=st.integers(0, 2**40))
def test_every_epoch_has_each_sample_once_in_an_order_of_its_own(samples: int, seed: int) -> None:
    order = SampleOrder(samples, seed)
    epochs = [[order.index(epoch * samples + i) for i in range(samples)] for epoch in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(samples))
    if samples > 8:
        assert epochs[0] != epochs[1]
    asked_again = SampleOrder(samples, seed)
    assert asked_again.index(samples) == epochs[1][0]
    assert asked_again.index(0) == epochs[0][0]


def draws_of(rows: list[int], seed: int = 3, step: int = 5) -> BatchDraws:
    return BatchDraws(seed, step, 4, rows, CPU)


def test_noise_of_an_image_does_not_depend_on_who_draws_it() -> None:
    together, alone = draws_of([0, 1, 2, 3]), draws_of([2])
    assert torch.equal(together.normal("noise", 4, 2)[2], alone.normal("noise", 4, 2)[0])
    assert torch.equal(together.uniform("share", 6)[2], alone.uniform("share", 6)[0])
    assert torch.equal(together.integers("t", 1000, 6)[2], alone.integers("t", 1000, 6)[0])
    assert torch.equal(together.order("order", 9)[2], alone.order("order", 9)[0])
    assert sorted(together.order("order", 9)[0].tolist()) == list(range(9))
    assert together.integers("t", 7, 500).max() < 7


def test_purpose_step_row_and_seed_all_count() -> None:
    draws = [
        draws_of([row], seed, step).normal(purpose, 3)
        for seed, step, row, purpose in (
            (0, 0, 0, "a"), (1, 0, 0, "a"), (0, 1, 0, "a"), (0, 0, 1, "a"), (0, 0, 0, "b"),
        )
    ]  # fmt: skip
    for index, one in enumerate(draws):
        for other in draws[index + 1 :]:
            assert not torch.equal(one, other)
    seeds = {torch_seed(0, "dropout", step, rank) for step in range(5) for rank in range(3)}
    assert len(seeds) == 15


def test_what_a_step_shares_is_the_same_for_all_of_its_parts() -> None:
    one, two = (draws_of(rows, 0, 7).shared("share") for rows in ([0], [2, 3]))
    assert one.random() == two.random()
    assert draws_of([0], 0, 8).shared("share").random() != generator(0, "share", 7).random()


def test_the_stream_is_pinned() -> None:
    # A change would make old runs impossible to repeat.
    assert generator(0, "order", 0).permutation(6).tolist() == [4, 5, 2, 3, 0, 1]
