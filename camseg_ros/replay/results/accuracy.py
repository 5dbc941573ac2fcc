# SPDX-License-Identifier: Apache-2.0
"""Scores of an offline replay: per data set, condition and sequence, by the official protocol."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from camseg_core.evaluation.metrics.flicker import FlickerCounts
from camseg_core.evaluation.metrics.official import OfficialScores
from camseg_core.evaluation.metrics.ratios import finite_or_none
from camseg_core.evaluation.summary import Summary, summarize
from camseg_ros.replay.results.drive_result import DriveResult


@dataclass(frozen=True)
class AccuracyRow:
    """Scores of some frames, 0..1; None where undefined.

    Attributes:
        dataset: name and split.
        part: portion that is scored apart, or empty.
        condition: of the frames; None for all.
        sequence: the bag; None for all.
        frames: with truth.
        mean_iou, pixel_accuracy: by the official protocol.
        calibration_error: expected, of the largest class probability.
        flicker: share of pixels that change their class though the truth stands still.
    """

    dataset: str
    part: str
    condition: str | None
    sequence: str | None
    frames: int
    mean_iou: float | None
    pixel_accuracy: float | None
    calibration_error: float | None
    flicker: float | None


@dataclass(frozen=True)
class DatasetAccuracy:
    """Scores of one data set's bags.

    Attributes:
        dataset: name and split.
        part: see `AccuracyRow`.
        rows: all frames first, then by condition and by sequence, where there are several.
        class_iou: IoU by class name; None for a class in neither truth nor prediction.
    """

    dataset: str
    part: str
    rows: tuple[AccuracyRow, ...]
    class_iou: dict[str, float | None]

    @property
    def whole(self) -> AccuracyRow:
        """The row of all frames."""
        return self.rows[0]


def score_drives(out: Path, drives: Sequence[DriveResult]) -> list[DatasetAccuracy]:
    """Score what `replay_offline` wrote below ``out``; parts of a data set are never mixed.

    Raises:
        CamsegError: a record is damaged.
    """
    scored = []
    for folder in dict.fromkeys(drive.run for drive in drives if drive.run):
        members = [drive for drive in drives if drive.run == folder]
        for part in sorted({drive.part for drive in members}):
            of_part = [drive for drive in members if drive.part == part]
            scored.append(_score(summarize(out / folder), part, of_part))
    return scored


def _score(summary: Summary, part: str, drives: Sequence[DriveResult]) -> DatasetAccuracy:
    dataset = f"{summary.run.dataset} {summary.run.split}"
    (steps,) = summary.steps()
    rows = [_row(summary, dataset, part, steps, None, None, drives)]
    conditions = summary.conditions(part)
    for condition in conditions if len(conditions) > 1 else ():
        members = [drive for drive in drives if (drive.condition or "clear") == condition]
        rows.append(_row(summary, dataset, part, steps, condition, None, members))
    for drive in drives if len(drives) > 1 else ():
        alone = summarize(summary.folder, _samples(drive))
        rows.append(_row(alone, dataset, part, steps, None, drive.name, [drive]))
    whole = summary.scores(steps=steps, part=part)
    iou = whole.accuracy.iou if whole and isinstance(whole.accuracy, OfficialScores) else ()
    names = summary.run.classes.names
    class_iou = {name: finite_or_none(value) for name, value in zip(names, iou, strict=True)}
    return DatasetAccuracy(dataset, part, tuple(rows), class_iou)


def _row(
    summary: Summary,
    dataset: str,
    part: str,
    steps: int,
    condition: str | None,
    sequence: str | None,
    drives: Iterable[DriveResult],
) -> AccuracyRow:
    scores = summary.scores(steps=steps, part=part, condition=condition)
    flicker = sum((drive.flicker for drive in drives), FlickerCounts()).share
    if scores is None or not isinstance(scores.accuracy, OfficialScores):
        return AccuracyRow(dataset, part, condition, sequence, 0, None, None, None, flicker)
    reliability = scores.calibration.reliability
    return AccuracyRow(
        dataset=dataset,
        part=part,
        condition=condition,
        sequence=sequence,
        frames=scores.images,
        mean_iou=finite_or_none(scores.accuracy.mean_iou),
        pixel_accuracy=finite_or_none(scores.accuracy.pixel_accuracy),
        calibration_error=finite_or_none(reliability.expected_calibration_error),
        flicker=flicker,
    )


def _samples(drive: DriveResult) -> Collection[str]:
    return {sample_name(drive.name, frame.camera, frame.stamp_ns) for frame in drive.frames}


def sample_name(bag: str, camera: str, stamp_ns: int) -> str:
    """Name a frame in the records."""
    return f"{bag}/{camera}/{stamp_ns}"
