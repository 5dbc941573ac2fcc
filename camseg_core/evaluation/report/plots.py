# SPDX-License-Identifier: Apache-2.0
"""The plots of the reports, as SVG elements of a page.

Widths are those of a phone, so that the text of a plot is readable there at its own size. Same
numbers, same bytes. Colours other than the classes' own are CSS variables of the page (``--ink``
and so on), and the series' colours are those of Okabe and Ito (2008), which colour-blind readers
tell apart.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Literal, get_args
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from camseg_core.evaluation.report.numbers import UNLABELED_NAME, Curve, PartNumbers, Row
from camseg_core.evaluation.report.sampling import SamplingTable

COLORS = {
    "ink": "#1f2932",
    "grid": "#c9ced3",
    "blue": "#0072b2",
    "vermilion": "#d55e00",
    "green": "#009e73",
    "orange": "#e69f00",
}
"""Name of the page's variable -> the colour that stands for it in matplotlib."""

INK, GRID, BLUE, VERMILION, GREEN, ORANGE = COLORS.values()
VARIABLES = {color: f"var(--{name})" for name, color in COLORS.items()}

DASHED = (0, (4, 3))

RAMP = mpl.colors.LinearSegmentedColormap.from_list(
    "shares", ["#f4f7fa", "#a9cde6", BLUE, "#00304f"]
).with_extremes(bad="#b9b9b9")
"""The heat map's colours: from nothing to blue; grey where there is no share."""

SERIES = ((BLUE, "o", "-"), (VERMILION, "s", "--"), (GREEN, "^", ":"), (ORANGE, "D", "-."))
"""Colour, marker and line, told apart in black and white too."""

WIDTH_INCHES = 5.0
"""360 CSS pixels: what a phone has between its margins."""

MAX_NAME_LENGTH = 18
MOST_LEGEND_LETTERS = 48

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "camseg",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "ytick.color": INK,
    "ytick.labelsize": 9,
}

Axis = Literal["steps", "time"]
AXES: tuple[Axis, ...] = get_args(Axis)

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"

MOST_POINTS = 600
"""More would not be told apart at this width, and make the page large."""

MARKED_POINTS = 60


def class_bars(part: PartNumbers, protocol: str, *, name: str) -> str:
    """Draw the score of each class: IoU, or the published precision, in the class's colour.

    Args:
        part: whose classes.
        protocol: protocol of the run.
        name: name of the element, unique in its page; the same holds for all plots.
    """
    scores = [(entry.iou if protocol == "official" else entry.precision) for entry in part.classes]
    with _drawn_figure(0.7 + 0.24 * len(scores), name) as (figure, svg):
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
        axes.set_yticks(places, [_shown_name(entry.name) for entry in part.classes])
        axes.set_ylim(len(scores) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        _percent_axis(axes, "x", "IoU" if protocol == "official" else "precision")
        axes.set_xlim(0.0, 1.09)
        axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
    return svg[0]


def confusion_matrix(part: PartNumbers, *, name: str) -> str:
    """Draw where the pixels of each true class went, as shares of its pixels."""
    names = [_shown_name(entry.name) for entry in part.classes]
    shares = np.array(part.confusion_shares, np.float64)  # not-a-number for None
    with _drawn_figure(WIDTH_INCHES + 0.2, name) as (figure, svg):
        axes = figure.add_subplot()
        # "none" embeds one pixel a cell: small, and sharp at every size.
        image = axes.imshow(
            shares, cmap=RAMP, vmin=0.0, vmax=1.0, interpolation="none", aspect="auto"
        )
        axes.set_xticks(range(len(names) + 1), [*names, UNLABELED_NAME], rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0, labelsize=min(9.0, 230.0 / len(names)))
        axes.grid(visible=False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=24, pad=0.02)
        bar.ax.spines["outline"].set_visible(False)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    return svg[0]


def robustness(curve: Curve, score_name: str, *, name: str) -> str:
    """Draw one corruption: the score relative to clean against the level."""
    relative = [(row.level, row.relative_to_clean) for row in curve.rows]
    drawn = [(level, share) for level, share in relative if share is not None]
    with _drawn_figure(2.7, name) as (figure, svg):
        axes = figure.add_subplot()
        axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=DASHED)
        if curve.identity is not None:
            drawn = sorted({*drawn, (curve.identity, 1.0)})
            axes.plot([curve.identity], [1.0], "o", color=BLUE, fillstyle="none", markersize=9)
        axes.plot(*_columns_of(drawn), color=BLUE, marker="o")
        _percent_axis(axes, "y", f"{score_name} / clean")
        axes.set_ylim(0.0, 1.05 * max([1.0, *(share for _, share in drawn)]))
        axes.set_xlabel(curve.meaning or "level")
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    return svg[0]


