# SPDX-License-Identifier: Apache-2.0
"""The figure of a drive: scores of its frames over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camseg_core.evaluation.plot_canvas import (
    SERIES,
    columns_of,
    drawn_figure,
    percent_axis,
    shown_name,
)

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
