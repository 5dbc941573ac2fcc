# SPDX-License-Identifier: Apache-2.0
"""The container's files: what the image is built of, and what runs in it. Docker is not needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode

from camseg_ros.node.dds_environment import use_free_domain
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.node_client import SpinningThread

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
ANSWER_LIMIT_S = 60
BUILD_LIMIT_S = 120


def instructions(name: str) -> list[tuple[str, str]]:
    """Return the stage and the text of each of the Dockerfile's instructions of one name."""
    text = (DOCKER / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    found, stage = [], ""
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = rest.rpartition(" AS ")[2]
        if word == name:
            found.append((stage, " ".join(rest.split())))
    return found


def copied_sources() -> set[str]:
    """Return what the build copies out of the repository."""
    sources: set[str] = set()
    for _, text in instructions("COPY"):
        words = [word for word in text.split() if not word.startswith("--chmod")]
        if not words[0].startswith("--from"):
            sources.update(word.rstrip("/") for word in words[:-1])
    return sources


def test_images_do_not_run_as_root() -> None:
    assert dict(instructions("USER")) == {"train": "camseg", "node": "camseg"}


def test_the_node_starts_with_a_params_file_that_is_installed() -> None:
    command = json.loads(dict(instructions("CMD"))["node"])
    assert command[:3] == [NODE_NAME, "--ros-args", "--params-file"]
    share = "/opt/camseg/install/share/camseg_ros/"
    assert (ROOT / command[3].removeprefix(share)).is_file()


def test_the_build_is_given_what_it_copies() -> None:
    assert [name for name in copied_sources() if not (ROOT / name).exists()] == []
    rules = (DOCKER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert "*" in rules
    assert {name.split("/")[0] for name in copied_sources()} == allowed


def test_what_the_image_copies_is_the_whole_package(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    for name in copied_sources():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    finished = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "install", "--root", str(root),
         "--single-version-externally-managed", "--prefix", "/install"],
        cwd=source, capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    install = root / "install"
    expected = {
        "lib/camseg_ros/segment_node", "lib/camseg_ros/camseg",
        "share/camseg_ros/config/segment.yaml", "share/camseg_ros/config/segment.rviz",
        "share/camseg_ros/config/foxglove_layout.json", "share/camseg_ros/config/fastdds.xml",
        "share/camseg_ros/launch/segment.launch.py", "share/camseg_ros/package.xml",
    }  # fmt: skip
    assert {name for name in expected if not (install / name).is_file()} == set()
    assert len(list(install.glob("lib/python*/site-packages/camseg_core/weights/*.safetensors")))


# --- what runs in the container ---


def run_entrypoint(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the entrypoint with ``folder`` in place of /opt."""
    script = folder / "entrypoint.sh"
    text = (DOCKER / "entrypoint.sh").read_text("utf-8")
    assert text.count("/opt/") == 2
    script.write_text(text.replace("/opt/", f"{folder}/"))
    environment = {**os.environ, "ROS_DISTRO": "jazzy"}
    return subprocess.run(
        ["bash", str(script), *command],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_entrypoint_sources_both_and_becomes_the_command(tmp_path: Path) -> None:
    for name, line in (
        ("ros/jazzy", 'export FIRST="${NEVER_SET}ros"'),
        ("camseg/install", 'export SECOND="$FIRST+ours"'),
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "setup.bash").write_text(line)
    finished = run_entrypoint(tmp_path, "sh", "-c", 'echo "$SECOND:$1"; exit 70', "sh", "a b")
    assert (finished.returncode, finished.stdout) == (70, "ros+ours:a b\n")


def test_the_entrypoint_refuses_to_run_without_ros(tmp_path: Path) -> None:
    finished = run_entrypoint(tmp_path, "echo", "started")
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


# --- compose ---


def test_compose_mounts_what_the_node_reads_and_knows_the_dockerfile() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))["services"]
    node, cuda, train = services["node"], services["node-cuda"], services["train"]
    (params,) = node["volumes"]
    assert node["command"] == [NODE_NAME, "--ros-args", "--params-file", params["target"]]
    default = re.fullmatch(r"\$\{CAMSEG_PARAMS:-(.*)\}", params["source"])
    assert default is not None
    assert (DOCKER / default[1]).is_file()
    assert cuda["command"] == [*node["command"], "-p", "device:=cuda"]
    page = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    told = re.findall(r"\b((?:ROS_(?!DISTRO)|FAST(?:RTPS|DDS)_)[A-Z_]+|CAMSEG_NODE)\b", page)
    assert set(told) | {"RMW_IMPLEMENTATION", "CYCLONEDDS_URI"} == set(node["environment"])
    arguments = {text.partition("=")[0] for _, text in instructions("ARG")}
    stages = {text.rpartition(" AS ")[2] for _, text in instructions("FROM")}
    for service in (node, train):
        build = service["build"]
        assert (DOCKER / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()
        assert build["target"] in stages
        assert set(build["args"]) <= arguments
