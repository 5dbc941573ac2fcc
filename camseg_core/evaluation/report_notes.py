# SPDX-License-Identifier: Apache-2.0
"""What a reader of the report should know of a run: what is left out, and what to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from camseg_core.evaluation.calibration_counts import TEMPERATURES
from camseg_core.evaluation.figures import RunFigures


def report_notes(run: RunFigures, missing_pictures: int) -> list[str]:
    """Give one sentence or two for each thing to know.

    Args:
        run: the figures.
        missing_pictures: pictures of frames that could not be shown.
    """
    return [*_scores(run), *_unfinished(run), *_left_out(run, missing_pictures)]


def _scores(run: RunFigures) -> Iterator[str]:
    if run.is_random:
        yield "The weights are random: nothing was trained, and the scores mean nothing."
    if run.protocol == "published":
        yield (
            "Published protocol: precision is a mean over all classes, where one that was never "
            "predicted counts 0, and predicting nothing costs nothing. It is no IoU, and must not "
            "be compared with scores of the official protocol."
        )
    temperatures = {row.temperature for row in (*run.rows, *run.corrupted_rows)}
    if temperatures & {TEMPERATURES[0], TEMPERATURES[-1]}:
        yield (
            f"A fitted temperature of {TEMPERATURES[0]:g} or {TEMPERATURES[-1]:g} lies at an end "
            "of the measured range: the best one may lie beyond."
        )
    if len(run.machines) > 1:
        yield "Times are means over different machines or settings."


def _unfinished(run: RunFigures) -> Iterator[str]:
    """Name rows that do not cover the same images."""
    whole = {(row.part, row.condition): 0 for row in run.rows}
    for row in run.rows:
        whole[row.part, row.condition] = max(whole[row.part, row.condition], row.images)
    steps = sorted({r.steps for r in run.rows if r.images < whole[r.part, r.condition]})
    if steps:
        yield (
            f"Unfinished: not all images are scored with {_joined(map(str, steps))} steps; "
            "`camseg evaluate` with the same options goes on."
        )
    shown = {part.part for part in run.parts}
    hidden = sorted({row.part or "clean" for row in run.rows if row.part not in shown})
    if hidden:
        yield (
            f"Unfinished: no {_joined(hidden)} image is scored with {run.steps[-1]} steps yet, so "
            "that details are left out."
        )
    elif not run.parts:
        yield "Unfinished: no clean image is scored yet, so that details are left out."
    clean: dict[tuple[str, int], int] = {}
    for row in run.rows:  # the first of a part and number of steps is that of all its conditions
        clean.setdefault((row.part, row.steps), row.images)
    names = sorted(
        {r.corruption for r in run.corrupted_rows if r.images != clean.get((r.part, r.steps))}
    )
    if names:
        yield (
            f"Unfinished: {_joined(names)} and the clean images do not cover the same images, "
            "so that scores relative to clean compare different ones."
        )


def _left_out(run: RunFigures, missing_pictures: int) -> Iterator[str]:
    if len(run.steps) == 1:
        yield "Accuracy against steps is left out: one number of steps was evaluated (--steps)."
    if not run.corrupted_rows:
        yield "Robustness is left out: no corruption was evaluated (--corruption)."
    if any(row.temperature is None for row in run.rows):
        yield (
            "Some or all temperatures are left out: one is fitted on half of the sequences and "
            "judged on the other half, and there are too few."
        )
    for part in run.parts:
        absent = [entry.name for entry in part.classes if entry.pixels == 0]
        if absent:
            where = f" of {part.part}" if part.part else ""
            yield f"Classes without a labeled pixel in the truth{where}: {_joined(absent)}."
    if not run.worst and not run.best:
        yield "Worst and best frames are left out: no image has a labeled pixel."
    if missing_pictures:
        noun = "picture" if missing_pictures == 1 else "pictures"
        yield f"{missing_pictures} {noun} of frames are left out: removed, or not readable."


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names)
