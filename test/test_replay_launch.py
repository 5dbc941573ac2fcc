# SPDX-License-Identifier: Apache-2.0
"""The launch file of the replay: what it declares, as the docs do, and the programs it starts.

Where launch is missing, stand-ins take down what it would be told.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import made_bags as bags
import pytest

from camseg_ros.node.parameters import PARAMETERS
from camseg_ros.replay.live import evaluate_node, play_node

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / "launch" / "replay.launch.py"
ARGUMENTS = {
    "bag", "out", "params_file", "weights", "device", "profile", "rate", "loops",
    "start_offset_s", "start_paused", "gates", "idle_limit_s",
}  # fmt: skip
MODULES = (
    "launch", "launch.actions", "launch.event_handlers", "launch.substitutions", "launch_ros",
    "launch_ros.actions", "launch_ros.substitutions",
)  # fmt: skip


class Told:
    """Stands in for any class of launch."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.given, self.named = given, named


class StandIn(ModuleType):
    def __getattr__(self, name: str) -> type[Told]:
        return type(name, (Told,), {})


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The launch file as a module, with stand-ins for launch."""
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, StandIn(name))
    spec = importlib.util.spec_from_file_location("replay_launch", LAUNCH_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declared(launch_file: Any) -> dict[str, dict[str, Any]]:
    """Return default and description by argument."""
    (actions,) = launch_file.generate_launch_description().given
    return {one.given[0]: one.named for one in actions if one.given}


def test_its_arguments_are_those_of_the_docs(launch_file: Any) -> None:
    found = declared(launch_file)
    assert set(found) == ARGUMENTS
    assert found["bag"]["default_value"] is None  # has to be given
    for name, argument in found.items():
        assert argument["description"].endswith("."), name
    page = (ROOT / "docs" / "bags.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"Arguments of `replay\.launch\.py`: (.*?); it ends", page, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) == ARGUMENTS


def test_each_program_gets_parameters_that_it_has(launch_file: Any, tmp_path: Path) -> None:
    bag = bags.write_bag(tmp_path / "bag")
    given = {name: argument["default_value"] for name, argument in declared(launch_file).items()}
    given |= {"bag": str(bag), "rate": "0.5", "start_paused": "true", "params_file": "x.yaml"}
    actions = launch_file.start(SimpleNamespace(launch_configurations=given))
    programs = {one.named["executable"]: one.named for one in actions if "executable" in one.named}
    parameters = {name: one["parameters"][0] for name, one in programs.items()}
    assert parameters["play_node"] == {
        "bag": str(bag), "rate": 0.5, "loops": 1, "start_offset_s": 0.0, "start_paused": True,
        "wait_for_truth": True,
    }  # fmt: skip
    assert parameters["evaluate_node"] == {
        "cameras": [bags.CAMERA.name], "truth_topics": [bags.CAMERA.truth], "out": "output/live",
        "gates": "", "idle_limit_s": 10.0,
    }  # fmt: skip
    node = parameters["segment_node"]
    assert (node["weights"], node["profile"], node["device"]) == ("demo", "balanced", "cpu")
    assert node[f"{bags.CAMERA.name}.image_topic"] == bags.CAMERA.image
    assert programs["segment_node"]["ros_arguments"] == ["--params-file", "x.yaml"]
    known = {spec.name for spec in PARAMETERS} | {"use_sim_time"}
    assert {name for name in node if "." not in name} <= known
    for program in (play_node, evaluate_node):
        assert set(parameters[program.PROGRAM]) <= set(program.DEFAULTS)


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch_ros is missing: it comes with a ROS 2 installation, the registry has no wheel",
)
def test_launch_reads_it() -> None:
    from launch import LaunchContext
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(LAUNCH_FILE))
    declared = {argument.name: argument for argument in description.get_launch_arguments()}
    assert set(declared) == ARGUMENTS
    context = LaunchContext()
    assert "".join(part.perform(context) for part in declared["rate"].default_value) == "1.0"
