# SPDX-License-Identifier: Apache-2.0
"""Scores of an offline replay: by data set, condition and bag, under the official protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camseg_core.evaluation.metrics.ratios import finite_or_none
from camseg_core.evaluation.metrics.registry import Measured, metrics_of
from camseg_core.evaluation.summary import NO_CONDITION, Summary, summarize
from camseg_core.labels import LabelSet
from camseg_ros.replay.results.drives import DriveResult

METRIC_COLUMNS = {
    name: (metric.label, "%", metric.meaning)
    for name, metric in metrics_of("official").items()
    if metric.is_brief
}
"""Metrics that stand in the tables: name -> heading, unit and meaning."""

COLUMNS = METRIC_COLUMNS | {
    "flicker": (
        "flicker",
        "%",
        "Share of pixels whose predicted class changes from one frame to the next though the true "
        "class does not.",
    )
}
"""The same with what only an offline replay measures."""


@dataclass(frozen=True)
class DatasetAccuracy:
    """Scores of one part of a data set's bags.

    Attributes:
        dataset: name and split, and the condition where all bags share one.
        part: portion that is scored apart, or empty.
        rows: all frames first, then by condition and by bag, where there are several; each with
            ``dataset``, ``part``, ``condition`` and ``sequence`` (the bag), the latter two None for
            all, the number of ``frames`` with ground truth, every metric by name, and the
            ``flicker``; a metric is None where it is undefined, and absent without frames.
        class_iou: IoU by class name; None for a class in neither ground truth nor prediction.
    """

    dataset: str
    part: str
    rows: tuple[dict[str, Any], ...]
    class_iou: dict[str, float | None]

    @property
    def subject(self) -> str:
        """What is scored, in words."""
        return f"{self.dataset} {self.part}".strip()

    def figures(self) -> dict[str, float | None]:
        """Return the figures that gates know."""
        return {
            **self.rows[0],
            **{f"class_iou.{label}": iou for label, iou in self.class_iou.items()},
        }


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
    conditions = summary.conditions(part)
    choices: list[tuple[str | None, str | None]] = [(None, None)]
    choices += [(condition, None) for condition in conditions if len(conditions) > 1]
    choices += [(None, bag) for bag in bags if len(bags) > 1]
    dataset = summary.title
    rows, iou = list[dict[str, Any]](), dict[str, float | None]()
    for condition, sequence in choices:
        scores = summary.scores(steps=steps, part=part, condition=condition, sequence=sequence)
        shown_condition = NO_CONDITION if condition == "" else condition
        row = {"dataset": dataset, "part": part, "condition": shown_condition, "sequence": sequence}
        rows.append({**row, "frames": scores.images if scores else 0})
        if scores:  # else no frame of the bag could be scored
            rows[-1] |= {**scores.metrics, "flicker": scores.flicker.share}
            iou = iou or class_iou(scores.measured, summary.run.classes)
    return DatasetAccuracy(dataset, part, tuple(rows), iou)


def class_iou(measured: Measured, label_set: LabelSet) -> dict[str, float | None]:
    """Return the IoU of each class by name; None for a class that does not occur."""
    iou = map(finite_or_none, measured.official.iou)
    return dict(zip(label_set.names, iou, strict=True))


def accuracy_lines(
    drives: Sequence[DriveResult], accuracies: Sequence[DatasetAccuracy]
) -> Iterator[str]:
    """Return a table of the scores."""
    frames = sum(len(drive.frames) for drive in drives)
    yield f"{len(drives)} bags, {frames} frames"
    if not accuracies:
        return
    headings = {name: f"{heading:>7}" for name, (heading, _, _) in COLUMNS.items()}
    yield " ".join([f"{'frames of':<28} {'frames':>6}", *headings.values()])
    for accuracy in accuracies:
        for row in accuracy.rows:
            name = row["sequence"] or row["condition"] or accuracy.subject
            cells = [f"{shown(row.get(n)):>{len(text)}}" for n, text in headings.items()]
            yield " ".join([f"{name:<28} {row['frames']:>6}", *cells])


def shown(share: float | None) -> str:
    """Return a share in percent; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f}"
