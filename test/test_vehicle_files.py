# SPDX-License-Identifier: Apache-2.0
"""What other packages of a vehicle are given, Nav2 and diagnostic_aggregator, fits the node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from camseg_core.labels import CITYSCAPES
from camseg_core.segmentation import NO_NUMBER
from camseg_ros.messages.output_topics import OUTPUT_TOPICS
from camseg_ros.node.health import CameraWatch, Level, Limit, WatchLimits
from camseg_ros.node.parameters import NODE_NAME

ROOT = Path(__file__).resolve().parents[1]
S = 10**9
LIMITS = WatchLimits(*[Limit(S, 3 * S)] * 3)


def nav2_files() -> list[dict[str, Any]]:
    page = (ROOT / "docs" / "nav2.md").read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]


def values_of(content: Any) -> list[Any]:
    """List a file's values, however deep they stand."""
    if not isinstance(content, dict | list):
        return [content]
    parts = content.values() if isinstance(content, dict) else content
    return [value for part in parts for value in values_of(part)]


def test_nav2_is_given_topics_and_classes_of_the_node() -> None:
    manager, semantic, grid = nav2_files()
    assert manager["lifecycle_manager_perception"]["ros__parameters"]["node_names"] == [NODE_NAME]
    topics = {f"/{NODE_NAME}/camera/{name}" for name in [*OUTPUT_TOPICS, "label_info"]}
    for content in (semantic, grid):
        given = [v for v in values_of(content) if str(v).startswith(f"/{NODE_NAME}")]
        assert given
        assert set(given) <= topics
    layer = semantic["local_costmap"]["local_costmap"]["ros__parameters"]["semantic_layer"]
    kinds = layer["camera"]["class_types"]
    names = [name for kind in kinds for name in layer["camera"][kind]["classes"]]
    assert sorted(names) == sorted(set(CITYSCAPES.names) - {"sky"})


def test_the_aggregator_s_group_takes_the_node_and_its_cameras() -> None:
    text = (ROOT / "config" / "diagnostics_aggregator.yaml").read_text(encoding="utf-8")
    group = yaml.safe_load(text)["analyzers"]["ros__parameters"]["segmentation"]
    for name in (f"/{NODE_NAME}", f"/{NODE_NAME}: front"):
        assert any(name.startswith(beginning) for beginning in group["startswith"])
    assert isinstance(group["timeout"], float)  # diagnostic_aggregator takes no whole number


@pytest.mark.parametrize("what", ["silent", "never heard", "refused", "old", "ahead", "slow", "ok"])
def test_the_alarm_table_names_what_a_camera_can_say(what: str) -> None:
    watch = CameraWatch(LIMITS, 0)
    if what != "never heard":
        age_ns = {"old": 4 * S, "ahead": -4 * S}.get(what, 0)
        watch.entered(0 if what == "silent" else 10 * S, age_ns)
    if what == "refused":
        watch.refused(S)
        watch.refused(10 * S)
    elif what == "slow":
        watch.left(4 * S)
    level, text = watch.check(10 * S)
    assert level == (Level.OK if what == "ok" else Level.ERROR)
    table = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert re.split(r"[:0-9]", text)[0].strip() in table


def test_the_alarm_table_names_the_rest() -> None:
    table = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    for text in (
        NO_NUMBER.partition(",")[0], "no drivable grid", "not configured", "not active", "STALE",
        "over the latency budget", "weights are random", "no frame yet",
        "the device failed", "inference hangs",
    ):  # fmt: skip
        assert text in table, text
