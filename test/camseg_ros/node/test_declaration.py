# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from camseg_ros.node.declaration import parameter_descriptor
from camseg_ros.node.parameters import PARAMETERS, ParameterSpec


def test_numbers_have_their_range_of_their_type() -> None:
    whole = parameter_descriptor(ParameterSpec("n", 2, "Whole.", lowest=1, highest=9))
    (range_,) = whole.integer_range
    assert (range_.from_value, range_.to_value) == (1, 9)
    assert list(whole.floating_point_range) == []
    share = parameter_descriptor(ParameterSpec("x", 0.5, "Share.", lowest=0.0, highest=1.0))
    (range_,) = share.floating_point_range
    assert (range_.from_value, range_.to_value) == (0.0, 1.0)
    assert list(share.integer_range) == []


def test_words_stand_as_they_are() -> None:
    for spec in PARAMETERS:
        described = parameter_descriptor(spec)
        assert described.description == spec.description
        assert described.additional_constraints == spec.rule
        assert not described.read_only
