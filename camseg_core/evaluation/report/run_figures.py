# SPDX-License-Identifier: Apache-2.0
"""From the sums of a run to the figures of the report.

Shapes: C = classes. A row of confusion is a true class, its last column unlabeled predictions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError
from camseg_core.evaluation.corruptions import LEVEL_RANGES
from camseg_core.evaluation.frames import FrameScore, worst_and_best
from camseg_core.evaluation.metrics.ratios import finite_or_none, ratio
from camseg_core.evaluation.metrics.registry import MAIN_METRIC, METRICS
from camseg_core.evaluation.records import NO_CORRUPTION
from camseg_core.evaluation.report.figures import (
    LISTED_CONFUSIONS,
    UNLABELED_NAME,
    ClassRow,
    Confusion,
    Curve,
    FrameFigures,
    PartFigures,
    Row,
    RunFigures,
)
from camseg_core.evaluation.summary import Scores, Summary


def run_figures(summary: Summary) -> RunFigures:
    """Compute what the report shows of one run."""
    run, sessions = summary.run, summary.sessions
    steps = summary.steps()
    rows, corrupted_rows = _clean_rows(summary), _corrupted_rows(summary)
    parts = tuple(
        _part_figures(summary, part, scores, corrupted_rows)
        for part in summary.parts()
        if (scores := summary.scores(part=part, steps=steps[-1])) is not None
    )
    ranked = [score for score in summary.frame_scores if score.steps == steps[-1]]
    worst, best = worst_and_best(ranked)
    started = sorted(session.started_at for session in sessions)
    return RunFigures(
        name=summary.folder.resolve().name,
        dataset=run.dataset,
        split=run.split,
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
        rows=rows,
        corrupted_rows=corrupted_rows,
        parts=parts,
        worst=_frames(worst),
        best=_frames(best),
    )


def _clean_rows(summary: Summary) -> tuple[Row, ...]:
    """Make the rows without corruption; a single condition's row stands for its part."""
    rows = []
    for part in summary.parts():
        conditions = summary.conditions(part)
        groups = [None, *conditions] if len(conditions) > 1 else conditions
        for steps in summary.steps():
            for condition in groups:
                scores = summary.scores(part=part, steps=steps, condition=condition)
                if scores is not None:
                    rows.append(_row(scores, part, steps, condition))
    return tuple(rows)


def _corrupted_rows(summary: Summary) -> tuple[Row, ...]:
    rows = []
    for part in summary.parts():
        for steps in summary.steps():
            clean = summary.scores(part=part, steps=steps)
            for corruption, level in summary.corruptions():
                scores = summary.scores(part=part, steps=steps, corruption=corruption, level=level)
                if scores is not None:
                    rows.append(_row(scores, part, steps, None, corruption, level, clean))
    return tuple(rows)


def _row(
    scores: Scores,
    part: str,
    steps: int,
    condition: str | None,
    corruption: str = NO_CORRUPTION,
    level: float = 0.0,
    clean: Scores | None = None,
) -> Row:
    scaled = scores.scaled
    main, clean_main = scores.main, clean and clean.main
    return Row(
        part=part,
        steps=steps,
        condition=condition,
        corruption=corruption,
        level=level,
        images=scores.images,
        score=main,
        relative_to_clean=main / clean_main if main is not None and clean_main else None,
        metrics=scores.metrics,
        temperature=scores.temperature,
        scaled_temperature=scaled.temperature if scaled else None,
        scaled_calibration_error=(
            finite_or_none(scaled.reliability.expected_calibration_error) if scaled else None
        ),
        milliseconds_per_image=1000.0 * scores.seconds_per_image,
        median_milliseconds_per_image=1000.0 * scores.median_seconds_per_image,
    )


def _part_figures(
    summary: Summary, part: str, scores: Scores, corrupted_rows: Sequence[Row]
) -> PartFigures:
    steps = summary.steps()[-1]
    names = summary.run.classes.names
    measured = scores.measured
    shares = _shares(measured.confusion)
    if measured.reliability is None or measured.risk_coverage is None:
        raise CamsegError(f"{summary.folder} has no calibration counts")
    return PartFigures(
        part=part,
        classes=_classes(summary, part, steps, scores),
        confusion=measured.confusion.tolist(),
        confusion_shares=[[finite_or_none(share) for share in row] for row in shares.tolist()],
        largest_confusions=_largest_confusions(measured.confusion, names),
        reliability=measured.reliability.to_dict(),
        scaled=None if scores.scaled is None else scores.scaled.to_dict(),
        risk_coverage=measured.risk_coverage.to_dict(),
        curves=_curves([row for row in corrupted_rows if (row.part, row.steps) == (part, steps)]),
    )


def _shares(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normalise the rows of confusion counts [C, C + 1]; NaN in the row of an absent class."""
    return ratio(confusion, np.broadcast_to(confusion.sum(axis=1, keepdims=True), confusion.shape))


def _classes(summary: Summary, part: str, steps: int, scores: Scores) -> tuple[ClassRow, ...]:
    label_set, measured = summary.run.classes, scores.measured
    pixels = measured.confusion.sum(axis=1)  # [C]
    total = int(pixels.sum())
    conditions = summary.conditions(part)
    by_condition = {
        condition: _class_scores(found)
        for condition in (conditions if len(conditions) > 1 else [])
        if (found := summary.scores(part=part, steps=steps, condition=condition)) is not None
    }
    official = measured.official if scores.protocol == "official" else None
    precision = official.precision if official else measured.published.precision
    calibration = measured.calibration
    errors = calibration.class_calibration_error if calibration else (math.nan,) * len(pixels)
    return tuple(
        ClassRow(
            name=name,
            color=label_set.palette[index],
            pixels=int(pixels[index]),
            share_of_pixels=int(pixels[index]) / total if total else None,
            iou=finite_or_none(official.iou[index]) if official else None,
            precision=finite_or_none(precision[index]),
            recall=finite_or_none(official.recall[index]) if official else None,
            calibration_error=finite_or_none(errors[index]),
            score_by_condition={
                condition: finite_or_none(found[index]) for condition, found in by_condition.items()
            },
        )
        for index, name in enumerate(label_set.names)
    )


def _class_scores(scores: Scores) -> tuple[float, ...]:
    measured = scores.measured
    return measured.official.iou if scores.protocol == "official" else measured.published.precision


def _largest_confusions(
    confusion: NDArray[np.int64], names: Sequence[str]
) -> tuple[Confusion, ...]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    columns = [*names, UNLABELED_NAME]
    shares = _shares(confusion)
    found = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:LISTED_CONFUSIONS].tolist():
        truth, prediction = divmod(place, len(columns))
        if wrong[truth, prediction]:
            pixels, share = int(wrong[truth, prediction]), float(shares[truth, prediction])
            found.append(Confusion(names[truth], columns[prediction], pixels, share))
    return tuple(found)


def _curves(rows: Sequence[Row]) -> tuple[Curve, ...]:
    """Make the curves of one part's rows, which are sorted by corruption and level."""
    curves = []
    for name, grouped in groupby(rows, key=attrgetter("corruption")):
        levels = tuple(grouped)
        known = LEVEL_RANGES.get(name)
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


def _frames(scores: Sequence[FrameScore]) -> tuple[FrameFigures, ...]:
    return tuple(FrameFigures(score.sample, score.steps, score.score) for score in scores)


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
