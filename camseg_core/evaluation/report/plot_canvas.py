# SPDX-License-Identifier: Apache-2.0
"""What all plots share: an empty figure in the project's style that becomes SVG, axes, colours.

Widths are those of a phone, so that the text of a plot is readable there at its own size. Same
figures, same bytes. Colours other than the classes' own are CSS variables of the page (``--ink``
and so on), and the series' colours are those of Okabe and Ito (2008), which colour-blind readers
tell apart.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from xml.etree import ElementTree

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

INK, PAPER, GRID = "#1f2932", "#fefefd", "#c9ced3"
BLUE, VERMILION, GREEN, ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"

CSS_VARIABLES = {
    INK: "var(--ink)",
    PAPER: "var(--paper)",
    GRID: "var(--grid)",
    BLUE: "var(--blue)",
    VERMILION: "var(--vermilion)",
    GREEN: "var(--green)",
    ORANGE: "var(--orange)",
}

SERIES = ((BLUE, "o", "-"), (VERMILION, "s", "--"), (GREEN, "^", ":"), (ORANGE, "D", "-."))
"""Colour, marker and line, told apart in black and white too."""

WIDTH_INCHES = 5.0
"""360 CSS pixels: what a phone has between its margins."""

MAX_NAME_LENGTH = 18

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 10,
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

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"


def columns_of(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Return all x, and all y."""
    return [point[0] for point in points], [point[1] for point in points]


def percent_axis(axes: Axes, which: str, label: str) -> None:
    """Label the ``x`` or ``y`` axis of shares in percent, decimals as its range needs."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axis.set_label_text(label)


def shown_name(name: str) -> str:
    """Shorten a name and replace what XML cannot hold (control characters, lone surrogates)."""
    readable = "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in {"Cc", "Cs", "Cn"}
        else letter
        for letter in name
    )
    if len(readable) > MAX_NAME_LENGTH:
        return readable[: MAX_NAME_LENGTH - 1] + "…"
    return readable


@contextmanager
def drawn_figure(height_inches: float, name: str | None) -> Iterator[tuple[Figure, list[str]]]:
    """Return an empty figure and a list; the list has the SVG element once the figure is drawn.

    Without a name it is a whole file with a background of its own. The user's own matplotlib
    settings do not apply.
    """
    svg: list[str] = []
    with matplotlib.style.context(["default", STYLE], after_reset=True), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # a letter that its font lacks: browsers' do not
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, svg
        content = io.BytesIO()
        paper = "none" if name is not None else PAPER
        figure.savefig(content, format="svg", facecolor=paper, metadata={"Date": None})
    drawn = content.getvalue()
    svg.append(drawn.decode() if name is None else _to_element(drawn, name))


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
                element.set(key, _with_variables(value).replace("url(#", f"url(#{name}-"))
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


def _with_variables(style: str) -> str:
    for color, variable in CSS_VARIABLES.items():
        style = style.replace(color, variable)
    return style
