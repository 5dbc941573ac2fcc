# SPDX-License-Identifier: Apache-2.0
"""What runs in the container: the entrypoint and the health check. Docker is not needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode

from camseg_ros.node.dds_environment import use_free_domain
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.node_client import SpinningThread

DOCKER = Path(__file__).resolve().parents[1] / "docker"
ANSWER_LIMIT_S = 60


def run_entrypoint(source: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the entrypoint with a shell function in place of ``source``."""
    return subprocess.run(
        ["bash", str(DOCKER / "entrypoint.sh"), *command],
        env={**os.environ, "ROS_DISTRO": "jazzy", "BASH_FUNC_source%%": f"() {{ {source}; }}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_entrypoint_sources_both_and_becomes_the_command() -> None:
    note = 'export SOURCED="$SOURCED${NEVER_SET}$1:"'
    finished = run_entrypoint(note, "sh", "-c", 'echo "$SOURCED$1"; exit 70', "sh", "a b")
    setups = "/opt/ros/jazzy/setup.bash:/opt/camseg/install/setup.bash"
    assert (finished.returncode, finished.stdout) == (70, f"{setups}:a b\n")


def test_the_entrypoint_refuses_to_run_without_ros() -> None:
    finished = run_entrypoint('builtin source "/nowhere$1"', "echo", "started")
    assert finished.returncode != 0
    assert finished.stdout == ""
    assert "ros/jazzy/setup.bash" in finished.stderr


@pytest.fixture(scope="module")
def context() -> Iterator[rclpy.Context]:
    use_free_domain()
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture
def lifecycle_node(context: rclpy.Context) -> Iterator[LifecycleNode]:
    """Return a lifecycle node called like ours that answers; it has no model."""
    node = LifecycleNode(NODE_NAME, namespace="/front", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = SpinningThread(executor, "answering")
    thread.start()
    yield node
    thread.stop()
    node.destroy_node()


def check_health(node: str, discovery_limit_s: float = 20.0) -> tuple[int, str]:
    code = (
        "import sys, healthcheck as check; "
        f"check.DISCOVERY_LIMIT_S = {discovery_limit_s}; sys.exit(check.main())"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=DOCKER, env={**os.environ, "CAMSEG_NODE": node}, capture_output=True, text=True,
        timeout=ANSWER_LIMIT_S, check=False,
    )  # fmt: skip
    return finished.returncode, finished.stdout + finished.stderr


def test_a_node_is_healthy_when_it_is_active(lifecycle_node: LifecycleNode) -> None:
    name = f"/front/{NODE_NAME}"
    assert check_health(name) == (1, f"{name} is unconfigured, not active\n")
    lifecycle_node.trigger_configure()
    assert check_health(name) == (1, f"{name} is inactive, not active\n")
    lifecycle_node.trigger_activate()
    assert check_health(name) == (0, f"{name} is active\n")


def test_no_node_is_not_healthy(context: rclpy.Context) -> None:
    assert check_health("/nobody", 0.2) == (1, "/nobody does not answer\n")
