# SPDX-License-Identifier: Apache-2.0
"""What a benchmark tries, and that what it leaves out computes the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camseg_core.diffusion.options import SAMPLERS, V_PROFILES, SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.sampling_grid import Sweep, simplest
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import LoadedModel, random_model

SMALL = Sweep(
    steps=(1, 4),
    samplers=("ddpm", "dpm-solver++"),
    temperatures=(1.0, 0.0),
    samples=(1, 3),
    samples_steps=(2,),
    precision="bfloat16",
)


@pytest.mark.parametrize(
    ("given_options", "same"),
    [
        ({"steps": 1, "sampler": "ddpm"}, {"steps": 1, "sampler": "ddim"}),
        ({"steps": 1, "sampler": "ddpm", "temperature": 0.5}, {"steps": 1, "sampler": "ddim"}),
        ({"steps": 1, "sampler": "dpm-solver++"}, {"steps": 1, "sampler": "ddim"}),
        ({"steps": 2, "sampler": "dpm-solver++"}, {"steps": 2, "sampler": "ddim"}),
        ({"steps": 3, "sampler": "dpm-solver++"}, {"steps": 3, "sampler": "ddim"}),
        ({"steps": 4, "sampler": "ddim", "temperature": 0.5}, {"steps": 4, "sampler": "ddim"}),
        (
            {"steps": 4, "sampler": "ddim", "initial_noise_scale": 0.0, "samples": 3},
            {"steps": 4, "sampler": "ddim", "initial_noise_scale": 0.0},
        ),
        (
            {
                "steps": 4, "sampler": "ddpm", "temperature": 0.0, "initial_noise_scale": 0.0,
                "samples": 3,
            },
            {"steps": 4, "sampler": "ddpm", "temperature": 0.0, "initial_noise_scale": 0.0},
        ),
    ],
)  # fmt: skip
def test_what_is_left_out_computes_the_same(
    light_segmenter: Segmenter,
    random_image: Callable[..., NDArray[np.uint8]],
    given_options: dict[str, Any],
    same: dict[str, Any],
) -> None:
    options = SamplingOptions(**given_options)
    assert simplest(options) == SamplingOptions(**same)
    image = random_image(32, 64)
    one, other = (
        light_segmenter.segment(image, entry).class_probabilities
        for entry in (options, simplest(options))
    )
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    ("kept", "other"),
    [
        ({"steps": 4, "sampler": "dpm-solver++"}, {"steps": 4, "sampler": "ddim"}),
        ({"steps": 2, "sampler": "ddpm", "temperature": 0.0}, {"steps": 2, "sampler": "ddim"}),
        ({"steps": 2, "sampler": "ddpm", "temperature": 0.5}, {"steps": 2, "sampler": "ddpm"}),
        (
            {"steps": 2, "sampler": "ddpm", "initial_noise_scale": 0.0, "samples": 3},
            {"steps": 2, "sampler": "ddpm", "initial_noise_scale": 0.0},
        ),
        ({"steps": 1, "sampler": "ddim", "samples": 3}, {"steps": 1, "sampler": "ddim"}),
    ],
)
def test_what_differs_is_kept(
    light_segmenter: Segmenter,
    random_image: Callable[..., NDArray[np.uint8]],
    kept: dict[str, Any],
    other: dict[str, Any],
) -> None:
    assert simplest(SamplingOptions(**kept)) == SamplingOptions(**kept)
    assert simplest(SamplingOptions(**other)) == SamplingOptions(**other)
    one, two = (
        light_segmenter.segment(
            random_image(32, 64), SamplingOptions(**options)
        ).class_probabilities
        for options in (kept, other)
    )
    assert np.abs(one - two).max() > 1e-5


@given(
    steps=st.integers(1, 6),
    sampler=st.sampled_from(SAMPLERS),
    temperature=st.sampled_from([0.0, 0.5, 1.0]),
    scale=st.sampled_from([0.0, 1.0]),
    samples=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_the_simplest_is_its_own_simplest(
    steps: int, sampler: str, temperature: float, scale: float, samples: int
) -> None:
    options = SamplingOptions(
        steps=steps, sampler=sampler, temperature=temperature, initial_noise_scale=scale,
        samples=samples,
    )  # fmt: skip
    once = simplest(options)
    assert simplest(once) == once
    assert (once.steps, once.initial_noise_scale) == (steps, scale)


def test_the_choices_of_a_small_sweep(tiny_model: LoadedModel) -> None:
    def entry(decoder: str, sampler: str, steps: int, **more: Any) -> SamplingOptions:
        return SamplingOptions(
            steps=steps, sampler=sampler, decoder=decoder, precision="bfloat16", **more
        )

    choices = SMALL.choices(tiny_model)
    assert len(choices) == len(set(choices))
    assert set(choices) == {
        # One step: from noise and from zero; every sampler is the same.
        *(entry(decoder, "ddim", 1) for decoder in ("mask", "palette")),
        *(entry(decoder, "ddim", 1, initial_noise_scale=0.0) for decoder in ("mask", "palette")),
        *(entry(decoder, "ddpm", 4) for decoder in ("mask", "palette")),
        *(entry(decoder, "ddpm", 4, temperature=0.0) for decoder in ("mask", "palette")),
        *(entry(decoder, "dpm-solver++", 4) for decoder in ("mask", "palette")),
        # Several samples, and the single one they are compared with: one decoder, two steps.
        *(entry("mask", "ddpm", 2, samples=count) for count in (1, 3)),
        *(entry("mask", "ddpm", 2, temperature=0.0, samples=count) for count in (1, 3)),
        *(entry("mask", "ddim", 2, samples=count) for count in (1, 3)),
        replace(V_PROFILES["balanced"], decoder="mask"),
    }


def test_the_default_is_tried_as_its_profile_says(tiny_model: LoadedModel) -> None:
    default = SMALL.default(tiny_model)
    assert default == replace(V_PROFILES["balanced"], decoder="mask")
    assert SMALL.choices(tiny_model)[-1] == default
    accurate = replace(SMALL, profile="accurate")
    assert accurate.choices(tiny_model)[-1] == replace(V_PROFILES["accurate"], decoder="mask")


def test_a_model_without_mask_decoder_is_read_with_the_palette(
    tiny_segmenter: Segmenter,
) -> None:
    loaded = tiny_segmenter.loaded
    choices = SMALL.choices(loaded)
    assert {options.decoder for options in choices} == {"palette"}
    assert SMALL.default(loaded).decoder == "palette"
    assert SMALL.possible_decoders(loaded) == ("palette",)
    assert {options.samples for options in choices} == {1, 3}
    with pytest.raises(CamsegError, match="has no mask decoder and no other one is asked for"):
        replace(SMALL, decoders=("mask",)).choices(loaded)


def test_the_whole_default_sweep_is_as_large_as_documented() -> None:
    choices = Sweep().choices(random_model("tiny"))
    assert len(choices) == 53
    assert sum(options.decoder == "palette" for options in choices) == 21


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": ()}, "steps of a benchmark is empty; one or more are needed"),
        ({"steps": (0,)}, "steps is 0; a whole number from 1 to 1000 is needed"),
        ({"samplers": ("euler",)}, "unknown sampler 'euler'"),
        ({"decoders": ("auto",)}, "unknown decoder 'auto'; one of mask, palette"),
        ({"temperatures": (-1.0,)}, "temperature is -1.0; a finite number of at least 0"),
        ({"initial_noise_scales": (1.0, -2.0)}, "initial_noise_scale is -2.0"),
        ({"noise_scale_steps": (1001,)}, "steps is 1001"),
        ({"samples": (1, 65)}, "samples is 65; a whole number from 1 to 64 is needed"),
        ({"samples_steps": (0,)}, "steps is 0"),
        ({"precision": "float16"}, "unknown precision 'float16'"),
        ({"profile": "best"}, "unknown profile 'best'; one of accurate, balanced, fast"),
    ],
)
def test_a_bad_value_is_refused_before_any_work(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        replace(Sweep(), **change)
