# SPDX-License-Identifier: Apache-2.0
"""The numbers of the report are those of the records, each from the images it is said to be of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camseg_core.evaluation.corruptions import select_corruptions
from camseg_core.evaluation.metrics.calibration import calibration_scores
from camseg_core.evaluation.metrics.calibration_counts import CalibrationCounts
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.evaluation.metrics.published import published_scores
from camseg_core.evaluation.metrics.ratios import finite_or_none
from camseg_core.evaluation.records import ImageRecord, iterate_records, record_files
from camseg_core.evaluation.report.numbers import Row, RunNumbers, run_numbers
from camseg_core.evaluation.report.sampling import numbers_to_json, sampling_tables
from camseg_core.evaluation.summary import summarize
from camseg_core.labels import LabelSet

SIX = LabelSet(
    "six",
    ("sky", "road", "car", "pole", "person", "never there"),
    tuple((40 * index, 255 - 40 * index, 90) for index in range(6)),
)
CORRUPTIONS = select_corruptions("gaussian_noise:5,gaussian_noise:50,hue:-0.1")


@pytest.fixture(scope="module", params=[("official", (4, 1)), ("published", (2,))])
def folder(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    simulate_run: Callable[..., Path],
    simulated_images: Callable[..., list[Any]],
) -> Path:
    """A run of two parts, the first with two conditions; one class is in no ground truth."""
    protocol, steps = request.param
    images = [
        *simulated_images(7, 5, ("fog", "night"), "adverse"),
        *simulated_images(5, 5, ("clear",), "reference"),
    ]
    images[1] = replace(images[1], truth=images[1].truth * 0 + 255)  # nothing labeled
    return simulate_run(
        tmp_path_factory.mktemp(protocol), images, SIX,
        protocol=protocol, steps=steps, corruptions=CORRUPTIONS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def records(folder: Path) -> list[ImageRecord]:
    return list(iterate_records(record_files(folder)))


@pytest.fixture(scope="module")
def numbers(folder: Path) -> RunNumbers:
    return run_numbers(summarize(folder))


def test_each_row_is_scored_from_its_own_images(
    numbers: RunNumbers, records: list[ImageRecord]
) -> None:
    def images_of(row: Row) -> list[ImageRecord]:
        return [
            record
            for record in records
            if (record.part, record.corruption, record.level, record.steps)
            == (row.part, row.corruption, row.level, row.steps)
            and row.condition in {None, record.condition}
        ]

    conditions = [("adverse", None), ("adverse", "fog"), ("adverse", "night")]
    assert [(row.part, row.condition, row.steps) for row in numbers.rows] == [
        *((part, condition, steps) for steps in numbers.steps for part, condition in conditions),
        *(("reference", "clear", steps) for steps in numbers.steps),
    ]
    assert len(numbers.corrupted_rows) == 2 * len(numbers.steps) * len(CORRUPTIONS)
    assert {row.condition for row in numbers.corrupted_rows} == {None}
    for row in (*numbers.rows, *numbers.corrupted_rows):
        found = images_of(row)
        confusion = sum(record.confusion for record in found)
        counts = sum((record.calibration_counts for record in found), CalibrationCounts.zero(6))
        assert row.images == len(found) > 0
        if numbers.protocol == "official":
            assert row.score == official_scores(confusion).mean_iou
        else:
            assert row.score == published_scores(confusion).mean_precision
        error = calibration_scores(counts).reliability.expected_calibration_error
        assert row.metrics["calibration_error"] == finite_or_none(error)
        seconds = [sum(record.stage_seconds.values()) for record in found]
        assert row.milliseconds_per_image == pytest.approx(1000 * np.mean(seconds))
        assert row.median_milliseconds_per_image == pytest.approx(1000 * np.median(seconds))
    clean = {(row.part, row.steps): row.score for row in numbers.rows[::-1]}
    for row in numbers.corrupted_rows:
        assert row.relative_to_clean == (row.score or 0.0) / (clean[row.part, row.steps] or 1.0)


def test_a_part_is_told_at_the_largest_number_of_steps(
    numbers: RunNumbers, records: list[ImageRecord]
) -> None:
    last = numbers.steps[-1]
    assert [part.part for part in numbers.parts] == ["adverse", "reference"]
    for part in numbers.parts:
        found = [
            record
            for record in records
            if (record.part, record.corruption, record.steps) == (part.part, "none", last)
        ]
        confusion = sum(record.confusion for record in found)
        assert isinstance(confusion, np.ndarray)
        assert part.confusion == confusion.tolist()
        pixels = confusion.sum(axis=1)
        assert [row.pixels for row in part.classes] == pixels.tolist()
        assert part.classes[5].name == "never there"
        assert part.classes[5].share_of_pixels == 0.0
        assert part.confusion_shares[5] == [None] * 7
        assert sum(part.confusion_shares[0]) == pytest.approx(1.0)  # type: ignore[arg-type]  # all
        expected = official_scores(confusion) if numbers.protocol == "official" else None
        assert part.classes[0].iou == (expected and expected.iou[0])
        assert set(part.classes[0].score_by_condition) == (
            {"fog", "night"} if part.part == "adverse" else set()
        )
        wrong = [confusion[row, column] for row in range(6) for column in range(7) if row != column]
        shown = [one.pixels for one in part.largest_confusions]
        assert shown == [pixels for pixels in sorted(wrong, reverse=True)[:10] if pixels]
        assert [curve.corruption for curve in part.curves] == ["gaussian_noise", "hue"]
        assert [len(curve.rows) for curve in part.curves] == [2, 1]
    ranked = [record for record in records if (record.corruption, record.steps) == ("none", last)]
    scores = sorted(one.mean_iou for one in ranked if one.mean_iou == one.mean_iou)
    assert [frame.score for frame in (*numbers.worst, *numbers.best[::-1])] == [
        *scores[:4],
        *scores[-4:],
    ]


def test_ways_to_sample_compete_with_all_images_and_within_the_budget(numbers: RunNumbers) -> None:
    def way(name: str, score: float, milliseconds: float, images: int = 9) -> RunNumbers:
        row = replace(
            numbers.rows[0],
            score=score,
            images=images,
            median_milliseconds_per_image=milliseconds,
        )
        return replace(numbers, sampling={"sampler": name, "seed": 0}, rows=(row,))

    runs = [way("a", 0.5, 90.0), way("b", 0.7, 120.0), way("c", 0.6, 80.0), way("d", 0.9, 1.0, 8)]
    (table,) = sampling_tables(runs)
    assert [choice.settings for choice in table.choices] == [f"sampler {name}" for name in "abcd"]
    assert (table.best, table.fastest) == (1, 2)
    assert sampling_tables(runs, 100.0)[0].best == 2
    assert sampling_tables(runs, 10.0)[0].best is None
    assert sampling_tables(runs[:1]) == ()
    other = replace(runs[1], images_sha256="1" * 64)
    assert sampling_tables([runs[0], other]) == ()


def test_numbers_are_json(numbers: RunNumbers) -> None:
    content = json.loads(numbers_to_json([numbers], sampling_tables([numbers])))
    (run,) = content["runs"]
    assert run["machines"] == ["a processor, 2 cores, 24 GiB; cpu, 1 thread"]
    assert run["rows"][0]["metrics"] == numbers.rows[0].metrics
    assert len(content["sampling"]) == (2 if len(numbers.steps) > 1 else 0)
