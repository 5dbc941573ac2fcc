# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from camseg_core.errors import CamsegError
from camseg_ros.parameters import PARAMETERS, sampling_options

PARAMS_FILE = Path(__file__).parents[2] / "config" / "segment.yaml"
NODE_PAGE = Path(__file__).parents[2] / "docs" / "node.md"


def test_the_params_file_states_every_parameter_with_its_default() -> None:
    content = yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8"))
    assert content["/**"]["ros__parameters"] == {spec.name: spec.default for spec in PARAMETERS}


def test_the_page_about_the_node_names_every_parameter() -> None:
    page = NODE_PAGE.read_text(encoding="utf-8")
    assert [spec.name for spec in PARAMETERS if f"| `{spec.name}` |" not in page] == []


def test_ranges_hold_the_defaults() -> None:
    for spec in PARAMETERS:
        if spec.lowest is not None and spec.highest is not None:
            assert spec.lowest <= spec.default <= spec.highest


def test_options_come_from_the_values() -> None:
    values = {spec.name: spec.default for spec in PARAMETERS} | {"steps": 3, "sampler": "ddim"}
    options = sampling_options(values)
    assert (options.steps, options.sampler, options.seed) == (3, "ddim", 0)
    with pytest.raises(CamsegError, match="unknown sampler 'euler'"):
        sampling_options(values | {"sampler": "euler"})
