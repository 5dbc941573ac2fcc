# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from camseg_ros.node.parameters import CAMERA_PARAMETERS, INFORMATION, PARAMETERS

ROOT = Path(__file__).parents[3]


def params_file() -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "config" / "segment.yaml").read_text(encoding="utf-8"))
    return dict(content["/**"]["ros__parameters"])


def test_the_params_file_states_every_parameter_with_its_default() -> None:
    stated = params_file()
    assert stated.pop("camera") == {spec.name: spec.default for spec in CAMERA_PARAMETERS}
    assert stated == {spec.name: spec.default for spec in PARAMETERS}


def test_the_page_about_the_node_names_every_parameter() -> None:
    page = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
    named = [
        *(spec.name for spec in (*PARAMETERS, *INFORMATION)),
        *(f"<camera>.{spec.name}" for spec in CAMERA_PARAMETERS),
    ]
    assert [name for name in named if f"| `{name}` |" not in page] == []


def test_ranges_hold_the_defaults_and_every_number_has_one() -> None:
    for spec in PARAMETERS:
        if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
            assert spec.lowest is not None, spec.name
            assert spec.highest is not None, spec.name
            assert spec.lowest <= spec.default <= spec.highest


def test_every_parameter_is_described() -> None:
    for spec in (*PARAMETERS, *CAMERA_PARAMETERS, *INFORMATION):
        assert spec.description.endswith("."), spec.name
