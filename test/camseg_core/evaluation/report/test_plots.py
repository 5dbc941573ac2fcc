# SPDX-License-Identifier: Apache-2.0
from xml.etree import ElementTree

from camseg_core.evaluation.report.plots import MOST_POINTS, timeline


def line_points(svg: str) -> list[int]:
    """Number of points of each drawn line."""
    root = ElementTree.fromstring(svg.replace("xlink:", ""))
    return [
        path.get("d", "").count("L") + 1
        for path in root.iter("path")
        if "fill: none" in path.get("style", "") and path.get("d", "").count("L") > 2
    ]


def test_one_line_a_series_and_its_name() -> None:
    score = [(float(t), 0.1 + 0.2 * (t * 3 % 5)) for t in range(10)]
    svg = timeline({"mean IoU": score, "confidence": score[:5]}, "one")
    assert sorted(line_points(svg))[-2:] == [5, 10]
    assert ">mean IoU<" in svg
    assert ">confidence<" in svg
    assert svg == timeline({"mean IoU": score, "confidence": score[:5]}, "one")


def test_long_drives_are_thinned() -> None:
    points = [(float(t), 0.5 + 0.3 * (t % 2)) for t in range(10 * MOST_POINTS)]
    assert max(line_points(timeline({"x": points}, "long"))) <= MOST_POINTS
    assert timeline({}, "empty").startswith("<svg")
