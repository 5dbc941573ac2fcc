# SPDX-License-Identifier: Apache-2.0
"""Counts as short JSON lists, and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from camseg_core.evaluation.metrics.packed_counts import pack_counts, unpack_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from camseg_core.errors import CamsegError


def test_runs_of_zeros_become_one_number() -> None:
    assert pack_counts(np.array([5, 0, 0, 0, 7, 0])) == [5, -3, 7, -1]
    assert pack_counts(np.array([[0, 0], [0, 2]])) == [-3, 2]
    assert pack_counts(np.array([4, 4, 4])) == [4, 4, 4]
    assert pack_counts(np.zeros(240, np.int64)) == [-240]


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        np.int64,
        hnp.array_shapes(min_dims=1, max_dims=2, max_side=12),
        elements=st.one_of(st.just(0), st.integers(0, 2**63 - 1)),
    )
)
def test_counts_survive_json(counts: np.ndarray[Any, Any]) -> None:
    packed = json.loads(json.dumps(pack_counts(counts)))
    back = unpack_counts(packed, counts.shape, "counts")
    assert back.dtype == np.int64
    np.testing.assert_array_equal(back, counts)


@pytest.mark.parametrize("packed", [None, "5", {"a": 1}, [1.0, 2], [True, 1], [[1], [2]]])
def test_what_is_no_list_of_whole_numbers_is_refused(packed: object) -> None:
    with pytest.raises(CamsegError, match="hits is no list of whole numbers; the line is damaged"):
        unpack_counts(packed, (2,), "hits")


@pytest.mark.parametrize(
    ("packed", "stated"),
    [([], 0), ([1, 2], 2), ([-2], 2), ([1, -3], 4), ([0, -2], 3), ([-(10**12)], 10**12)],
)
def test_another_number_of_counts_is_refused(packed: list[int], stated: int) -> None:
    with pytest.raises(CamsegError, match=f"hits holds {stated} counts, 3 are needed"):
        unpack_counts(packed, (3,), "hits")


def test_a_count_beyond_64_bits_is_refused() -> None:
    with pytest.raises(CamsegError, match=r"hits holds 9223372036854775808, which is above 2\^63"):
        unpack_counts([2**63, -1], (2,), "hits")
