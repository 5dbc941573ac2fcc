# SPDX-License-Identifier: Apache-2.0
"""Ways to sample: all combinations, each computation once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.grid import by_steps, combinations, simplest, without_repeats
from camseg_core.segmenter import Segmenter


def test_all_values_are_combined() -> None:
    base = SamplingOptions(seed=3)
    found = combinations(base, {"steps": (1, 4), "sampler": ("ddpm", "ddim")})
    assert [(one.steps, one.sampler, one.seed) for one in found] == [
        (1, "ddpm", 3), (1, "ddim", 3), (4, "ddpm", 3), (4, "ddim", 3),
    ]  # fmt: skip
    assert combinations(base, {}) == [base]
    with pytest.raises(CamsegError, match="steps is 0"):
        combinations(base, {"steps": (1, 0)})


def test_what_computes_the_same_is_kept_once_as_it_was_asked_for() -> None:
    choices = combinations(
        SamplingOptions(), {"steps": (1, 2, 4), "sampler": ("ddpm", "ddim", "dpm-solver++")}
    )
    runs = by_steps(without_repeats(choices, has_mask_decoder=True))
    assert {options.sampler: steps for options, steps in runs.items()} == {
        "ddpm": (1, 2, 4),
        "ddim": (2, 4),
        "dpm-solver++": (4,),
    }
    for decoders, count in ((("auto", "mask"), 1), (("mask", "palette"), 2)):
        choices = combinations(SamplingOptions(), {"decoder": decoders})
        assert len(without_repeats(choices, has_mask_decoder=True)) == count


@pytest.mark.parametrize(
    ("options", "other"),
    [
        (SamplingOptions(steps=1), SamplingOptions(steps=1, sampler="dpm-solver++")),
        (
            SamplingOptions(steps=3, sampler="dpm-solver++"),
            SamplingOptions(steps=3, sampler="ddim"),
        ),
        (
            SamplingOptions(steps=2, sampler="ddim", initial_noise_scale=0.0, samples=2),
            SamplingOptions(steps=2, sampler="ddim", initial_noise_scale=0.0, temperature=0.5),
        ),
    ],
)
def test_repeats_compute_the_same(
    parity_segmenter: Segmenter, options: SamplingOptions, other: SamplingOptions
) -> None:
    first, second = (simplest(one, has_mask_decoder=False) for one in (options, other))
    assert first == second
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    one, two = (parity_segmenter.segment(image, way) for way in (options, other))
    np.testing.assert_allclose(one.class_probabilities, two.class_probabilities, atol=1e-4)


def test_what_differs_is_kept() -> None:
    base = SamplingOptions(steps=4)
    others = [
        replace(base, **change)
        for change in (
            {"sampler": "ddim"}, {"sampler": "dpm-solver++"}, {"temperature": 0.0}, {"seed": 1},
            {"samples": 2}, {"rounds": 2}, {"precision": "bfloat16"}, {"initial_noise_scale": 0.0},
        )
    ]  # fmt: skip
    assert without_repeats([base, *others], has_mask_decoder=True) == [base, *others]
