# SPDX-License-Identifier: Apache-2.0
"""Scores of an offline replay: by data set, condition and bag, under the official protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camseg_core.evaluation.metrics.ratios import finite_or_none
from camseg_core.evaluation.metrics.registry import metrics_of
from camseg_core.evaluation.summary import Scores, Summary, summarize
from camseg_ros.replay.results.drives import DriveResult

METRIC_COLUMNS = {
    name: (metric.label, metric.meaning)
    for name, metric in metrics_of("official").items()
    if metric.is_brief
}
"""Metrics that stand in the tables: name -> heading and meaning."""

COLUMNS = METRIC_COLUMNS | {
    "flicker": (
        "flicker",
        "Share of pixels whose predicted class changes from one frame to the next though the true "
        "class does not.",
    )
}
"""The same with what only an offline replay measures."""


@dataclass(frozen=True)
class AccuracyRow:
    """Scores of some frames.

    Attributes:
        condition: condition of the frames; None for all.
        sequence: bag of the frames; None for all.
        frames: number of frames with ground truth.
        metrics: every metric by name, and the flicker; None where undefined.
    """

    condition: str | None
    sequence: str | None
    frames: int
    metrics: dict[str, float | None]


@dataclass(frozen=True)
class DatasetAccuracy:
    """Scores of one part of a data set's bags.

    Attributes:
        dataset: name and split.
        part: portion that is scored apart, or empty.
        rows: all frames first, then by condition and by bag, where there are several.
        class_iou: IoU by class name; None for a class in neither ground truth nor prediction.
    """

    dataset: str
    part: str
    rows: tuple[AccuracyRow, ...]
    class_iou: dict[str, float | None]

    @property
    def subject(self) -> str:
        """What is scored, in words."""
        return f"{self.dataset} {self.part}".strip()

    @property
    def whole(self) -> AccuracyRow:
        """The row of all frames."""
        return self.rows[0]

    def figures(self) -> dict[str, float | None]:
        """Return the figures that gates know."""
        return {
            **self.whole.metrics,
            **{f"class_iou.{label}": iou for label, iou in self.class_iou.items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        shared = {"dataset": self.dataset, "part": self.part}
        rows = [
            {
                **shared,
                "condition": row.condition,
                "sequence": row.sequence,
                "frames": row.frames,
                **row.metrics,
            }
            for row in self.rows
        ]
        return {**shared, "rows": rows, "class_iou": self.class_iou}


def score_drives(out: Path, drives: Sequence[DriveResult]) -> list[DatasetAccuracy]:
    """Score what `replay_offline` wrote below ``out``; parts of a data set are never mixed.

    Each record is read once.

    Raises:
        CamsegError: a record is damaged.
    """
    scored = []
    for folder in dict.fromkeys(drive.run for drive in drives if drive.run):
        summary = summarize(out / folder)
        for part in summary.parts():
            names = [drive.name for drive in drives if (drive.run, drive.part) == (folder, part)]
            scored.append(_score(summary, part, names))
    return scored


def _score(summary: Summary, part: str, bags: Sequence[str]) -> DatasetAccuracy:
    (steps,) = summary.steps()
    choices: list[Mapping[str, str]] = [{}]
    conditions = summary.conditions(part)
    if len(conditions) > 1:
        choices += [{"condition": condition} for condition in conditions]
    if len(bags) > 1:
        choices += [{"sequence": bag} for bag in bags]
    rows = [_row(choice, summary.scores(steps=steps, part=part, **choice)) for choice in choices]
    whole = summary.scores(steps=steps, part=part)
    iou = whole.measured.official.iou if whole else ()
    names = summary.run.classes.names
    return DatasetAccuracy(
        dataset=f"{summary.run.dataset} {summary.run.split}",
        part=part,
        rows=tuple(rows),
        class_iou={name: finite_or_none(value) for name, value in zip(names, iou, strict=True)},
    )


def _row(choice: Mapping[str, str], scores: Scores | None) -> AccuracyRow:
    condition, sequence = choice.get("condition"), choice.get("sequence")
    if scores is None:  # no frame of the bag could be scored
        return AccuracyRow(condition, sequence, 0, {})
    metrics = {**scores.metrics, "flicker": scores.flicker.share}
    return AccuracyRow(condition, sequence, scores.images, metrics)


def accuracy_lines(
    drives: Sequence[DriveResult], accuracies: Sequence[DatasetAccuracy]
) -> Iterator[str]:
    """Return a table of the scores."""
    frames = sum(len(drive.frames) for drive in drives)
    yield f"{len(drives)} bags, {frames} frames"
    if not accuracies:
        return
    headings = [heading for heading, _ in COLUMNS.values()]
    yield " ".join([f"{'frames of':<28} {'frames':>6}", *(f"{text:>7}" for text in headings)])
    for accuracy in accuracies:
        for row in accuracy.rows:
            cells = [
                f"{shown(row.metrics.get(name)):>{max(7, len(heading))}}"
                for name, (heading, _) in COLUMNS.items()
            ]
            name = row.sequence or row.condition or accuracy.subject
            yield " ".join([f"{name:<28} {row.frames:>6}", *cells])


def shown(share: float | None) -> str:
    """Return a share in percent; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f}"
