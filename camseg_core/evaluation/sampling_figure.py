# SPDX-License-Identifier: Apache-2.0
"""The figure of a sampling benchmark: mean IoU against time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from camseg_core.evaluation.report.plot_canvas import (
    INK,
    SERIES,
    columns_of,
    drawn_figure,
    percent_axis,
    shown_name,
)
from camseg_core.evaluation.sampling_results import SamplingResults, WeightsFacts
from camseg_core.evaluation.sampling_table import steps_lines


@dataclass(frozen=True)
class SamplingCurve:
    """One sampler with one decoder: (ms per image, mean IoU 0..1, steps) of each point."""

    sampler: str
    decoder: str
    points: tuple[tuple[float, float, int], ...]


@dataclass(frozen=True)
class SamplingPanel:
    """The curves of one weights file, and ms and mean IoU of its default."""

    title: str
    curves: tuple[SamplingCurve, ...]
    default: tuple[float, float] | None


def accuracy_of_samplers(panels: Sequence[SamplingPanel], budget_ms: float) -> bytes:
    """Draw mean IoU against time, one panel above the other, as an SVG file of its own.

    Filled markers are the mask decoder, hollow ones the palette; numbers are steps.
    """
    samplers = list(dict.fromkeys(curve.sampler for panel in panels for curve in panel.curves))
    looks = dict(zip(samplers, itertools.cycle([*SERIES, (INK, "P", "-")]), strict=False))
    with drawn_figure(0.9 + 2.6 * len(panels), None) as (figure, svg):
        columns = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(columns, panels, strict=True):
            axes.axvline(budget_ms, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
            for curve in panel.curves:
                color, marker, line = looks[curve.sampler]
                axes.plot(
                    *columns_of([point[:2] for point in curve.points]),
                    color=color,
                    marker=marker,
                    linestyle=line,
                    fillstyle="none" if curve.decoder == "palette" else "full",
                )
            # Samplers share points; each is named once.
            for time, score, steps in sorted({p for curve in panel.curves for p in curve.points}):
                axes.annotate(
                    str(steps), (time, score), xytext=(3, 4),
                    textcoords="offset points", fontsize=7,
                )  # fmt: skip
            if panel.default is not None:
                axes.plot(*panel.default, "o", color=INK, fillstyle="none", markersize=11)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_locator(NullLocator())
            axes.margins(x=0.08, y=0.16)
            axes.set_title(shown_name(panel.title), loc="left")
            percent_axis(axes, "y", "mIoU")
        columns[-1].set_xlabel(f"ms per image (circle: default; dashed: {budget_ms:g} ms)")
        figure.legend(
            handles=[
                *(
                    Line2D([], [], color=color, marker=marker, linestyle=line, label=name)
                    for name, (color, marker, line) in looks.items()
                ),
                Line2D(
                    [], [], color=INK, marker="o", fillstyle="none", ls="", label="hollow: palette"
                ),
            ],
            loc="outside upper left",
            ncols=2,
        )
    return svg[0].encode()


def sampling_figure(results: SamplingResults) -> bytes:
    """Draw a panel per weights and a curve per sampler and decoder, as an SVG file.

    All on the images that every entry has, so that points can be compared.
    """
    panels = [_panel(results, facts) for facts in results.weights]
    return accuracy_of_samplers(panels, results.budget_ms)


def _panel(results: SamplingResults, facts: WeightsFacts) -> SamplingPanel:
    curves = []
    for label, decoder, cells in steps_lines(results, facts):
        points = tuple(
            (entry.milliseconds, entry.common_mean_iou, entry.options.steps)
            for entry in cells
            if entry is not None and entry.common_mean_iou is not None
        )
        curves.append(SamplingCurve(label, decoder, points))
    default = results.default(facts.name)
    mark = None
    if default.common_mean_iou is not None:
        mark = (default.milliseconds, default.common_mean_iou)
    return SamplingPanel(facts.name, tuple(curves), mark)
