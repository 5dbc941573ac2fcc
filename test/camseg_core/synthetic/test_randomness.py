# SPDX-License-Identifier: Apache-2.0
"""Draws are a function of their keys alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.synthetic.randomness import Draw, generator


def test_the_stream_is_pinned() -> None:
    assert generator(0, "road").random() == 0.2014903170413319


def test_other_keys_give_other_streams() -> None:
    firsts = {
        generator(*keys).random()
        for keys in [(0, "road"), (1, "road"), (0, "light"), (0, 0, "road"), (0, 1, "road")]
    }
    assert len(firsts) == 5


@given(seed=st.integers(0, 2**32 - 1), low=st.floats(-9, 9), span=st.floats(0.1, 9))
@settings(max_examples=30)
def test_values_stay_in_their_ranges(seed: int, low: float, span: float) -> None:
    draw = Draw(seed, "ranges")
    assert low <= draw.uniform(low, low + span) <= low + span
    assert draw.integer(7) in range(7)
    assert sorted(draw.order(6)) == list(range(6))
    places = list(draw.places(low, low + span, span / 9, span / 3))
    steps = np.diff([*places, low + span])
    assert places[0] == low
    assert 3 <= len(places) <= 10
    assert (steps[:-1] > span / 9.1).all()
    assert steps.max() < span / 2.9
    assert np.ptp(steps[:-1]) > span * 1e-6
    assert draw.sign() in (-1, 1)
    assert draw.pick_weighted([("never", 0.0), ("always", 1.0)]) == "always"
    for color in (draw.paint(), draw.paint(), draw.near((0.9, 0.5, 0.0), 0.5)):
        assert all(0 <= channel <= 1 for channel in color)
