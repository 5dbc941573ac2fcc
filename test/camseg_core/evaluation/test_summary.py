# SPDX-License-Identifier: Apache-2.0
"""Sums of a run's records and their scores: what is mixed, what never is, and the held-out part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from made_records import made_record, made_run, made_session

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.calibration import (
    calibration_at,
    calibration_scores,
    fit_temperature,
    split_for_fit,
)
from camseg_core.evaluation.metrics.calibration_counts import CalibrationCounts
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.evaluation.metrics.ratios import plain_data
from camseg_core.evaluation.metrics.risk_coverage import risk_coverage
from camseg_core.evaluation.records import ImageRecord, RecordWriter, Run, open_run
from camseg_core.evaluation.summary import Scores, Summary, headline_lines, summarize


def written(
    out: Path, records: Sequence[ImageRecord], run: Run | None = None, **session: object
) -> Path:
    folder = open_run(out, run or made_run())
    with RecordWriter(folder, 0, 1) as writer:
        writer.write(made_session(**session))
        for record in records:
            writer.write(record)
    return folder


def scored(summary: Summary, **what: object) -> Scores:
    scores = summary.scores(**what)  # type: ignore[arg-type]  # names of the test's own
    assert scores is not None
    return scores


def test_scores_are_of_the_summed_counts(tmp_path: Path) -> None:
    records = [made_record(seed) for seed in range(6)]
    summary = summarize(written(tmp_path, records))
    scores = scored(summary, part="", steps=4)
    confusion = sum(record.confusion for record in records)
    np.testing.assert_array_equal(scores.measured.confusion, confusion)
    assert scores.measured.official == official_scores(confusion)
    assert scores.main == scores.metrics["mean_iou"] == official_scores(confusion).mean_iou
    assert scores.images == 6
    assert scores.seconds_per_image == sum(0.75 + seed for seed in range(6)) / 6
    calibration = CalibrationCounts.zero(3)
    for record in records:
        calibration = calibration + record.calibration_counts
    expected = calibration_scores(calibration)
    assert plain_data(scores.measured.calibration) == plain_data(expected)
    curve = risk_coverage(calibration.confidence_count, calibration.confidence_correct)
    assert plain_data(scores.measured.risk_coverage) == plain_data(curve)
    assert [score.score for score in summary.frame_scores] == sorted(
        record.mean_iou for record in records
    )


def test_a_sequence_is_scored_from_the_same_pass(tmp_path: Path) -> None:
    records = [made_record(seed) for seed in range(7)]
    summary = summarize(written(tmp_path, records))
    chosen = [record for record in records if record.sequence == records[0].sequence]
    assert 0 < len(chosen) < len(records)
    scores = scored(summary, part="", steps=4, sequence=records[0].sequence)
    alone = scored(summarize(written(tmp_path / "alone", chosen)), part="", steps=4)
    assert scores.images == len(chosen)
    assert scores.metrics == alone.metrics


def test_images_without_ground_truth_are_counted_apart(tmp_path: Path) -> None:
    blind = replace(made_record(1), counts=None, calibration=None)
    summary = summarize(written(tmp_path, [made_record(0), blind]))
    assert summary.without_ground_truth == 1
    assert scored(summary, part="", steps=4).images == 1
    assert "not scored, without ground truth: 1" in list(headline_lines(summary))
    only_blind = summarize(written(tmp_path / "blind", [blind]))
    assert only_blind.scores(part="", steps=4) is None


def test_the_median_time_ignores_a_slow_image(tmp_path: Path) -> None:
    seconds = (0.3, 0.1, 9.0, 0.2, 0.25)
    records = [
        made_record(seed, stage_seconds={"denoiser": time}) for seed, time in enumerate(seconds)
    ]
    scores = scored(summarize(written(tmp_path, records)), part="", steps=4)
    assert scores.median_seconds_per_image == 0.25
    assert scores.seconds_per_image == sum(seconds) / 5


def test_the_temperature_is_fitted_on_half_of_the_sequences_and_judged_on_the_other(
    tmp_path: Path,
) -> None:
    records = [made_record(seed) for seed in range(12)]
    fits = split_for_fit({record.sequence for record in records})
    assert len(fits) == 2
    halves = {True: CalibrationCounts.zero(3), False: CalibrationCounts.zero(3)}
    for record in records:
        key = record.sequence in fits
        halves[key] = halves[key] + record.calibration_counts
    scores = scored(summarize(written(tmp_path, records)), part="", steps=4)
    assert scores.temperature == fit_temperature(halves[True])
    assert scores.scaled is not None
    expected = calibration_at(halves[False], fit_temperature(halves[True]))
    assert plain_data(scores.scaled) == plain_data(expected)
    alone = [record for record in records if record.sequence == records[0].sequence]
    scores = scored(summarize(written(tmp_path / "alone", alone)), part="", steps=4)
    assert scores.temperature is scores.scaled is None  # a single sequence is not split


def test_images_without_a_sequence_are_split_one_by_one(tmp_path: Path) -> None:
    records = [made_record(seed, sequence="") for seed in range(4)]
    scores = scored(summarize(written(tmp_path, records)), part="", steps=4)
    assert scores.scaled is not None
    fits = split_for_fit({record.sample for record in records})
    assert scores.scaled.pixel_count == sum(
        int(record.calibration_counts.temperature_count[0].sum())
        for record in records
        if record.sample not in fits
    )


def test_parts_conditions_corruptions_and_steps_are_kept_apart(tmp_path: Path) -> None:
    changes = [
        {"part": "adverse", "condition": "fog"},
        {"part": "adverse", "condition": "night"},
        {"part": "reference", "condition": "clear"},
        {"part": "adverse", "condition": "fog", "corruption": "hue", "level": 0.1},
        {"part": "adverse", "condition": "fog", "corruption": "hue", "level": 0.2},
        {"part": "adverse", "condition": "fog", "steps": 16},
    ]
    records = [made_record(seed, **change) for seed, change in enumerate(changes)]
    summary = summarize(written(tmp_path, records))
    assert summary.parts() == ["adverse", "reference"]
    assert summary.steps() == [4, 16]
    assert summary.conditions("adverse") == ["fog", "night"]
    assert summary.conditions("reference") == ["clear"]
    assert summary.corruptions() == [("hue", 0.1), ("hue", 0.2)]

    def counts_of(**what: object) -> np.ndarray:
        return scored(summary, **what).measured.confusion

    expected = [record.confusion for record in records]
    np.testing.assert_array_equal(counts_of(part="adverse", steps=4), expected[0] + expected[1])
    np.testing.assert_array_equal(
        counts_of(part="adverse", steps=4, condition="night"), expected[1]
    )
    np.testing.assert_array_equal(counts_of(part="reference", steps=4), expected[2])
    np.testing.assert_array_equal(
        counts_of(part="adverse", steps=4, corruption="hue", level=0.2), expected[4]
    )
    np.testing.assert_array_equal(counts_of(part="adverse", steps=16), expected[5])
    assert summary.scores(part="", steps=4) is None
    assert summary.scores(part="adverse", steps=16, corruption="hue", level=0.1) is None
    assert {score.sample for score in summary.frame_scores} == {
        f"frame_{seed}.png" for seed in (0, 1, 2, 5)
    }


def test_records_of_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    run = made_run(label_set=made_run().label_set | {"names": ["a"], "palette": [[9, 9, 9]]})
    with pytest.raises(CamsegError, match=r"frame_0\.png is scored with 3 classes, the run has 1"):
        summarize(written(tmp_path, [made_record(0)], run))


def test_the_headline_is_one_row_a_group(tmp_path: Path) -> None:
    records = [
        made_record(0, part="adverse", condition="fog"),
        made_record(1, part="adverse", condition="night"),
        made_record(2, part="adverse", condition="fog", corruption="hue", level=0.1),
    ]
    summary = summarize(written(tmp_path, records))
    lines = list(headline_lines(summary))
    assert "official protocol, made val" in lines[0]
    assert lines[1].split()[:5] == ["part", "steps", "what", "images", "mIoU"]
    rows = [line.split() for line in lines[2:]]
    assert [row[:4] for row in rows] == [
        ["adverse", "4", "all", "2"],
        ["adverse", "4", "fog", "1"],
        ["adverse", "4", "night", "1"],
        ["adverse", "4", "hue:0.1", "1"],
    ]
    overall = scored(summary, part="adverse", steps=4)
    names = ("mean_iou", "pixel_accuracy", "calibration_error")
    assert rows[0][4:] == [f"{100 * (overall.metrics[name] or 0.0):.2f}" for name in names]


def test_random_weights_are_called_so(tmp_path: Path) -> None:
    run = made_run(is_random=True, weights_sha256=None, protocol="published")
    lines = list(headline_lines(summarize(written(tmp_path, [made_record(0)], run))))
    assert lines[1] == "the weights are RANDOM: these scores mean nothing"
    assert "mean precision" in lines[2]
    assert len(lines[3].split()) == 6  # no accuracy in the published protocol


def test_the_title_names_the_condition_that_all_images_share(tmp_path: Path) -> None:
    def title(*conditions: str) -> str:
        records = [made_record(n, condition=one) for n, one in enumerate(conditions)]
        run = made_run(dataset="synthetic")
        return summarize(written(tmp_path / "-".join(conditions), records, run)).title

    assert title("fog", "fog") == "synthetic val, fog"
    assert title("fog", "night") == "synthetic val"
    assert title("") == "synthetic val"


def test_the_default_sampling_of_the_weights_is_found_and_marked(tmp_path: Path) -> None:
    default = asdict(SamplingOptions(steps=4, sampler="ddim"))
    records = [made_record(n, steps=steps) for n, steps in enumerate((1, 4, 16))]

    def summary(sampler: str, **session: object) -> Summary:
        run = made_run(sampling={"sampler": sampler})
        return summarize(written(tmp_path / f"{sampler}{len(session)}", records, run, **session))

    found = summary("ddim", default_sampling=default)
    assert found.default_steps == 4
    lines = list(headline_lines(found))
    assert [line.endswith(" *") for line in lines[2:5]] == [False, True, False]
    assert lines[-1] == "* the weights' default sampling (profile balanced)"
    assert summary("ddpm", default_sampling=default).default_steps is None
    assert summary("ddim").default_steps is None  # an earlier release's, which does not say


def test_equal_ways_to_sample_count_as_the_default(tmp_path: Path) -> None:
    default = asdict(SamplingOptions(steps=1, sampler="ddim"))
    run = made_run(sampling={"sampler": "ddpm"})  # with one step every sampler is the same
    records = [made_record(1, steps=1), made_record(2, steps=2)]
    assert summarize(written(tmp_path, records, run, default_sampling=default)).default_steps == 1
