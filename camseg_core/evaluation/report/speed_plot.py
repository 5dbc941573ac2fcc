# SPDX-License-Identifier: Apache-2.0
"""The plot of ``camseg benchmark speed``."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from camseg_core.errors import CamsegError
from camseg_core.evaluation.report.plots import BLUE, STYLE
from camseg_core.evaluation.speed.results import SpeedResults
from camseg_core.segmentation import STAGES
from camseg_core.system.files import write_bytes

FORMATS = (".svg", ".png", ".pdf")
SHADES = ("#4d4d4d", "#0072b2", "#e69f00", "#d55e00", "#009e73", "#56b4e9")
"""One for each stage (Okabe and Ito 2008)."""


def check_plot_path(path: Path) -> None:
    """Refuse a file name of another format than `FORMATS`.

    Raises:
        CamsegError: such a name.
    """
    if path.suffix.lower() not in FORMATS:
        raise CamsegError(f"--plot is {path}: a name that ends in {', '.join(FORMATS)} is needed")


def write_speed_plot(path: Path, results: SpeedResults) -> None:
    """Draw the images a second of each way, and what its time goes into.

    Raises:
        CamsegError: the file has no suffix of `FORMATS`, or cannot be written.
    """
    check_plot_path(path)
    names = [way.name for way in results.ways]
    with mpl.rc_context(STYLE | {"axes.grid.axis": "x", "figure.facecolor": "white"}):
        figure = Figure(figsize=(10, 1.3 + 0.4 * len(names)), layout="constrained")
        speed, shares = figure.subplots(1, 2, sharey=True)
        bars = speed.barh(names, [way.images_per_second for way in results.ways], color=BLUE)
        speed.bar_label(bars, fmt="%.3g", padding=3, fontsize=9)
        speed.set(xlabel="images a second", xscale="log")
        speed.xaxis.set_major_formatter("{x:g}")
        speed.margins(x=0.15)
        speed.invert_yaxis()
        left = [0.0] * len(names)
        for stage, color in zip(STAGES, SHADES, strict=True):
            widths = [way.seconds[stage] / way.total_seconds for way in results.ways]
            shares.barh(names, widths, left=left, color=color, label=stage.replace("_", " "))
            left = [start + width for start, width in zip(left, widths, strict=True)]
        shares.set(xlabel="share of the time", xlim=(0, 1))
        figure.legend(loc="outside lower center", ncols=len(STAGES))
        content = io.BytesIO()
        figure.savefig(content, format=path.suffix[1:].lower(), dpi=150)
    write_bytes(path, content.getvalue())
