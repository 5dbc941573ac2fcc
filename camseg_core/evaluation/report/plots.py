# SPDX-License-Identifier: Apache-2.0
"""The plots of the report, as SVG elements of a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from camseg_core.evaluation.report.figures import (
    UNLABELED_NAME,
    Curve,
    PartFigures,
    Row,
    RunFigures,
)
from camseg_core.evaluation.report.plot_canvas import (
    BLUE,
    GREEN,
    INK,
    SERIES,
    VERMILION,
    WIDTH_INCHES,
    columns_of,
    drawn_figure,
    percent_axis,
    shown_name,
)


def class_bars(part: PartFigures, protocol: str, *, name: str) -> str:
    """Draw the score of each class: IoU, or the published precision, in the class's colour.

    Args:
        part: whose classes.
        protocol: of the run.
        name: of the element, unique in its page; the same holds for all plots.
    """
    scores = [(entry.iou if protocol == "official" else entry.precision) for entry in part.classes]
    with drawn_figure(0.7 + 0.24 * len(scores), name) as (figure, svg):
        axes = figure.add_subplot()
        places = range(len(scores))
        axes.barh(
            places,
            [score or 0.0 for score in scores],
            height=0.72,
            color=[tuple(channel / 255 for channel in entry.color) for entry in part.classes],
            edgecolor=INK,
            linewidth=0.5,
        )
        for place, score in zip(places, scores, strict=True):
            text = "–" if score is None else f"{100 * score:.1f}"
            axes.text((score or 0.0) + 0.012, place, text, va="center", fontsize=9)
        axes.set_yticks(places, [shown_name(entry.name) for entry in part.classes])
        axes.set_ylim(len(scores) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        percent_axis(axes, "x", "IoU" if protocol == "official" else "precision")
        axes.set_xlim(0.0, 1.09)
        axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
    return svg[0]


def confusion_matrix(part: PartFigures, *, name: str) -> str:
    """Draw where the pixels of each true class went, as shares of its pixels."""
    names = [shown_name(entry.name) for entry in part.classes]
    shares = np.array(
        [[math.nan if share is None else share for share in row] for row in part.confusion_shares]
    )
    font_size = min(9.0, 230.0 / len(names))
    with drawn_figure(WIDTH_INCHES + 0.2, name) as (figure, svg):
        axes = figure.add_subplot()
        # "none" embeds one pixel a cell: small, and sharp at every size.
        image = axes.imshow(
            shares, cmap=_ramp(), vmin=0.0, vmax=1.0, interpolation="none", aspect="auto"
        )
        axes.set_xticks(range(len(names) + 1), [*names, UNLABELED_NAME], rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0, labelsize=font_size)
        axes.grid(visible=False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=24, pad=0.02)
        bar.ax.spines["outline"].set_visible(False)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    return svg[0]


def robustness(curve: Curve, score_name: str, *, name: str) -> str:
    """Draw one corruption: the score relative to clean against the level."""
    drawn = [
        (row.level, row.relative_to_clean)
        for row in curve.rows
        if row.relative_to_clean is not None
    ]
    with drawn_figure(2.7, name) as (figure, svg):
        axes = figure.add_subplot()
        axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        if curve.identity is not None:
            drawn = sorted({*drawn, (curve.identity, 1.0)})
            axes.plot([curve.identity], [1.0], "o", color=BLUE, fillstyle="none", markersize=9)
        axes.plot(*columns_of(drawn), color=BLUE, marker="o")
        percent_axis(axes, "y", f"{score_name} / clean")
        axes.set_ylim(0.0, max([1.05, *(1.05 * relative for _, relative in drawn)]))
        axes.set_xlabel(curve.meaning or "level")
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    return svg[0]


def accuracy_against_steps(run: RunFigures, *, name: str) -> str:
    """Draw the score of each part against the number of diffusion steps."""
    with drawn_figure(2.9, name) as (figure, svg):
        axes = figure.add_subplot()
        for part, rows, (color, marker, line) in _by_part(run):
            points = [(row.steps, row.score) for row in rows if row.score is not None]
            label = shown_name(part) or run.score_name
            axes.plot(*columns_of(points), color=color, marker=marker, linestyle=line, label=label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(run.steps, [str(steps) for steps in run.steps])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("diffusion steps")
        percent_axis(axes, "y", run.score_name)
        if len(run.parts) > 1:
            axes.legend()
    return svg[0]


def accuracy_against_time(run: RunFigures, *, name: str) -> str:
    """Draw the score of each part against the time of an image; points carry their steps."""
    with drawn_figure(2.9, name) as (figure, svg):
        axes = figure.add_subplot()
        for part, rows, (color, marker, line) in _by_part(run):
            points = [
                (row.milliseconds_per_image, row.score) for row in rows if row.score is not None
            ]
            label = shown_name(part) or run.score_name
            axes.plot(*columns_of(points), color=color, marker=marker, linestyle=line, label=label)
            for row in rows:
                if row.score is not None:
                    axes.annotate(
                        str(row.steps),
                        (row.milliseconds_per_image, row.score),
                        xytext=(-4, 5),
                        textcoords="offset points",
                        ha="right",
                        fontsize=9,
                    )
        axes.margins(y=0.16)
        axes.set_xlim(left=0.0)
        axes.set_xlabel("ms per image (numbers: steps)")
        percent_axis(axes, "y", run.score_name)
        if len(run.parts) > 1:
            axes.legend(loc="lower right")
    return svg[0]


def reliability(part: PartFigures, *, name: str) -> str:
    """Draw accuracy against confidence, and below it how many pixels have that confidence."""
    counts = np.array(part.reliability["bin_count"], np.float64)
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    centers, width = (edges[:-1] + edges[1:]) / 2, 0.92 / len(counts)
    accuracy = [value or 0.0 for value in part.reliability["bin_accuracy"]]
    with drawn_figure(4.4, name) as (figure, svg):
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        upper.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="ideal")
        upper.bar(centers, accuracy, width, color=BLUE, label="as predicted")
        if part.scaled is not None:
            scaled = part.scaled["reliability"]
            points = [
                point
                for point in zip(scaled["bin_confidence"], scaled["bin_accuracy"], strict=True)
                if None not in point
            ]
            label = f"at temperature {part.scaled['temperature']:.3g}"
            upper.plot(*columns_of(points), color=VERMILION, marker="s", label=label)
        percent_axis(upper, "y", "accuracy")
        upper.set_ylim(0.0, 1.02)
        upper.legend(loc="upper left")
        share = counts / counts.sum() if counts.sum() else counts
        lower.bar(centers, share, width, color=BLUE)
        percent_axis(lower, "y", "pixels")
        lower.yaxis.set_major_locator(MaxNLocator(2))
        lower.set_xlim(0.0, 1.0)
        percent_axis(lower, "x", "confidence")
        figure.align_ylabels()
    return svg[0]


def risk_coverage(part: PartFigures, *, name: str) -> str:
    """Draw the share of errors among the most confident pixels, against how many are accepted."""
    curve = part.risk_coverage
    points = sorted(
        (coverage, risk)
        for coverage, risk in zip(curve["coverage"], curve["risk"], strict=True)
        if coverage is not None and risk is not None
    )
    with drawn_figure(4.4, name) as (figure, svg):
        axes = figure.add_subplot()
        axes.plot(*columns_of(points), color=BLUE, label="by confidence")
        errors = curve["random_area"]
        if errors is not None:
            coverages = np.linspace(0.005, 1.0, 200)
            best = np.maximum(0.0, (coverages - (1.0 - errors)) / coverages)
            axes.plot([0, 1], [errors, errors], ":", color=VERMILION, label="by chance")
            axes.plot(coverages, best, "--", color=GREEN, label="errors last (best possible)")
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(bottom=0.0)
        percent_axis(axes, "x", "coverage (share of pixels accepted)")
        percent_axis(axes, "y", "risk (share of errors)")
        figure.legend(loc="outside upper left", ncols=2)
    return svg[0]


def _by_part(run: RunFigures) -> Iterator[tuple[str, list[Row], tuple[str, str, str]]]:
    """Return each part's rows over all of its conditions, and how it is drawn."""
    for place, part in enumerate(run.parts):
        rows: dict[int, Row] = {}
        for row in run.rows:
            if row.part == part.part:
                rows.setdefault(row.steps, row)  # the first is that of all conditions
        yield part.part, list(rows.values()), SERIES[place % len(SERIES)]


