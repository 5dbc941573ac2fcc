# SPDX-License-Identifier: Apache-2.0
"""Ways are timed in turns, scaled where it is said, and told with their work and memory."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camseg_core.errors import CamsegError
from camseg_core.evaluation.speed import measure
from camseg_core.evaluation.speed.measure import Ladder, Sweep, measure_ladder, measure_sweep
from camseg_core.evaluation.speed.results import (
    SpeedResults,
    WaySpeed,
    notes,
    table_lines,
    write_speed_results,
)
from camseg_core.segmentation import STAGES
from camseg_core.segmenter import SamplingOptions, Segmenter
from camseg_core.weights.loading import random_model
from camseg_core.weights.onnx_export import export_onnx


@pytest.fixture(scope="module")
def ladder() -> SpeedResults:
    return measure_ladder(Ladder("random:tiny"), repeats=2)


def test_a_ladder_has_the_published_way_ours_and_the_profiles(ladder: SpeedResults) -> None:
    assert [way.name for way in ladder.ways] == [
        "published", "exact", "accurate", "balanced", "fast"
    ]  # fmt: skip
    published, exact = ladder.ways[:2]
    assert (published.steps, exact.steps) == (100, 100)
    assert published.timed_steps == exact.timed_steps == 100  # so small that all are timed
    for way in ladder.ways:
        assert all(way.seconds[stage] > 0.0 for stage in STAGES), way.name
        assert way.peak_memory_bytes is not None
        assert 50 * 2**20 < way.peak_memory_bytes < 4 * 2**30


def test_work_is_counted_per_stage(ladder: SpeedResults) -> None:
    published, exact, accurate, balanced, fast = (way.flops for way in ladder.ways)
    assert published["image_encoder"] == exact["image_encoder"] == fast["image_encoder"] > 0
    # Twice the tokens, and the conditions and timesteps embedded at each step.
    assert published["denoiser"] > 2 * exact["denoiser"]
    assert exact["denoiser"] / balanced["denoiser"] == pytest.approx(100 / 4, rel=0.1)
    assert accurate["denoiser"] > balanced["denoiser"] > fast["denoiser"]
    assert published["prepare"] == published["finish"] == 0.0


def test_what_an_approximation_costs_the_latent_stands_beside_its_time(
    parity: Path, parity_segmenter: Segmenter
) -> None:
    size = parity_segmenter.loaded.config.input
    image = np.zeros((size.height, size.width, 3), np.uint8)
    names = ["published", "exact", "fast"]
    results = measure_ladder(Ladder(str(parity), image=image, names=names), repeats=1)
    errors = {way.name: way.latent_error for way in results.ways}
    assert errors["published"] is None
    assert errors["exact"] == 0.0
    fast_options = replace(parity_segmenter.loaded.profiles["fast"], temperature=0.0)
    exact, fast = (
        parity_segmenter.predict_latent(image, options).numpy()
        for options in (SamplingOptions(steps=100, temperature=0.0), fast_options)
    )
    expected = np.sqrt(np.mean((fast - exact) ** 2)) / exact.std()
    assert expected > 1e-3
    assert errors["fast"] == pytest.approx(expected, rel=1e-2)


def test_where_all_steps_take_too_long_some_are_timed_and_scaled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "LONGEST_SECONDS", 0.0)
    asked: list[int] = []

    def timed(way: object, images: object, steps: int, device: object) -> dict[str, float]:
        asked.append(steps)
        return {**dict.fromkeys(STAGES, 1.0), "denoiser": 2.0 * steps}

    monkeypatch.setattr(measure, "seconds_of", timed)
    monkeypatch.setattr(measure, "_peak_memory", lambda _: None)
    results = measure_ladder(Ladder("random:tiny", names=["exact", "balanced"]), repeats=3)
    exact, balanced = results.ways
    assert (exact.timed_steps, balanced.timed_steps) == (10, 4)
    assert (exact.seconds["denoiser"], balanced.seconds["denoiser"]) == (200.0, 8.0)
    assert (exact.total_seconds, balanced.total_seconds) == (205.0, 13.0)
    assert asked[-6:] == [10, 4] * 3  # in turns
    assert "exact from 10 to 100 steps" in "\n".join(notes(results))


def test_a_sweep_has_every_combination() -> None:
    before = torch.get_num_threads()
    results = measure_sweep(
        Sweep(
            "random:tiny", profile="fast", sizes=[(32, 64), (64, 64)], steps=[1, 2], cameras=[1, 2]
        ),
        repeats=1,
    )
    assert [
        (w.image_height, w.image_width, w.steps, w.batch_size, w.threads) for w in results.ways
    ] == [
        (height, 64, steps, cameras, before)
        for height in (32, 64)
        for steps in (1, 2)
        for cameras in (1, 2)
    ]
    one, two = results.ways[:2]
    assert two.flops["decoder"] == 2 * one.flops["decoder"]
    assert torch.get_num_threads() == before


def test_an_unknown_way_or_profile_is_refused() -> None:
    with pytest.raises(CamsegError, match="unknown way 'fastest'; these weights have published, "):
        measure_ladder(Ladder("random:tiny", names=["fastest"]), repeats=1)
    with pytest.raises(CamsegError, match="providers are given, but way onnx is not among"):
        measure_ladder(Ladder("random:tiny", names=["fast"], providers=["cpu"]), repeats=1)
    with pytest.raises(CamsegError, match="unknown profile 'fastest'"):
        measure_sweep(Sweep("random:tiny", profile="fastest"), repeats=1)


def test_graphs_are_timed_beside_the_ways_that_are_asked_for(tmp_path: Path) -> None:
    export_onnx(random_model("tiny"), tmp_path / "graphs")
    names = ["exact", "onnx"]
    results = measure_ladder(
        Ladder(str(tmp_path / "graphs"), names=names, providers=["cpu"]), repeats=1
    )
    assert [way.name for way in results.ways] == names
    assert results.ways[1].settings.startswith("onnx (cpu), float32, ")
    assert all(way.peak_memory_bytes for way in results.ways)


def made(name: str, seconds: float, batch_size: int = 1) -> WaySpeed:
    return WaySpeed(
        name=name, settings="some", precision="float32", image_height=4, image_width=8,
        batch_size=batch_size, threads=1, steps=1, timed_steps=1,
        seconds={**dict.fromkeys(STAGES, 0.0), "decoder": seconds},
        flops={**dict.fromkeys(STAGES, 0.0), "decoder": 1e9}, peak_memory_bytes=3 * 2**29,
    )  # fmt: skip


def test_the_table_tells_images_a_second_and_the_share_of_the_peak(tmp_path: Path) -> None:
    results = SpeedResults(
        weights="w", device="cpu", machine="m", repeats=1,
        matmul_flops={"float32": 2e9, "bfloat16": 8e9},
        ways=(made("published", 4.0), replace(made("ours", 1.0, 3), latent_error=0.123)),
    )  # fmt: skip
    _, _, first, second = (re.split(r" *\| *", line)[1:-1] for line in table_lines(results))
    assert first[STAGES.index("decoder") + 2] == "4 (12 %)"
    assert first[-5:] == ["4", "0.25", "1.0", "1.50", ""]
    assert second[-5:] == ["1", "3", "12.0", "1.50", "12 %"]
    path = tmp_path / "speed.json"
    write_speed_results(path, results)
    assert json.loads(path.read_text())["ways"][1]["seconds"]["decoder"] == 1.0
