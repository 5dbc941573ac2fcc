# SPDX-License-Identifier: Apache-2.0
"""The page of a sampling benchmark says what the entries say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_sampling_results import SWEEP, made_entry, made_results, made_weights

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.evaluation.sampling_results import SamplingResults
from camseg_core.evaluation.sampling_table import (
    answer_lines,
    describe,
    markdown,
    sampler_name,
    steps_lines,
)


@pytest.fixture
def results() -> SamplingResults:
    """Weights ``before`` without palette, ``after`` with a palette on 2 of 10 images."""
    before = [
        made_entry(0.30, 40.0, weights="before", steps=1, common_mean_iou=0.31),
        made_entry(0.35, 50.0, weights="before", steps=4, common_mean_iou=0.36),
        made_entry(0.20, 45.0, weights="before", steps=1, initial_noise_scale=0.0),
    ]
    after = [
        made_entry(0.40, 41.0, steps=1, common_mean_iou=0.41),
        made_entry(0.50, 51.0, steps=4, common_mean_iou=0.52),
        made_entry(0.55, 55.0, steps=4, sampler="dpm-solver++", common_mean_iou=0.56),
        made_entry(0.60, 90.0, steps=4, samples=8, common_mean_iou=0.61),
        made_entry(0.545, 42.0, steps=1, initial_noise_scale=0.0, common_mean_iou=0.53),
        made_entry(0.44, 700.0, steps=1, decoder="palette", images=2),
        made_entry(0.45, 710.0, steps=4, decoder="palette", images=2),
    ]
    weights = (
        made_weights("before", left_out=("palette",), image_features=False),
        made_weights("after"),
    )
    return made_results([*before, *after], weights=weights, common_images=2)


def tables(page: str) -> list[list[list[str]]]:
    """Return the cells of each table, its second line left out."""
    found: list[list[list[str]]] = [[]]
    for line in page.splitlines():
        if line.startswith("| "):
            found[-1].append(line.removeprefix("| ").removesuffix(" |").split(" | "))
        elif found[-1]:
            found.append([])
    return [[rows[0], *rows[2:]] for rows in found if rows]


def test_the_answer_names_the_best_and_how_far_each_default_is(results: SamplingResults) -> None:
    assert answer_lines(results) == [
        "Best within 80 ms an image: `after`, mask decoder, dpm-solver++, 4 steps, float32: "
        "mIoU 55.00 %, 55.0 ms."
    ]
    page = markdown(results, "sampling.svg")
    assert answer_lines(results)[0] in page
    defaults = tables(page)[1]
    how = "mask decoder, any sampler, 1 step, zero noise, float32"
    assert defaults[1:] == [
        ["before", how, "20.00", "45.0", "yes", "35.00", "15.00", "NO"],
        ["after", how, "54.50", "42.0", "yes", "0.50", "0.50", "yes"],
    ]
    assert answer_lines(replace(results, budget_ms=10.0)) == [
        "No entry with all 10 images takes 10 ms or less."
    ]


def test_the_steps_tables(results: SamplingResults) -> None:
    on_all, on_common = tables(markdown(results, "sampling.svg"))[2:4]
    header = ["weights", "image features", "decoder", "sampler", "1 step", "4 steps"]
    assert on_all[0] == on_common[0] == header
    assert on_all[1:] == [
        ["before", "no", "mask", "ddpm", "30.00", "35.00"],
        ["before", "no", "mask", "any sampler, zero noise", "20.00", ""],
        ["after", "yes", "mask", "ddpm", "40.00", "50.00"],
        # One step of DPM-Solver++ is that of ddpm.
        ["after", "yes", "mask", "dpm-solver++", "40.00", "55.00"],
        ["after", "yes", "mask", "any sampler, zero noise", "54.50", ""],
    ]
    assert on_common[1:] == [
        ["before", "no", "mask", "ddpm", "31.00", "36.00"],
        ["before", "no", "mask", "any sampler, zero noise", "20.00", ""],
        ["after", "yes", "mask", "ddpm", "41.00", "52.00"],
        ["after", "yes", "mask", "dpm-solver++", "41.00", "56.00"],
        ["after", "yes", "mask", "any sampler, zero noise", "53.00", ""],
        ["after", "yes", "palette", "ddpm", "44.00", "45.00"],
    ]
    page = markdown(replace(results, common_images=10), "sampling.svg")
    assert "On all 10 images:" in page
    assert "palette's" not in page


def test_the_samples_table_compares_what_is_alike_but_for_the_samples(
    results: SamplingResults,
) -> None:
    samples = tables(markdown(results, "sampling.svg"))[4]
    figures = ["90.00", "0.020", "0.010", "1.25", "0.0123"]
    assert samples[1:] == [
        ["after", "mask", "ddpm", "4", "1", "10", "50.00", *figures, "51.0"],
        ["after", "mask", "ddpm", "4", "8", "10", "60.00", *figures, "90.0"],
    ]
    single = replace(
        results, entries=tuple(one for one in results.entries if one.options.samples == 1)
    )
    assert "## Several samples" not in markdown(single, "sampling.svg")


def test_all_entries_are_listed_and_defaults_are_marked(results: SamplingResults) -> None:
    listed = tables(markdown(results, "sampling.svg"))[5]
    assert len(listed) == 1 + len(results.entries)
    assert {len(row) for row in listed} == {17}
    assert listed[0][-2:] == ["mIoU %, 2 images", ""]
    assert [row[0] for row in listed[1:] if row[-1] == "default"] == ["before", "after"]
    assert listed[-1] == [
        "after", "palette", "ddpm", "4", "1", "1", "float32", "2", "45.00", "90.00", "0.020",
        "0.010", "1.25", "0.0123", "710.0", "45.00", "",
    ]  # fmt: skip


def test_the_notes_say_what_a_reader_must_know(results: SamplingResults) -> None:
    page = markdown(results, "sampling.svg")
    assert "`before` has no palette decoder: left out." in page
    assert "Palette entries have 2 of the 10 images" in page
    assert "RANDOM" not in page
    assert "epsilon" not in page
    assert "different machines" not in page
    entries = [
        replace(one, row=replace(one.row, scaled_temperature=None)) for one in results.entries
    ]
    odd = replace(
        results,
        entries=tuple(entries),
        machines=("one", "two"),
        weights=(
            made_weights("before", is_random=True, sha256=None),
            made_weights("after", prediction="epsilon"),
        ),
    )
    page = markdown(odd, "sampling.svg")
    assert "Some weights are RANDOM" in page
    assert "| before | before.safetensors | random |" in page
    assert "`after` predicts epsilon" in page
    assert "Times are of different machines" in page
    assert "nothing can be held out of a single sequence" in page


def test_undefined_scores_are_dashes_and_bars_do_not_break_a_table() -> None:
    default = made_entry(None, 20.0, weights="a|b", steps=1, initial_noise_scale=0.0)
    page = markdown(made_results([default], weights=(made_weights("a|b"),)), "sampling.svg")
    assert "| a\\|b | a\\|b.safetensors |" in page
    assert "| a\\|b | mask decoder, any sampler, 1 step, zero noise, float32 | – | 20.0 |" in page


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"steps": 4, "sampler": "ddim", "decoder": "mask", "precision": "bfloat16"},
            "mask decoder, ddim, 4 steps, bfloat16",
        ),
        (
            {"steps": 2, "temperature": 0.0, "samples": 8, "decoder": "palette"},
            "palette decoder, ddpm at temperature 0, 2 steps, 8 samples, float32",
        ),
        (
            {"steps": 1, "initial_noise_scale": 0.5, "decoder": "mask"},
            "mask decoder, any sampler, 1 step, noise x 0.5, float32",
        ),
    ],
)
def test_options_in_words(options: dict[str, Any], words: str) -> None:
    assert describe(SamplingOptions(**options)) == words


def test_the_names_of_samplers() -> None:
    assert sampler_name(SamplingOptions(steps=1, sampler="ddpm")) == "any sampler"
    assert sampler_name(SamplingOptions(steps=2, temperature=0.5)) == "ddpm at temperature 0.5"
    assert sampler_name(SamplingOptions(steps=2, sampler="dpm-solver++")) == "dpm-solver++"


def test_ways_that_compute_the_same_share_their_line() -> None:
    """With one step only, all samplers are one line."""
    sweep = replace(SWEEP, steps=(1,), samples=(1,))
    entry = made_entry(0.5, 20.0, steps=1)
    lines = list(steps_lines(made_results([entry], sweep=sweep), made_weights()))
    assert lines == [("any sampler", "mask", [entry])]
