# SPDX-License-Identifier: Apache-2.0
"""Every number of the report as plain data, computed from the sums of the runs.

The page and its plots read nothing else (but for the frames' pictures), and
`report.sampling.numbers_to_json` writes the same numbers beside the page. Scores are shares, 0..1;
undefined values are None.
Shapes: C = classes. A row of confusion is a true class, its last column unlabeled predictions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camseg_core.evaluation.corruptions import CORRUPTIONS
from camseg_core.evaluation.frames import FrameScore, worst_and_best
from camseg_core.evaluation.metrics.published import Protocol
from camseg_core.evaluation.metrics.ratios import finite_or_none, plain_data, ratio
from camseg_core.evaluation.metrics.registry import MAIN_METRIC, METRICS
from camseg_core.evaluation.records import NO_CORRUPTION
from camseg_core.evaluation.summary import Scores, Summary
from camseg_core.labels import LabelSet

LISTED_CONFUSIONS = 10
"""How many of the largest confusions are listed."""

UNLABELED_NAME = "unlabeled"


@dataclass(frozen=True)
class Row:
    """The scores of one set of images, a row of a table.

    Attributes:
        part, condition, corruption, level, steps, images, metrics, temperature: as in its
            `summary.Scores`; the condition is named where the part has no other.
        score: the protocol's one number.
        relative_to_clean: ``score`` divided by that of the same images without corruption.
        scaled_calibration_error: calibration error at the measured ``scaled_temperature`` that is
            nearest to the fitted one, on the images that it was not fitted on.
        milliseconds_per_image, median_milliseconds_per_image: mean and median wall time.
    """

    part: str
    steps: int
    condition: str | None
    corruption: str
    level: float
    images: int
    score: float | None
    relative_to_clean: float | None
    metrics: dict[str, float | None]
    temperature: float | None
    scaled_temperature: float | None
    scaled_calibration_error: float | None
    milliseconds_per_image: float
    median_milliseconds_per_image: float


@dataclass(frozen=True)
class ClassRow:
    """The scores of one class.

    Attributes:
        name, color: name and colour in the label set; RGB, 0..255.
        pixels: labeled pixels of the class.
        share_of_pixels: share of all labeled pixels.
        iou, recall: None by the published protocol.
        precision: precision by the rule of the run's protocol.
        calibration_error: error of the class's own probability.
        score_by_condition: IoU, or published precision, per condition where there are several.
    """

    name: str
    color: tuple[int, int, int]
    pixels: int
    share_of_pixels: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    calibration_error: float | None
    score_by_condition: dict[str, float | None]


@dataclass(frozen=True)
class Confusion:
    """One true class taken for another: ``share`` is of the true class's pixels."""

    truth: str
    prediction: str
    pixels: int
    share: float


@dataclass(frozen=True)
class Curve:
    """One corruption: its rows of one part and number of steps, by rising level.

    Attributes:
        corruption: its name.
        meaning: what a level is, with its unit; empty for a name that is not known here.
        identity: the level that changes nothing, if there is one.
        rows: one row per level.
        mean_relative: mean of ``relative_to_clean`` over the levels.
    """

    corruption: str
    meaning: str
    identity: float | None
    rows: tuple[Row, ...]
    mean_relative: float | None


