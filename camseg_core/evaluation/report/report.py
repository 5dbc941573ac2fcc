# SPDX-License-Identifier: Apache-2.0
"""The work behind ``camseg report``: one self-contained HTML page of some evaluations."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from camseg_core.diffusion.options import DEFAULT_PROFILE
from camseg_core.errors import CamsegError
from camseg_core.evaluation.frames import PICTURES, FrameScore, picture_path
from camseg_core.evaluation.latent_scores import read_latent_scores
from camseg_core.evaluation.metrics.calibration_counts import TEMPERATURES
from camseg_core.evaluation.metrics.published import PROTOCOLS
from camseg_core.evaluation.metrics.registry import metrics_of
from camseg_core.evaluation.records import find_runs
from camseg_core.evaluation.report.numbers import (
    UNLABELED_NAME,
    PartNumbers,
    RunNumbers,
    run_numbers,
)
from camseg_core.evaluation.report.page import data_uri, page_environment
from camseg_core.evaluation.report.sampling import numbers_to_json, sampling_tables
from camseg_core.evaluation.summary import Summary, summarize
from camseg_core.images.drawing import encode_png
from camseg_core.images.reading import read_image
from camseg_core.system.files import write_bytes

FIGURES_FILE = "figures.json"
TEMPLATE = "report.html.j2"
JPEG_QUALITY = 80
LARGEST_SHOWN_MATRIX = 40
"""With more classes the confusion matrix is a picture only: its table would be megabytes."""


def write_report(folder: Path, out: Path, budget_ms: float | None = None) -> Path:
    """Write a page of all runs in a folder, and ``figures.json`` with its numbers beside it.

    What ``camseg benchmark latent`` wrote there is shown, too.

    Args:
        folder: folder of runs, or of one run.
        out: the page's file.
        budget_ms: time of an image that the best way to sample must keep; any without.

    Returns:
        ``out``.

    Raises:
        CamsegError: no run, none with a scored image, a damaged file, one that cannot be written,
            or a library of the report is not installed.
    """
    if out.is_dir() or out.name == FIGURES_FILE:
        raise CamsegError(
            f"cannot write the page to {out}: a file name such as report.html is needed"
        )
    environment = page_environment(__package__, TEMPLATE)
    from camseg_core.evaluation.report import plots

    summaries = [summarize(path) for path in find_runs(folder)]
    # The last run of a stopped suite may be just begun, and a bag may have no ground truth.
    scored = [summary for summary in summaries if summary.sums]
    if not scored:
        raise CamsegError(
            f"{folder} holds no scored image: `camseg evaluate` was stopped too early, or the "
            "images have no ground truth"
        )
    # The weights' default sampling first: it is what a user of them gets.
    scored.sort(key=lambda summary: summary.default_steps is None)
    views = [_view(summary, f"run-{n}") for n, summary in enumerate(scored, start=1)]
    if len(views) > 1:
        views = [view | {"title": f"{n}. {view['title']}"} for n, view in enumerate(views, start=1)]
    runs = [view["numbers"] for view in views]
    tables = sampling_tables(runs, budget_ms)
    latents = read_latent_scores(folder)
    page = environment.get_template(TEMPLATE).render(
        runs=views,
        tables=[
            (protocol, metrics_of(protocol), found)
            for protocol in PROTOCOLS
            if (found := [view for view in views if view["numbers"].protocol == protocol])
        ],
        sampling=[
            {
                "numbers": table,
                "plots": [
                    plots.score_against(table, axis, name=f"sampling-{n}-{axis}")
                    for axis in plots.AXES
                ],
            }
            for n, table in enumerate(tables)
        ],
        latents=latents,
        empty=[summary.folder.name for summary in summaries if not summary.sums],
        metrics_of=metrics_of,
        unlabeled=UNLABELED_NAME,
        largest_shown_matrix=LARGEST_SHOWN_MATRIX,
    )
    write_bytes(out.with_name(FIGURES_FILE), numbers_to_json(runs, tables, latents))
    write_bytes(out, page.encode("utf-8", "replace"))  # names may hold lone surrogates
    return out


def _view(summary: Summary, anchor: str) -> dict[str, Any]:
    """Return what the page shows of one run: ``anchor`` is where it stands in the page."""
    run = run_numbers(summary)
    worst, best = (
        [_frame_view(summary.folder, score) for score in scores] for scores in (run.worst, run.best)
    )
    missing = sum(list(view["pictures"].values()).count(None) for view in (*worst, *best))
    label_set = summary.run.classes
    colors = [*zip(label_set.names, label_set.palette, strict=True)]
    return {
        "anchor": anchor,
        "title": run.title,
        "numbers": run,
        "colors": [*colors, (UNLABELED_NAME, label_set.void_color)],
        "parts": [_part_view(run, part, f"{anchor}-part-{n}") for n, part in enumerate(run.parts)],
        "worst": worst,
        "best": best,
        "notes": [*_scores(run), *_unfinished(run), *_left_out(run, missing)],
    }


def _part_view(run: RunNumbers, part: PartNumbers, name: str) -> dict[str, Any]:
    from camseg_core.evaluation.report import plots

    return {
        "numbers": part,
        "plots": {
            "class_bars": plots.class_bars(part, run.protocol, name=f"{name}-classes"),
            "confusion_matrix": plots.confusion_matrix(part, name=f"{name}-confusion"),
            "reliability": plots.reliability(part, name=f"{name}-reliability"),
            "risk_coverage": plots.risk_coverage(part, name=f"{name}-risk"),
        },
        "curves": [
            plots.robustness(curve, run.score_name, name=f"{name}-corruption-{n}")
            for n, curve in enumerate(part.curves)
        ],
    }


def _frame_view(folder: Path, score: FrameScore) -> dict[str, Any]:
    paths = {kind: picture_path(folder, score, kind) for kind in PICTURES}
    return {"score": score, "pictures": {kind: _picture(paths[kind], kind) for kind in PICTURES}}


def _picture(path: Path, kind: str) -> dict[str, Any] | None:
    """Read a picture: its ``uri``, width and height; None if it is absent or damaged."""
    try:
        image = read_image(path)  # [H, W, 3]
    except CamsegError:
        return None
    height, width = image.shape[:2]
    if kind in {"truth", "prediction"}:
        return {"uri": data_uri("png", encode_png(image)), "width": width, "height": height}
    content = io.BytesIO()
    picture = Image.fromarray(image).convert("L" if kind == "confidence" else "RGB")
    picture.save(content, "JPEG", quality=JPEG_QUALITY)
    return {"uri": data_uri("jpeg", content.getvalue()), "width": width, "height": height}


def _scores(run: RunNumbers) -> Iterator[str]:
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
    if run.default_steps is None and run.protocol == "official":
        yield (
            "These are not the scores of the weights' default sampling (profile "
            f"{DEFAULT_PROFILE}), which was not evaluated here or is not recorded: the headline is "
            f"at {run.headline_steps} steps of the sampling below."
        )
    if len(run.machines) > 1:
        yield "Times are means over different machines or settings."


def _unfinished(run: RunNumbers) -> Iterator[str]:
    """Name rows that do not cover the same images."""
    whole: Counter[tuple[str, str | None]] = Counter()
    for row in run.rows:
        whole |= Counter({(row.part, row.condition): row.images})
    steps = sorted({r.steps for r in run.rows if r.images < whole[r.part, r.condition]})
    if steps:
        yield (
            f"Unfinished: not all images are scored with {', '.join(map(str, steps))} steps; "
            "`camseg evaluate` with the same options goes on."
        )
    shown = {part.part for part in run.parts}
    hidden = sorted({row.part or "clean" for row in run.rows if row.part not in shown})
    if hidden:
        yield (
            f"Unfinished: no {', '.join(hidden)} image is scored with {run.headline_steps} steps "
            "yet, so that details are left out."
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
            f"Unfinished: {', '.join(names)} and the clean images do not cover the same images, "
            "so that scores relative to clean compare different ones."
        )


def _left_out(run: RunNumbers, missing_pictures: int) -> Iterator[str]:
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
            where = f"in the ground truth of {part.part}" if part.part else "in the ground truth"
            yield f"Classes without a labeled pixel {where}: {', '.join(absent)}."
    if not run.worst and not run.best:
        yield "Worst and best frames are left out: no image has a labeled pixel."
    if missing_pictures:
        noun = "picture" if missing_pictures == 1 else "pictures"
        yield f"{missing_pictures} {noun} of frames are left out: removed, or not readable."
