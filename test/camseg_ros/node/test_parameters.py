# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from camseg_core.errors import CamsegError
from camseg_ros.messages.output_topics import OUTPUT_TOPICS
from camseg_ros.node.parameters import (
    CAMERA_PARAMETERS,
    INFORMATION,
    PARAMETERS,
    camera_overrides,
    find_parameter,
    markdown_tables,
)

ROOT = Path(__file__).parents[3]


def test_the_node_has_every_parameter_of_the_params_file() -> None:
    content = yaml.safe_load((ROOT / "config" / "segment.yaml").read_text(encoding="utf-8"))
    given = content["/**"]["ros__parameters"]
    names = [*given, *(f"camera.{name}" for name in given["camera"])]
    names.remove("camera")
    assert [name for name in names if find_parameter(name) is None] == []


def test_the_page_about_the_node_has_the_tables() -> None:
    page = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
    for table in markdown_tables():
        assert table in page, "run python -m camseg_ros.node.parameters"
    assert [
        spec.name for spec in (*PARAMETERS, *INFORMATION) if f"| `{spec.name}` |" not in page
    ] == []


def test_ranges_hold_the_defaults_and_every_number_has_one() -> None:
    for spec in PARAMETERS:
        if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
            assert spec.lowest is not None, spec.name
            assert spec.highest is not None, spec.name
            assert spec.lowest <= spec.default <= spec.highest


def test_every_parameter_and_topic_is_described() -> None:
    for spec in (*PARAMETERS, *CAMERA_PARAMETERS, *INFORMATION):
        assert spec.description.endswith("."), spec.name
    assert all(topic.content for topic in OUTPUT_TOPICS.values())


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("steps", 0), ("use_sim_time", False), ("front.transport", "raw"), ("front.steps", None),
        ("transport", None), ("a.b.rectified", None), ("speed", None),
    ],
)  # fmt: skip
def test_a_parameter_is_found_by_the_name_in_a_params_file(name: str, default: Any) -> None:
    spec = find_parameter(name)
    assert (spec.default if spec else None) == default


@pytest.mark.parametrize(
    ("cameras", "topics", "parameters"),
    [
        ("", "", {}),
        ("", "/image", {"camera.image_topic": "/image"}),
        ("front", "", {"cameras": ["front"]}),
        (
            "front, rear",
            "/a,/b",
            {"cameras": ["front", "rear"], "front.image_topic": "/a", "rear.image_topic": "/b"},
        ),
    ],
)
def test_lists_of_cameras_and_topics_become_parameters(
    cameras: str, topics: str, parameters: dict[str, Any]
) -> None:
    assert camera_overrides(cameras, topics) == parameters


def test_as_many_topics_as_cameras_are_needed() -> None:
    with pytest.raises(CamsegError, match="image_topics has 1 entries for the cameras a, b; one"):
        camera_overrides("a,b", "/image")


def test_parameters_are_read_without_torch_and_ros() -> None:
    code = "import sys, camseg_ros.node.parameters; print({'torch', 'rclpy'} & {*sys.modules})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