@dataclass(frozen=True)
class PartNumbers:
    """One part of the data set, at the headline's number of steps and without corruption.

    Attributes:
        part: its name, or empty.
        classes: one row per class.
        confusion, confusion_shares: pixels, [C][C + 1], and shares of the true class's pixels; a
            row of None where there are none.
        largest_confusions: most pixels first.
        reliability, scaled, risk_coverage: content of `calibration.Reliability`, of
            `calibration.TemperatureScores` or None, and of `risk_coverage.RiskCoverage`.
        curves: one per corruption, sorted by name.
    """

    part: str
    classes: tuple[ClassRow, ...]
    confusion: list[list[int]]
    confusion_shares: list[list[float | None]]
    largest_confusions: tuple[Confusion, ...]
    reliability: dict[str, Any]
    scaled: dict[str, Any] | None
    risk_coverage: dict[str, Any]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class RunNumbers:
    """One run.

    Attributes:
        name: name of its folder.
        title: what was scored, in words.
        dataset, split, images_sha256, protocol, label_set, model, weights_sha256, is_random,
            sampling, corruption_seed: as in its `records.Run`; of label set and model the names.
        score_name: name of the protocol's one number.
        weights, machines, libraries: what its processes loaded and ran on, each once, in words.
        started: first and last date of a process, ISO 8601; empty if that is not recorded.
        images: number of images.
        steps: numbers of diffusion steps, rising.
        default_steps: the steps of the weights' default sampling; None if the run did not sample
            that way, or does not say.
        rows: without corruption: each part and number of steps, then its conditions.
        corrupted_rows: each part, number of steps, corruption and level.
        parts: details at `headline_steps`.
        worst, best: frames at `headline_steps`, ranked by their own mean IoU.
    """

    name: str
    title: str
    dataset: str
    split: str
    images_sha256: str
    protocol: Protocol
    score_name: str
    label_set: str
    model: str
    weights: tuple[str, ...]
    weights_sha256: str | None
    is_random: bool
    sampling: dict[str, Any]
    corruption_seed: int
    machines: tuple[str, ...]
    libraries: tuple[str, ...]
    started: tuple[str, ...]
    images: int
    steps: tuple[int, ...]
    default_steps: int | None
    rows: tuple[Row, ...]
    corrupted_rows: tuple[Row, ...]
    parts: tuple[PartNumbers, ...]
    worst: tuple[FrameScore, ...]
    best: tuple[FrameScore, ...]

    @property
    def headline_steps(self) -> int:
        """The number of steps that stands for the run: the default, or else the largest."""
        return self.default_steps or self.steps[-1]


def run_numbers(summary: Summary) -> RunNumbers:
    """Compute what the report shows of one run, which has an image with ground truth."""
    run, sessions = summary.run, summary.sessions
    steps = summary.steps()
    headline_steps = summary.default_steps or steps[-1]
    places = itertools.product(summary.parts(), steps)
    scored = {(part, count): list(summary.rows(part, count)) for part, count in places}
    rows = [row for (part, _), group in scored.items() for row in _rows(summary, part, group)]
    ranked = (score for score in summary.frame_scores if score.steps == headline_steps)
    worst, best = worst_and_best(ranked)
    started = sorted(session.started_at for session in sessions)
    return RunNumbers(
        name=summary.folder.resolve().name,
        title=summary.title,
        dataset=run.dataset,
        split=run.split,
        images_sha256=run.images_sha256,
        protocol=run.protocol,
        score_name=METRICS[MAIN_METRIC[run.protocol]].label,
        label_set=run.classes.name,
        model=str(run.model.get("name", "")),
        weights=_unique(session.weights for session in sessions),
        weights_sha256=run.weights_sha256,
        is_random=run.is_random,
        sampling=run.sampling,
        corruption_seed=run.corruption_seed,
        machines=_unique(
            f"{session.machine}; {session.device}, {session.threads} "
            f"{'thread' if session.threads == 1 else 'threads'}"
            for session in sessions
        ),
        libraries=_unique(
            f"{name} {version}"
            for session in sessions
            for name, version in session.libraries.items()
        ),
        started=_unique([started[0], started[-1]]) if started else (),
        images=len({score.sample for score in summary.frame_scores}),
        steps=tuple(steps),
        default_steps=summary.default_steps,
        rows=tuple(row for row in rows if row.corruption == NO_CORRUPTION),
        corrupted_rows=tuple(row for row in rows if row.corruption != NO_CORRUPTION),
        parts=tuple(
            _part_numbers(summary, group, rows)
            for (_, count), group in scored.items()
            if count == headline_steps and group and group[0].corruption == NO_CORRUPTION
        ),
        worst=tuple(worst),
        best=tuple(best),
    )


