# SPDX-License-Identifier: Apache-2.0
"""From records to entries, and which of them is the best."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from statistics import median

import pytest
from made_sampling_results import made_entry, made_results, made_weights

from camseg_core.data.sample import Dataset
from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.evaluation.metrics.risk_coverage import risk_coverage
from camseg_core.evaluation.records import ImageRecord, iterate_records, record_files
from camseg_core.evaluation.sampling_benchmark import (
    Candidate,
    Images,
    SamplingRun,
    run_sampling_benchmark,
)
from camseg_core.evaluation.sampling_grid import Sweep
from camseg_core.evaluation.sampling_results import Entry, collect_results
from camseg_core.segmenter import Segmenter

SWEEP = Sweep(
    steps=(1, 2), samplers=("ddim",), initial_noise_scales=(1.0,), samples=(1,), temperatures=(1.0,)
)


def official_iou(records: Sequence[ImageRecord]) -> float:
    return official_scores(sum(record.confusion for record in records)).mean_iou


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, drawn: Dataset, light_segmenter: Segmenter
) -> tuple[list[SamplingRun], Images]:
    out = tmp_path_factory.mktemp("measured")
    candidates = [Candidate("light", light_segmenter)]
    # More images than are asked for below: they must not count.
    run_sampling_benchmark(candidates, SWEEP, Images.choose(drawn), out)
    images = Images.choose(drawn, max_images=4, palette_images=2)
    return run_sampling_benchmark(candidates, SWEEP, images, out), images


def test_entries_are_the_scores_of_the_chosen_images(
    measured: tuple[list[SamplingRun], Images],
) -> None:
    runs, images = measured
    results = collect_results(runs, SWEEP, images, 80.0, "camseg benchmark")
    assert (results.images, results.common_images, len(results.entries)) == (4, 2, 5)
    recorded = {
        (run.options(record.steps), record.sample): record
        for run in runs
        for record in iterate_records(record_files(run.folder))
    }
    assert len(recorded) == 7 * 5
    common = images.names(images.palette_indices)
    for entry in results.entries:
        chosen = images.indices if entry.options.decoder == "mask" else images.palette_indices
        names = images.names(chosen)
        records = [recorded[entry.options, name] for name in sorted(names)]
        assert entry.row.images == len(records) == (4 if entry.options.decoder == "mask" else 2)
        assert entry.mean_iou == official_iou(records)
        on_common = [record for record in records if record.sample in common]
        assert entry.common_mean_iou == official_iou(on_common)
        counts = [record.calibration_counts for record in records]
        curve = risk_coverage(
            sum(count.confidence_count for count in counts),
            sum(count.confidence_correct for count in counts),
        )
        assert entry.row.risk_coverage_area == curve.area
        seconds = [sum(record.stage_seconds.values()) for record in records]
        assert entry.milliseconds == pytest.approx(1000 * median(seconds))
    (default,) = (entry for entry in results.entries if entry.is_default)
    assert default.options == SWEEP.default(runs[0].candidate.segmenter.loaded)
    assert results.default("light") == default


def test_the_numbers_are_json_and_name_what_they_are_of(
    measured: tuple[list[SamplingRun], Images],
) -> None:
    runs, images = measured
    results = collect_results(runs, SWEEP, images, 1e6, "camseg benchmark")
    content = json.loads(results.to_json())
    assert content["command"] == "camseg benchmark"
    assert content["protocol"] == "official"
    (facts,) = content["weights"]
    assert (facts["name"], facts["model"], facts["sha256"]) == ("light", "tiny", None)
    assert facts["file"] == "random:tiny"
    assert (facts["is_random"], facts["image_features"]) == (True, True)
    (machine,) = content["machines"]
    assert machine.endswith("cpu, 1 thread")
    assert content["started"] == sorted(set(content["started"]))
    assert content["sweep"]["steps"] == [1, 2]
    assert any(text.startswith("torch ") for text in content["libraries"])
    assert len(content["entries"]) == 5
    assert content["best"] in content["entries"]
    assert content["best"]["images"] == 4
    best = max(one["mean_iou"] for one in content["entries"] if one["images"] == 4)
    (default,) = (one for one in content["entries"] if one["is_default"])
    assert content["defaults"] == [
        {
            "weights": "light",
            "points_behind_best": 100.0 * (best - default["mean_iou"]),
            "points_behind_own_best": 100.0 * (best - default["mean_iou"]),
        }
    ]
    assert content["entries"][0]["options"] == asdict(results.entries[0].options)


def test_an_unfinished_run_is_named(measured: tuple[list[SamplingRun], Images]) -> None:
    runs, images = measured
    unfinished = [replace(run, plan=replace(run.plan, steps=(3,))) for run in runs]
    with pytest.raises(CamsegError, match="lacks records of 3 steps; run it again"):
        collect_results(unfinished, SWEEP, images, 80.0, "")


def test_the_best_is_in_time_and_has_all_images() -> None:
    slow = made_entry(0.9, 80.1, steps=100)
    few_images = made_entry(0.8, 10.0, images=2, decoder="palette")
    undefined = made_entry(None, 10.0, steps=8)
    good = made_entry(0.7, 80.0, steps=4)
    as_good_but_slower = made_entry(0.7, 80.0, steps=16)
    default = made_entry(0.6957, 20.0, steps=1, initial_noise_scale=0.0)
    others = made_entry(0.65, 5.0, weights="before", steps=2)
    entries = [slow, few_images, undefined, good, as_good_but_slower, default, others]
    results = made_results(entries)
    assert results.best() == results.best("after") == good
    assert results.best("before") == others
    assert results.best("unknown") is None
    assert default.is_default
    assert results.points_behind(default, results.best()) == pytest.approx(0.43)
    assert results.points_behind(slow, results.best()) == pytest.approx(-20.0)
    assert results.points_behind(few_images, results.best()) is None
    assert results.points_behind(undefined, results.best()) is None
    assert results.points_behind(default, None) is None
    faster = replace(results, budget_ms=79.9)
    assert faster.best() == default
    assert replace(results, budget_ms=1.0).best() is None


def test_of_equal_scores_the_faster_one_is_the_best() -> None:
    entries: list[Entry] = [made_entry(0.7, ms, steps=int(ms)) for ms in (30.0, 20.0, 40.0)]
    assert made_results(entries).best() == entries[1]


def test_an_entry_is_found_by_weights_and_options() -> None:
    entries = [
        made_entry(0.5, 20.0, weights=name, steps=steps)
        for name in ("before", "after")
        for steps in (2, 4)
    ]
    weights = (made_weights("before"), made_weights("after"))
    results = made_results(entries, weights=weights)
    assert results.find("after", entries[3].options) == entries[3]
    assert results.find("before", entries[3].options) == entries[1]
    assert results.find("after", replace(entries[3].options, steps=3)) is None