def score_against(table: SamplingTable, axis: Axis, *, name: str) -> str:
    """Draw the score of each way to sample, against the steps or against the time of an image.

    A curve joins choices that differ in their steps alone.
    """
    curves: dict[tuple[str, str], list[Row]] = {}
    for choice in table.choices:
        if choice.row.score is not None:
            curves.setdefault((choice.weights, choice.settings), []).append(choice.row)
    with _drawn_figure(2.9 + 0.36 * len(curves), name) as (figure, svg):
        axes = figure.add_subplot()
        for ((weights, settings), rows), look in zip(curves.items(), cycle(SERIES)):
            color, marker, line = look
            x = "steps" if axis == "steps" else "median_milliseconds_per_image"
            points = [(getattr(row, x), row.score or 0.0) for row in rows]
            words = (_shown_name(word, MOST_LEGEND_LETTERS) for word in (weights, settings) if word)
            label = "\n".join(words)
            axes.plot(*_columns_of(points), color=color, marker=marker, linestyle=line, label=label)
            for row, point in zip(rows, points, strict=True) if axis == "time" else ():
                axes.annotate(
                    str(row.steps), point, xytext=(-4, 5), textcoords="offset points",
                    ha="right", fontsize=9,
                )  # fmt: skip
        if axis == "steps":
            steps = sorted({row.steps for rows in curves.values() for row in rows})
            axes.set_xscale("log", base=2)
            axes.set_xticks(steps, [str(count) for count in steps])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("diffusion steps")
        else:
            if table.budget_ms is not None:
                axes.axvline(table.budget_ms, color=INK, linewidth=0.8, linestyle=DASHED)
            axes.margins(y=0.16)
            axes.set_xlim(left=0.0)
            axes.set_xlabel("ms per image (numbers: steps)")
        _percent_axis(axes, "y", table.score_name)
        if len(curves) > 1:
            figure.legend(loc="outside upper left")
    return svg[0]


def reliability(part: PartNumbers, *, name: str) -> str:
    """Draw accuracy against confidence, and below it how many pixels have that confidence."""
    counts = np.array(part.reliability["bin_count"], np.float64)
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    centers, width = (edges[:-1] + edges[1:]) / 2, 0.92 / len(counts)
    accuracy = [value or 0.0 for value in part.reliability["bin_accuracy"]]
    with _drawn_figure(4.4, name) as (figure, svg):
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        upper.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=DASHED, label="ideal")
        upper.bar(centers, accuracy, width, color=BLUE, label="as predicted")
        if part.scaled is not None:
            scaled = part.scaled["reliability"]
            bins = zip(scaled["bin_confidence"], scaled["bin_accuracy"], strict=True)
            points = [point for point in bins if None not in point]
            label = f"at temperature {part.scaled['temperature']:.3g}"
            upper.plot(*_columns_of(points), color=VERMILION, marker="s", label=label)
        _percent_axis(upper, "y", "accuracy")
        upper.set_ylim(0.0, 1.02)
        upper.legend(loc="upper left")
        share = counts / counts.sum() if counts.sum() else counts
        lower.bar(centers, share, width, color=BLUE)
        _percent_axis(lower, "y", "pixels")
        lower.yaxis.set_major_locator(MaxNLocator(2))
        lower.set_xlim(0.0, 1.0)
        _percent_axis(lower, "x", "confidence")
        figure.align_ylabels()
    return svg[0]


