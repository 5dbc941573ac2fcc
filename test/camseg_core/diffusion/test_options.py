# SPDX-License-Identifier: Apache-2.0
"""Profiles: their names, and what a file may say about them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from camseg_core.diffusion.options import (
    DEFAULT_PROFILE,
    EPSILON_PROFILES,
    ONE_STEP_PROFILES,
    PROFILE_NAMES,
    V_PROFILES,
    Profiles,
    default_profiles,
    find_profile,
    profiles_from_dict,
    profiles_to_dict,
)
from camseg_core.errors import CamsegError


@pytest.mark.parametrize("profiles", [EPSILON_PROFILES, V_PROFILES, ONE_STEP_PROFILES])
def test_each_set_has_all_names_and_survives_a_file(profiles: Profiles) -> None:
    assert tuple(profiles) == PROFILE_NAMES
    assert DEFAULT_PROFILE in profiles
    assert profiles["fast"].steps <= profiles["balanced"].steps <= profiles["accurate"].steps
    content = json.loads(json.dumps(profiles_to_dict(profiles)))
    assert profiles_from_dict(content, "a file") == profiles


def test_defaults_follow_the_prediction() -> None:
    assert default_profiles("epsilon") is EPSILON_PROFILES
    assert default_profiles("v") is V_PROFILES


def test_what_is_left_out_has_its_default() -> None:
    profiles = profiles_from_dict({name: {"steps": 3} for name in PROFILE_NAMES}, "a file")
    assert {options.steps for options in profiles.values()} == {3}
    assert profiles["fast"].sampler == "ddpm"


def test_an_unknown_profile_lists_the_others() -> None:
    with pytest.raises(CamsegError, match="unknown profile 'best'; one of accurate, balanced, fas"):
        find_profile(V_PROFILES, "best")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "a file: the content is null: input should be "),
        ({}, "a file: profiles are none; accurate, balanced, fast are needed"),
        ({"best": {}}, "a file: profiles are best; accurate"),
        ({"balanced": 3}, "a file: balanced is 3: input should be an object"),
        ({"balanced": {"step": 3}}, "a file: balanced.step is not known; known are steps, sampler"),
        ({"balanced": {"steps": 0}}, "a file: balanced: steps is 0; a whole number"),
        ({"balanced": {"temperature": "x"}}, "a file: balanced.temperature is .*number"),
    ],
)
def test_profiles_that_break_a_rule_are_refused(change: Any, message: str) -> None:
    content = profiles_to_dict(V_PROFILES)
    if change is None or "balanced" not in change:
        content = change
    else:
        content.update(change)
    with pytest.raises(CamsegError, match=message):
        profiles_from_dict(content, "a file")
