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
from typing import NamedTuple

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


class Instruction(NamedTuple):
    """One instruction of a Dockerfile and the stage it belongs to."""

    stage: str
    name: str
    text: str


def dockerfile() -> list[Instruction]:
    text = (DOCKER / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found, stage = [], ""
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stage = rest.split(" AS ")[1]
        found.append(Instruction(stage, name, " ".join(rest.split())))
    return found


def inherited(stage: str, name: str) -> str | None:
    """Return the last instruction of that name that holds in an image of this stage."""
    parents = {i.stage: i.text.split()[0] for i in dockerfile() if i.name == "FROM"}
    while stage in parents:
        own = [i.text for i in dockerfile() if (i.stage, i.name) == (stage, name)]
        if own:
            return own[-1]
        stage = parents[stage]
    return None


def copied_sources() -> set[str]:
    """Return what the build copies out of the repository."""
    sources: set[str] = set()
    for instruction in dockerfile():
        words = [word for word in instruction.text.split() if not word.startswith("--chmod")]
        if instruction.name == "COPY" and not words[0].startswith("--from"):
            sources.update(word.rstrip("/") for word in words[:-1])
    return sources


def test_the_base_is_jazzy_and_has_a_tag() -> None:
    stages = [i.stage for i in dockerfile() if i.name == "FROM"]
    assert stages == ["deps", "build", "train", "node"]  # the last one is the default
    assert [i.text for i in dockerfile() if i.stage == ""] == ["BASE=ros:jazzy-ros-base-noble"]
    assert ["${BASE} AS deps", *(f"deps AS {stage}" for stage in stages[1:])] == [
        i.text for i in dockerfile() if i.name == "FROM"
    ]
    assert "latest" not in (DOCKER / "Dockerfile").read_text("utf-8")


@pytest.mark.parametrize("stage", ["node", "train"])
def test_images_run_as_a_user_that_is_not_root(stage: str) -> None:
    assert inherited(stage, "USER") == "camseg"
    users = [i.text for i in dockerfile() if i.name == "RUN" and "useradd" in i.text]
    assert len(users) == 1
    assert '--uid "${USER_ID}"' in users[0]
    assert users[0].endswith(" camseg")
    assert "USER_ID=1000" in [i.text for i in dockerfile() if i.name == "ARG"]
    # Nothing that needs root comes after the user.
    names = [i.name for i in dockerfile() if i.stage == stage]
    assert "RUN" not in names[names.index("USER") :]


def test_the_node_is_checked_by_asking_it() -> None:
    check = inherited("node", "HEALTHCHECK")
    assert check is not None
    options, _, command = check.partition(" CMD ")
    assert json.loads(command) == ["camseg-entrypoint", "python", "/opt/camseg/healthcheck.py"]
    assert ("node", "COPY", "docker/healthcheck.py ./") in dockerfile()
    assert inherited("build", "WORKDIR") != inherited("deps", "WORKDIR") == "/opt/camseg"
    given = dict(option.removeprefix("--").split("=") for option in options.split())
    assert given == {"interval": "30s", "timeout": "15s", "start-period": "300s", "retries": "3"}
    assert inherited("train", "HEALTHCHECK") == "NONE"


def test_the_node_is_the_process_that_gets_signals() -> None:
    command = json.loads(inherited("node", "CMD") or "")
    assert command[:3] == ["segment_node", "--ros-args", "--params-file"]
    share = "/opt/camseg/install/share/camseg_ros/"
    assert (ROOT / command[3].removeprefix(share)).is_file()
    path = [i.text for i in dockerfile() if i.name == "ENV" and i.text.startswith("PATH=")]
    assert [entry.split(":")[0] for entry in path] == ["PATH=/opt/camseg/install/lib/camseg_ros"]
    assert inherited("node", "ENTRYPOINT") == '["camseg-entrypoint"]'
    copied = [i.text for i in dockerfile() if i.stage == "deps" and i.name == "COPY"]
    assert "--chmod=755 docker/entrypoint.sh /usr/local/bin/camseg-entrypoint" in copied


def test_torch_comes_first_and_from_the_chosen_index() -> None:
    runs = [i.text for i in dockerfile() if i.name == "RUN" and "download.pytorch.org" in i.text]
    assert len(runs) == 1
    assert '--index-url "https://download.pytorch.org/whl/${TORCH_INDEX}"' in runs[0]
    assert "grep '^torch==' requirements/core.txt" in runs[0]
    core = (ROOT / "requirements" / "core.txt").read_text("utf-8")
    assert len(re.findall(r"^torch==[\d.]+$", core, re.M)) == 1
    assert ("deps", "ARG", "TORCH_INDEX=cpu") in dockerfile()
    # Sources change daily, libraries seldom: no layer with libraries lies on one with sources.
    deps = " ".join(i.text for i in dockerfile() if i.stage in {"deps", "train"})
    assert "camseg_core/" not in deps
    development = (ROOT / "requirements" / "dev.txt").read_text("utf-8")
    for tool in ("setuptools", "wheel", "colcon-common-extensions"):
        assert len(re.findall(rf"^{tool}==", development, re.M)) == 1


def test_the_build_is_given_what_it_copies() -> None:
    assert [name for name in copied_sources() if not (ROOT / name).exists()] == []
    lines = (DOCKER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
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


def test_compose_has_the_node_and_the_training_environment() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))["services"]
    assert set(services) == {"node", "node-cuda", "train"}
    node, cuda, train = services["node"], services["node-cuda"], services["train"]
    assert (node["network_mode"], node["ipc"], node["restart"]) == (
        "host",
        "host",
        "on-failure",
    )
    assert node["command"][:3] == ["segment_node", "--ros-args", "--params-file"]
    page = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    told = re.findall(r"\b((?:ROS_(?!DISTRO)|FAST(?:RTPS|DDS)_)[A-Z_]+|CAMSEG_NODE)\b", page)
    assert set(told) | {"RMW_IMPLEMENTATION", "CYCLONEDDS_URI"} == set(node["environment"])
    (params,) = node["volumes"]
    assert params["target"] == node["command"][3]
    default = re.fullmatch(r"\$\{CAMSEG_PARAMS:-(.*)\}", params["source"])
    assert default is not None
    assert (DOCKER / default[1]).is_file()
    assert cuda["extends"] == {"service": "node"}
    assert cuda["command"] == [*node["command"], "-p", "device:=cuda"]
    gpus = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    for service in (cuda, train):
        assert service["deploy"]["resources"]["reservations"]["devices"] == [gpus]
        assert service["build"]["args"]["TORCH_INDEX"] == "${TORCH_INDEX:-cu130}"
    assert [port.rpartition("}:")[2] for port in train["ports"]] == ["8888", "6006"]
    assert [re.findall(r":-(\d+)\}", port) for port in train["ports"]] == [["18888"], ["18006"]]
    assert "--port=8888" in train["command"][2]
    assert "--port 6006" in train["command"][2]
    assert train["shm_size"] == "8gb"
    mounts = {mount["target"]: mount.get("read_only", False) for mount in train["volumes"]}
    assert mounts == {"/data": True, "/runs": False}
    assert [node["build"]["target"], train["build"]["target"]] == ["node", "train"]
    for service in (node, train):
        build = service["build"]
        assert (DOCKER / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()
        declared = {i.text.partition("=")[0] for i in dockerfile() if i.name == "ARG"}
        assert set(build["args"]) <= declared
