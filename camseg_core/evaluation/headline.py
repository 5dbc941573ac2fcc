# SPDX-License-Identifier: Apache-2.0
"""The figures of a run as lines of text, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from camseg_core.evaluation.protocols import PublishedScores
from camseg_core.evaluation.summary import Scores, Summary


def headline_lines(summary: Summary) -> Iterator[str]:
    """Give a table: one row per part, number of steps, condition and corruption.

    Scores in percent, ECE = expected calibration error of the largest probability.
    """
    run = summary.run
    yield f"{summary.folder} ({run.protocol} protocol, {run.dataset} {run.split})"
    if run.is_random:
        yield "the weights are RANDOM: these scores mean nothing"
    name = "mIoU" if run.protocol == "official" else "precision"
    columns = f"{'images':>6} {name:>9} {'accuracy':>8} {'ECE':>6}"
    yield f"{'part':<10} {'steps':>5} {'what':<24} {columns}"
    for part in summary.parts():
        for steps in summary.steps():
            clean = summary.scores(part=part, steps=steps)
            if clean is not None:
                yield _row(part, steps, "all", clean)
            conditions = summary.conditions(part)
            for condition in conditions if len(conditions) > 1 else ():
                scores = summary.scores(part=part, steps=steps, condition=condition)
                if scores is not None:
                    yield _row(part, steps, condition, scores)
            for corruption, level in summary.corruptions():
                scores = summary.scores(part=part, steps=steps, corruption=corruption, level=level)
                if scores is not None:
                    yield _row(part, steps, f"{corruption}:{level:g}", scores)


def _row(part: str, steps: int, what: str, scores: Scores) -> str:
    accuracy = scores.accuracy
    shown = "" if isinstance(accuracy, PublishedScores) else f"{100 * accuracy.pixel_accuracy:.2f}"
    error = scores.calibration.reliability.expected_calibration_error
    return (
        f"{part or '-':<10} {steps:>5} {what:<24} {scores.images:>6} "
        f"{100 * scores.headline:>9.2f} {shown:>8} {error:>6.3f}"
    )