def _ramp() -> mpl.colors.Colormap:
    """Return the heat map's colours: from nothing to blue; grey where there is no share."""
    ramp = mpl.colors.LinearSegmentedColormap.from_list(
        "shares", ["#f4f7fa", "#a9cde6", BLUE, "#00304f"]
    )
    return ramp.with_extremes(bad="#b9b9b9")


MOST_POINTS = 600
"""More would not be told apart at this width, and make the page large."""

MARKED_POINTS = 60


def timeline(
    series: Mapping[str, Sequence[tuple[float, float]]], name: str, y_label: str = ""
) -> str:
    """Draw shares 0..1 against seconds, one line per name, as an SVG element called ``name``.

    Of long drives, every n-th frame is drawn.
    """
    with drawn_figure(2.2, name) as (figure, svg):
        axes = figure.subplots()
        for (label, points), (color, marker, line) in zip(
            series.items(), (SERIES * len(series))[: len(series)], strict=True
        ):
            shown = points[:: max(1, -(-len(points) // MOST_POINTS))]
            axes.plot(
                *columns_of(shown),
                color=color,
                marker=marker if len(shown) <= MARKED_POINTS else "",
                markersize=3,
                linestyle=line,
                linewidth=1.2,
                label=shown_name(label),
            )
        percent_axis(axes, "y", y_label)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("seconds")
        if series:
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(series), borderpad=0)
    return svg[0]
