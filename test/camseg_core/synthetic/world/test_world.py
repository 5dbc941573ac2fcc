# SPDX-License-Identifier: Apache-2.0
"""Ten sequences in a row show every kind, whatever the seed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.synthetic.world.world import BLOCK, SHOWN, kinds_to_show


@given(seed=st.integers(0, 2**32 - 1), first=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_ten_sequences_in_a_row_show_every_kind_three_times(seed: int, first: int) -> None:
    kinds = [kinds_to_show(seed, first + offset) for offset in range(10)]
    for kind in SHOWN:
        assert sum(kind in shown for shown in kinds) >= 3


def test_a_block_shows_each_kind_as_often_as_stated() -> None:
    kinds = [kinds_to_show(3, BLOCK + place) for place in range(BLOCK)]
    for kind, count in SHOWN.items():
        assert sum(kind in shown for shown in kinds) == count
    assert len(set(kinds)) > 1
