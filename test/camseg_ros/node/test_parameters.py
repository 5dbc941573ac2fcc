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
    text = (ROOT / "config" / "segment.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text.replace("\n    # ", "\n    "))  # with the table of a camera
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
        ("steps", 0), ("use_sim_time", False), ("front.transport", "auto"), ("front.steps", None),
        ("transport", None), ("a.b.rectified", None), ("speed", None),
    ],
)  # fmt: skip
def test_a_parameter_is_found_by_the_name_in_a_params_file(name: str, default: Any) -> None:
    spec = find_parameter(name)
    assert (spec.default if spec else None) == default


@pytest.mark.parametrize(
    ("cameras", "lists", "parameters"),
    [
        ("", {}, {}),
        ("", {"image_topics": "/image"}, {"camera.image_topic": "/image"}),
        ("front", {"image_topics": ""}, {"cameras": ["front"]}),
        (
            "front, rear",
            {"image_topics": "/a,/b", "transports": "raw, auto", "camera_info_topics": "/c,/d",
             "mountings": "1,0,2,0,0.1,0; -1,0,2.5,0,0,3"},
            {"cameras": ["front", "rear"], "front.image_topic": "/a", "rear.image_topic": "/b",
             "front.transport": "raw", "rear.transport": "auto",
             "front.camera_info_topic": "/c", "rear.camera_info_topic": "/d",
             "front.mounting": [1.0, 0.0, 2.0, 0.0, 0.1, 0.0],
             "rear.mounting": [-1.0, 0.0, 2.5, 0.0, 0.0, 3.0]},
        ),
    ],
)  # fmt: skip
def test_lists_of_the_launch_file_become_parameters(
    cameras: str, lists: dict[str, str], parameters: dict[str, Any]
) -> None:
    assert camera_overrides(cameras, lists) == parameters


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        (
            {"image_topics": "/image"},
            "image_topics has 1 entries for the cameras a, b; one each is",
        ),
        ({"mountings": "1,0,2,0,0,0"}, "mountings has 1 entries for the cameras a, b"),
        ({"mountings": "1,0,2;1,0,2,0,0,0"}, "mountings has '1,0,2'; x, y, z in metres and roll"),
        ({"mountings": "1,0,2,0,0,0;1,0,two,0,0,0"}, "mountings has '1,0,two,0,0,0'; x, y, z in"),
    ],
)
def test_lists_that_do_not_fit_are_told(lists: dict[str, str], told: str) -> None:
    with pytest.raises(CamsegError, match=told):
        camera_overrides("a,b", lists)


def test_parameters_are_read_without_torch_and_ros() -> None:
    code = "import sys, camseg_ros.node.parameters; print({'torch', 'rclpy'} & {*sys.modules})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
