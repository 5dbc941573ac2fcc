# SPDX-License-Identifier: Apache-2.0
"""The launch file of the replay: what it declares, as the docs do, and the programs it starts.

Where launch is missing, stand-ins take down what it would be told.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import made_bags as bags
import pytest
from installed_package import install

from camseg_ros.node.dds_environment import use_free_domain
from camseg_ros.node.parameters import PARAMETERS
from camseg_ros.replay.live import evaluate_node, play_node

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / "launch" / "replay.launch.py"
ARGUMENTS = {
    "bag", "out", "params_file", "weights", "device", "profile", "speed", "loops",
    "start_offset_s", "start_paused", "gates", "idle_limit_s",
}  # fmt: skip
MODULES = (
    "launch", "launch.actions", "launch.event_handlers", "launch.events.process",
    "launch.substitutions", "launch_ros", "launch_ros.actions",
    "launch_ros.parameter_descriptions", "launch_ros.substitutions",
)  # fmt: skip
needs_launch = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch_ros is missing: it comes with a ROS 2 installation, the registry has no wheel",
)


class Told:
    """Stands in for any class of launch."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.given, self.named = given, named

    def perform(self, _: Any) -> str:
        raise NotImplementedError


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


def test_each_program_gets_parameters_that_it_has(
    launch_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = install(tmp_path / "prefix")
    bag = bags.write_bag(tmp_path / "bag")
    given = {name: argument["default_value"] for name, argument in declared(launch_file).items()}
    given |= {"bag": str(bag), "speed": "0.5", "start_paused": "true", "params_file": "x.yaml"}
    monkeypatch.setattr(Told, "perform", lambda *_: str(prefix / "lib" / "camseg_ros" / "camseg"))
    actions = launch_file.start(SimpleNamespace(launch_configurations=given))
    programs = {one.named["executable"]: one.named for one in actions if "executable" in one.named}
    # The later ones override the earlier ones.
    parameters = {
        name: {key: value for part in one["parameters"] for key, value in part.items()}
        for name, one in programs.items()
    }
    assert parameters["play_node"] == {
        "bag": str(bag), "speed": 0.5, "loops": 1, "start_offset_s": 0.0, "start_paused": True,
        "wait_for_truth": True,
    }  # fmt: skip
    assert parameters["evaluate_node"] == {
        "cameras": [bags.CAMERA.name], "truth_topics": [bags.CAMERA.truth], "out": "output/live",
        "gates": "", "idle_limit_s": 10.0,
    }  # fmt: skip
    node = parameters["segment_node"]
    assert not {"weights", "profile", "device"} & node.keys()  # those of the params file hold
    assert node[f"{bags.CAMERA.name}.image_topic"] == bags.CAMERA.image
    assert programs["segment_node"]["ros_arguments"] == ["--params-file", "x.yaml"]
    known = {spec.name for spec in PARAMETERS} | {"use_sim_time"}
    assert {name for name in node if "." not in name} <= known
    for program in (play_node, evaluate_node):
        assert set(parameters[program.PROGRAM]) <= set(program.DEFAULTS)


@needs_launch
def test_launch_reads_it() -> None:
    from launch import LaunchContext
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(LAUNCH_FILE))
    declared = {argument.name: argument for argument in description.get_launch_arguments()}
    assert set(declared) == ARGUMENTS
    context = LaunchContext()
    assert "".join(part.perform(context) for part in declared["speed"].default_value) == "1.0"


WITHOUT_LIBRARIES = """
import runpy, sys
from types import ModuleType

class StandIn(ModuleType):
    def __getattr__(self, name):
        return type(name, (), {"__init__": lambda self, *given, **named: None})

sys.modules |= {name: StandIn(name) for name in sys.argv[2:]}
runpy.run_path(sys.argv[1])["generate_launch_description"]()
"""


@pytest.mark.parametrize("name", ["replay", "segment"])
def test_they_load_where_nothing_but_launch_is_installed(name: str) -> None:
    path = ROOT / "launch" / f"{name}.launch.py"
    done = subprocess.run(  # -S: without the packages that are installed; yaml comes with launch
        [sys.executable, "-S", "-c", WITHOUT_LIBRARIES, str(path), "yaml", *MODULES],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

path, *given = sys.argv[1:]
source = PythonLaunchDescriptionSource(path)
arguments = [argument.split(":=") for argument in given]
service = LaunchService(noninteractive=True)
include = IncludeLaunchDescription(source, launch_arguments=arguments)
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""


@needs_launch
@pytest.mark.parametrize(
    ("gate", "status"), [("{min: 0.0}", 0), ("{min: 0.99}", 1), ("{least: 1}", 2)]
)
def test_its_exit_status_is_the_evaluator_s(
    gate: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(install(tmp_path / "prefix")), prepend=":")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    use_free_domain()
    (tmp_path / "gates.yaml").write_text(f"mean_iou: {gate}\n")
    params = "/**: {ros__parameters: {weights: 'random:tiny', profile: fast, unknown: 1}}\n"
    (tmp_path / "params.yaml").write_text(params)
    bag = bags.write_bag(tmp_path / "bag")
    given = {
        "bag": bag, "out": tmp_path / "out", "gates": tmp_path / "gates.yaml", "idle_limit_s": 1,
        "params_file": tmp_path / "params.yaml",
    }  # fmt: skip
    arguments = [f"{name}:={value}" for name, value in given.items()]
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, str(LAUNCH_FILE), *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    if status < 2:
        assert "configured: random:tiny" in done.stdout + done.stderr
