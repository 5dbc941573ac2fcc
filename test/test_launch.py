# SPDX-License-Identifier: Apache-2.0
"""The launch file: what it declares, and the node it starts. Running it needs launch_ros."""

from __future__ import annotations

import importlib.util
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rclpy
from installed_package import install
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python

from camseg_ros.node.dds_environment import use_free_domain
from camseg_ros.node.parameters import CAMERA_ARGUMENTS, LAUNCH_ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / "launch" / "segment.launch.py"
BAD_INPUT = 2
LIMIT_S = 120.0
ASK_LIMIT_S = 30.0
OWN_ARGUMENTS = {"params_file", "cameras", "namespace", "respawn", "log_level", *CAMERA_ARGUMENTS}

needs_launch = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch_ros is missing: it comes with a ROS 2 installation, the registry has no wheel",
)


@dataclass
class Run:
    """What one run of the launch file showed."""

    status: int | None = None
    node_exit: int | None = None
    output: str = ""
    killed: bool = False
    values: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module", autouse=True)
def own_log_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set the folder of ROS' logs, which launch reads when it is first imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))
        yield


@pytest.fixture
def package_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prefix = install(tmp_path / "prefix")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(prefix), prepend=":")
    use_free_domain()
    return prefix


def parameters_of(node_name: str, names: list[str]) -> dict[str, Any]:
    context = rclpy.Context()
    rclpy.init(context=context)
    asker = Node("asker", context=context)
    client = asker.create_client(GetParameters, f"{node_name}/get_parameters")
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(asker)
    try:
        assert client.wait_for_service(timeout_sec=ASK_LIMIT_S)
        future = client.call_async(GetParameters.Request(names=names))
        executor.spin_until_future_complete(future, timeout_sec=ASK_LIMIT_S)
        values = [parameter_value_to_python(value) for value in future.result().values]
        return dict(zip(names, values, strict=True))
    finally:
        executor.shutdown()
        asker.destroy_node()
        rclpy.shutdown(context=context)


def run_launch_file(
    prefix: Path,
    arguments: dict[str, str],
    when_active: Callable[[], dict[str, Any]],
    kill_first: bool = False,
) -> Run:
    """Run the installed launch file until the node is active (then ask), or gone.

    With ``kill_first`` the first node that is active is killed, and the next one awaited.
    """
    from launch import LaunchDescription, LaunchService
    from launch.actions import (
        IncludeLaunchDescription,
        RegisterEventHandler,
        Shutdown,
        TimerAction,
    )
    from launch.event_handlers import OnProcessExit, OnProcessIO
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    run = Run()

    def on_output(event: Any) -> list[Any]:
        was_active = "active: " in run.output
        run.output += event.text.decode()
        if was_active or "active: " not in run.output:
            return []
        if kill_first and not run.killed:
            run.killed, run.output = True, ""
            os.kill(event.pid, signal.SIGKILL)
            return []
        run.values = when_active()
        return [Shutdown(reason="the node was active")]

    def on_exit(event: Any, context: Any) -> list[Any]:
        run.node_exit = event.returncode
        # launch_ros fails on a second shutdown.
        was_killed = event.returncode == -signal.SIGKILL
        return [] if context.is_shutdown or was_killed else [Shutdown(reason="the node ended")]

    path = prefix / "share" / "camseg_ros" / "launch" / LAUNCH_FILE.name
    service = LaunchService(noninteractive=True)
    service.include_launch_description(
        LaunchDescription(
            [
                RegisterEventHandler(OnProcessIO(on_stdout=on_output, on_stderr=on_output)),
                RegisterEventHandler(OnProcessExit(on_exit=on_exit)),
                TimerAction(period=LIMIT_S, actions=[Shutdown(reason="took too long")]),
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(str(path)), launch_arguments=arguments.items()
                ),
            ]
        )
    )
    run.status = service.run()
    return run


@needs_launch
def test_every_declared_argument_is_documented_and_described() -> None:
    from launch import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    source = PythonLaunchDescriptionSource(str(LAUNCH_FILE))
    declared = source.get_launch_description(LaunchContext()).get_launch_arguments()
    assert {argument.name for argument in declared} == OWN_ARGUMENTS | {
        spec.name for spec in LAUNCH_ARGUMENTS
    }
    for argument in declared:
        assert argument.description not in ("", "no description given"), argument.name


@needs_launch
def test_the_node_comes_up_with_the_given_arguments_and_goes_down(
    package_prefix: Path, tmp_path: Path
) -> None:
    params_file = tmp_path / "params.yaml"
    params_file.write_text(
        "/**:\n  ros__parameters: {weights: 'random:tiny', steps: 7, seed: 5}\n", encoding="utf-8"
    )
    asked = ["steps", "seed", "use_sim_time", "device", "latency_budget_ms"]
    run = run_launch_file(
        package_prefix,
        {
            "params_file": str(params_file),
            "steps": "3",
            "latency_budget_ms": "80",
            "use_sim_time": "true",
            "cameras": "left, right",
            "image_topics": "left/image, /right/image",
            "namespace": "car",
        },
        lambda: parameters_of("/car/segment_node", asked),
    )
    assert [*run.values.values()] == [3, 5, True, "cpu", 80.0], run.output
    assert "unknown parameters" not in run.output
    assert "configured: random:tiny" in run.output
    assert "active: listening to /car/left/image, /right/image" in run.output
    assert "Traceback" not in run.output
    assert (run.status, run.node_exit) == (0, 0), run.output


@needs_launch
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [({"steps": "-1"}, "parameter steps"), ({"params_file": "/missing.yaml"}, "/missing.yaml")],
)
def test_bad_arguments_end_the_node_with_the_reason(
    package_prefix: Path, arguments: dict[str, str], reason: str
) -> None:
    run = run_launch_file(package_prefix, arguments, dict)
    assert run.node_exit == BAD_INPUT
    assert reason in run.output
    assert "Traceback" not in run.output


@needs_launch
def test_a_node_that_dies_is_started_again(package_prefix: Path) -> None:
    arguments = {"weights": "random:tiny", "cameras": "front"}
    run = run_launch_file(package_prefix, arguments, dict, kill_first=True)
    assert run.killed
    assert "active: listening to /front/image_raw" in run.output
    assert (run.status, run.node_exit) == (0, 0), run.output
