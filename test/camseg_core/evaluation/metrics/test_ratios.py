# SPDX-License-Identifier: Apache-2.0
"""Undefined ratios: NaN in memory, null in JSON."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import pytest

from camseg_core.evaluation.metrics.ratios import finite_or_none, mean_of_defined, plain_data, ratio


def test_a_ratio_over_nothing_is_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ratio(np.array([1, 0, 3]), np.array([2, 0, 0]))
    np.testing.assert_array_equal(result, [0.5, np.nan, np.nan])
    assert result.dtype == np.float64


def test_a_mean_leaves_out_what_is_undefined() -> None:
    assert mean_of_defined(np.array([1.0, np.nan, 2.0])) == 1.5
    assert math.isnan(mean_of_defined(np.array([np.nan])))
    assert math.isnan(mean_of_defined(np.array([])))


@pytest.mark.parametrize(
    ("value", "expected"), [(0.5, 0.5), (0.0, 0.0), (math.nan, None), (math.inf, None)]
)
def test_json_has_no_nan(value: float, expected: float | None) -> None:
    assert finite_or_none(value) == expected


@dataclass(frozen=True)
class Made:
    share: float
    shares: tuple[float, ...]
    at: dict[float, float]
    count: int


def test_scores_become_plain_data() -> None:
    made = Made(math.nan, (0.5, math.nan), {0.25: math.inf}, 3)
    assert list(plain_data(made).items()) == [
        ("share", None), ("shares", [0.5, None]), ("at", {"0.25": None}), ("count", 3),
    ]  # fmt: skip
