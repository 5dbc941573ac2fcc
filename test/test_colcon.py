# SPDX-License-Identifier: Apache-2.0
"""colcon builds the package, and the installed executable starts and ends."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import camseg_ros
from camseg_ros.node.dds_environment import use_free_domain

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path("src", "camseg_ros")
NOT_SOURCE = (".*", "__pycache__", "*.egg-info", "build", "install", "log", "output")
BUILD_LIMIT_S = 120
NODE_LIMIT_S = 120


def run_colcon(workspace: Path, *arguments: str) -> str:
    """Run colcon under this interpreter, which it writes into the executables."""
    finished = subprocess.run(
        [sys.executable, "-m", "colcon", "--log-base", "log", *arguments],
        cwd=workspace,
        env={**os.environ, "COLCON_HOME": str(workspace / "colcon_home")},
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT_S,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with the package built in it."""
    workspace = tmp_path_factory.mktemp("workspace")
    ignored = shutil.ignore_patterns(*NOT_SOURCE)
    shutil.copytree(ROOT, workspace / SOURCE, symlinks=True, ignore=ignored)
    bases = ("--base-paths", "src", "--build-base", "build", "--install-base", "install")
    run_colcon(workspace, "build", *bases, "--packages-select", "camseg_ros")
    return workspace


@pytest.fixture(scope="module")
def prefix(workspace: Path) -> Path:
    return workspace / "install" / "camseg_ros"


@pytest.fixture(scope="module")
def installed_environment(prefix: Path) -> dict[str, str]:
    """Return the environment that sourcing the installation gives."""
    use_free_domain()
    environment = dict(os.environ)
    # The ROS wheels set library paths once per process tree; this one starts afresh.
    environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    (packages,) = prefix.glob("lib/python*/site-packages")
    for name, path in (("PYTHONPATH", packages), ("AMENT_PREFIX_PATH", prefix)):
        others = [environment[name]] if name in environment else []
        environment[name] = os.pathsep.join([str(path), *others])
    return environment


def test_colcon_sees_one_ament_python_package(workspace: Path) -> None:
    assert run_colcon(workspace, "list", "--base-paths", "src") == (
        f"camseg_ros\t{SOURCE}\t(ros.ament_python)\n"
    )


def test_the_installation_has_what_ros_looks_for(prefix: Path) -> None:
    for name in ("segment_node", "evaluate_node", "play_node", "camseg"):
        assert os.access(prefix / "lib" / "camseg_ros" / name, os.X_OK)
    share = prefix / "share"
    expected = [
        "ament_index/resource_index/packages/camseg_ros",
        "camseg_ros/package.xml",
        "camseg_ros/launch/segment.launch.py",
        *(
            f"camseg_ros/config/{name}"
            for name in ("segment.yaml", "segment.rviz", "foxglove_layout.json", "fastdds.xml")
        ),
    ]
    assert [name for name in expected if not (share / name).is_file()] == []


def test_the_installation_is_what_gets_imported(
    prefix: Path, installed_environment: dict[str, str]
) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", "import camseg_core, camseg_ros; print(camseg_core, camseg_ros)"],
        cwd=prefix,
        env=installed_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.count(str(prefix)) == 2


def test_the_installed_node_comes_up_and_ends_on_ctrl_c(
    prefix: Path, installed_environment: dict[str, str]
) -> None:
    executable = prefix / "lib" / "camseg_ros" / "segment_node"
    process = subprocess.Popen(
        [executable, "--ros-args", "-p", "weights:=random:tiny"],
        cwd=prefix,
        env=installed_environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = threading.Timer(NODE_LIMIT_S, process.kill)
    limit.start()
    lines = []
    assert process.stderr is not None
    try:
        for line in process.stderr:
            lines.append(line)
            if "active: " in line:
                process.send_signal(signal.SIGINT)
        status = process.wait()
    finally:
        limit.cancel()
        process.kill()
        process.stderr.close()
        process.wait()
    log = "".join(lines)
    assert "active: " in log, log
    assert status == 0, log
    assert "Traceback" not in log


def test_the_package_depends_on_the_ros_packages_that_it_uses() -> None:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(camseg_ros.__path__, "camseg_ros.")
    ]
    users = (
        getattr(value, "__module__", "") for module in modules for value in vars(module).values()
    )
    used = {str(name).partition(".")[0] for name in users}
    messages = {name for name in used if re.search(r"_(msgs|srvs|interfaces)$", name)}
    assert {"sensor_msgs", "std_srvs"} <= messages
    package = ElementTree.parse(ROOT / "package.xml")
    declared = {str(item.text) for item in package.findall("exec_depend")}
    # tf2_ros and vision_msgs are in no registry, so that they are imported only where they are.
    assert messages | {"rclpy", "cv_bridge", "tf2_ros_py", "vision_msgs"} <= declared