def risk_coverage(part: PartNumbers, *, name: str) -> str:
    """Draw the share of errors among the most confident pixels, against how many are accepted."""
    curve = part.risk_coverage
    points = sorted(p for p in zip(curve["coverage"], curve["risk"], strict=True) if None not in p)
    with _drawn_figure(4.4, name) as (figure, svg):
        axes = figure.add_subplot()
        axes.plot(*_columns_of(points), color=BLUE, label="by confidence")
        errors = curve["random_area"]
        if errors is not None:
            coverages = np.linspace(0.005, 1.0, 200)
            best = np.maximum(0.0, (coverages - (1.0 - errors)) / coverages)
            axes.plot([0, 1], [errors, errors], ":", color=VERMILION, label="by chance")
            axes.plot(coverages, best, "--", color=GREEN, label="errors last (best possible)")
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(bottom=0.0)
        _percent_axis(axes, "x", "coverage (share of pixels accepted)")
        _percent_axis(axes, "y", "risk (share of errors)")
        figure.legend(loc="outside upper left", ncols=2)
    return svg[0]


def timeline(series: Mapping[str, Sequence[tuple[float, float]]], name: str) -> str:
    """Draw shares 0..1 against seconds, one line per name, as an SVG element called ``name``.

    A long drive is thinned to every n-th frame.
    """
    with _drawn_figure(2.2, name) as (figure, svg):
        axes = figure.subplots()
        for (label, points), (color, marker, line) in zip(series.items(), cycle(SERIES)):
            shown = points[:: max(1, -(-len(points) // MOST_POINTS))]
            axes.plot(
                *_columns_of(shown),
                color=color,
                marker=marker if len(shown) <= MARKED_POINTS else "",
                markersize=3,
                linestyle=line,
                linewidth=1.2,
                label=_shown_name(label),
            )
        _percent_axis(axes, "y", "")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("seconds")
        if series:
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(series), borderpad=0)
    return svg[0]


def _columns_of(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Return all x, and all y."""
    return [x for x, _ in points], [y for _, y in points]


def _percent_axis(axes: Axes, which: str, label: str) -> None:
    """Label the ``x`` or ``y`` axis of shares in percent, decimals as its range needs."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axis.set_label_text(label)


def _shown_name(name: str, most: int = MAX_NAME_LENGTH) -> str:
    """Shorten a name and replace what XML cannot hold (control characters, lone surrogates)."""
    readable = "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in {"Cc", "Cs", "Cn"}
        else letter
        for letter in name
    )
    return readable if len(readable) <= most else readable[: most - 1] + "…"


@contextmanager
def _drawn_figure(height_inches: float, name: str) -> Iterator[tuple[Figure, list[str]]]:
    """Return an empty figure and a list; the list has the SVG element once the figure is drawn.

    The user's own matplotlib settings do not apply.
    """
    svg: list[str] = []
    with matplotlib.style.context(["default", STYLE], after_reset=True), warnings.catch_warnings():
        # A letter that its font lacks, and browsers' have.
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, svg
        content = io.BytesIO()
        figure.savefig(content, format="svg", facecolor="none", metadata={"Date": None})
    svg.append(_to_element(content.getvalue(), name))


def _to_element(content: bytes, name: str) -> str:
    """Make an SVG file an element of a page: ids of its own, colours by the page, no more."""
    root = ElementTree.fromstring(content)  # noqa: S314 - written by matplotlib just now
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {SVG + "metadata", SVG + "style"}:
                parent.remove(child)
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        if identity in used:
            element.set("id", f"{name}-{identity}")
        for key, value in element.attrib.items():
            if key == "style":
                style = re.sub(r"#\w{6}", lambda found: VARIABLES.get(found[0], found[0]), value)
                element.set(key, style.replace("url(#", f"url(#{name}-"))
            elif key == XLINK + "href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif value.startswith("url(#"):
                element.set(key, value.replace("url(#", f"url(#{name}-"))
        # In a page the parser knows both namespaces, and prefixes would be part of the names.
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = {key.replace(XLINK, "xlink:"): v for key, v in element.attrib.items()}
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("aria-hidden", "true")
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