def _rows(summary: Summary, part: str, group: Sequence[Scores]) -> Iterator[Row]:
    """Make the rows of what `Summary.rows` returned; a single condition is named in its row."""
    conditions = summary.conditions(part)
    for scores in group:
        main, scaled = scores.main, scores.scaled
        is_clean = scores.corruption == NO_CORRUPTION
        clean = group[0].main if group[0].corruption == NO_CORRUPTION else None
        yield Row(
            part=part,
            steps=scores.steps,
            condition=(
                conditions[0] or None if is_clean and len(conditions) == 1 else scores.condition
            ),
            corruption=scores.corruption,
            level=scores.level,
            images=scores.images,
            score=main,
            relative_to_clean=None if is_clean or main is None or not clean else main / clean,
            metrics=scores.metrics,
            temperature=scores.temperature,
            scaled_temperature=scaled.temperature if scaled else None,
            scaled_calibration_error=(
                finite_or_none(scaled.reliability.expected_calibration_error) if scaled else None
            ),
            milliseconds_per_image=1000.0 * scores.seconds_per_image,
            median_milliseconds_per_image=1000.0 * scores.median_seconds_per_image,
        )


def _part_numbers(summary: Summary, group: Sequence[Scores], rows: Sequence[Row]) -> PartNumbers:
    """Tell more of a part; the first of ``group`` is of all its images without corruption."""
    scores = group[0]
    confusion, place = scores.measured.confusion, (scores.part, scores.steps)
    return PartNumbers(
        part=scores.part,
        classes=tuple(_classes(summary.run.classes, group)),
        confusion=confusion.tolist(),
        confusion_shares=[list(map(finite_or_none, row)) for row in _shares(confusion).tolist()],
        largest_confusions=_largest_confusions(confusion, summary.run.classes.names),
        reliability=plain_data(scores.measured.reliability),
        scaled=plain_data(scores.scaled),
        risk_coverage=plain_data(scores.measured.risk_coverage),
        curves=_curves([row for row in rows if (row.part, row.steps) == place]),
    )


def _shares(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normalise the rows of confusion counts [C, C + 1]; NaN in the row of an absent class."""
    return ratio(confusion, np.broadcast_to(confusion.sum(axis=1, keepdims=True), confusion.shape))


def _classes(label_set: LabelSet, group: Sequence[Scores]) -> Iterator[ClassRow]:
    measured = group[0].measured
    pixels = measured.confusion.sum(axis=1).tolist()  # [C]
    is_official = group[0].protocol == "official"

    def by_class(scores: Scores) -> tuple[float, ...]:
        return scores.measured.official.iou if is_official else scores.measured.published.precision

    by_condition = {
        scores.condition: by_class(scores) for scores in group if scores.condition is not None
    }
    precision = (measured.official if is_official else measured.published).precision
    for index, name in enumerate(label_set.names):
        yield ClassRow(
            name=name,
            color=label_set.palette[index],
            pixels=pixels[index],
            share_of_pixels=pixels[index] / sum(pixels) if any(pixels) else None,
            iou=finite_or_none(measured.official.iou[index]) if is_official else None,
            precision=finite_or_none(precision[index]),
            recall=finite_or_none(measured.official.recall[index]) if is_official else None,
            calibration_error=finite_or_none(measured.calibration.class_calibration_error[index]),
            score_by_condition={
                condition: finite_or_none(found[index]) for condition, found in by_condition.items()
            },
        )


def _largest_confusions(
    confusion: NDArray[np.int64], names: Sequence[str]
) -> tuple[Confusion, ...]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    columns = [*names, UNLABELED_NAME]
    shares = _shares(confusion)
    largest = np.argsort(-wrong, axis=None, kind="stable")[:LISTED_CONFUSIONS]
    places = zip(*np.unravel_index(largest, wrong.shape), strict=True)
    return tuple(
        Confusion(names[row], columns[column], int(wrong[row, column]), float(shares[row, column]))
        for row, column in places
        if wrong[row, column]
    )


def _curves(rows: Sequence[Row]) -> tuple[Curve, ...]:
    """Make the curves of one part's rows, which are sorted by corruption and level."""
    curves = []
    for name, grouped in itertools.groupby(rows, key=attrgetter("corruption")):
        if name == NO_CORRUPTION:
            continue
        levels = tuple(grouped)
        known = CORRUPTIONS.get(name)
        relative = [row.relative_to_clean for row in levels if row.relative_to_clean is not None]
        curves.append(
            Curve(
                corruption=name,
                meaning=known.meaning if known else "",
                identity=known.identity if known else None,
                rows=levels,
                mean_relative=sum(relative) / len(relative) if relative else None,
            )
        )
    return tuple(curves)


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
