# SPDX-License-Identifier: Apache-2.0
"""Layouts and the pages on deployment and Nav2 say what the node has."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml

from camseg_core.labels import CITYSCAPES
from camseg_ros.inference.frame_queue import FrameCounts
from camseg_ros.messages.outputs import OUTPUTS
from camseg_ros.node.health import DurationWindow, count_values, duration_values
from camseg_ros.node.parameters import NODE_NAME, PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
DEPLOYMENT, NAV2 = ROOT / "docs" / "deployment.md", ROOT / "docs" / "nav2.md"
CAMERA_TOPICS = {
    "mask", "mask/compressed", "confidence", "class_probabilities", "class_summary", "overlay",
    "camera_info", "label_info", "drivable_grid",
}  # fmt: skip
TOPICS = {f"/{NODE_NAME}/camera/{topic}" for topic in CAMERA_TOPICS}
DISCOVERY_LIMIT_S = 30.0
LIST_SERVICES = """
import json, sys, time
import rclpy
from camseg_ros.dds_environment import use_free_domain
from camseg_ros.segment_node import SegmentNode

use_free_domain()
rclpy.init()
node = SegmentNode()
deadline = time.monotonic() + float(sys.argv[2])
# A node hears of its own services one after another.
while True:
    found = node.get_service_names_and_types_by_node(node.get_name(), "/")
    if len(found) >= int(sys.argv[1]) or time.monotonic() > deadline:
        break
    time.sleep(0.05)
print(json.dumps([name for name, _ in found]))
"""


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def test_the_node_has_these_topics() -> None:
    assert {spec.topic for spec in OUTPUTS.values()} <= CAMERA_TOPICS


# --- layouts ---


def test_rviz_shows_topics_of_the_node() -> None:
    layout = yaml.safe_load((ROOT / "config" / "segment.rviz").read_text("utf-8"))
    manager = layout["Visualization Manager"]
    shown = {display["Name"]: display for display in manager["Displays"] if "Topic" in display}
    found = {name: (display["Class"], display["Topic"]["Value"]) for name, display in shown.items()}
    assert found == {
        "Overlay": ("rviz_default_plugins/Image", "/segment_node/camera/overlay"),
        "Confidence": ("rviz_default_plugins/Image", "/segment_node/camera/confidence"),
        "Drivable grid": ("rviz_default_plugins/Map", "/segment_node/camera/drivable_grid"),
    }
    assert {display["Topic"]["Value"] for display in shown.values()} <= TOPICS
    # A transient-local subscriber would get nothing from publishers that are not latched.
    policies = ("Durability Policy", "Reliability Policy")
    assert {
        tuple(display["Topic"][policy] for policy in policies) for display in shown.values()
    } == {("Volatile", "Reliable")}
    assert manager["Global Options"]["Fixed Frame"] == "base_link"
    assert set(shown) - {"Drivable grid"} <= set(layout["Window Geometry"])


def panels(tree: Any) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    assert tree["direction"] in {"row", "column"}
    return panels(tree["first"]) + panels(tree["second"])


def diagnostic_keys() -> set[str]:
    """Return the keys that the node's diagnostics can have."""
    source = (ROOT / "camseg_ros" / "pipeline.py").read_text("utf-8")
    constants = {n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant)}
    windows = {"latency": DurationWindow(), "age": DurationWindow()}
    return {*count_values(FrameCounts()), *duration_values(windows)} | {
        text for text in constants if isinstance(text, str) and re.fullmatch(r"[a-z_0-9]+", text)
    }


def test_foxglove_shows_topics_and_diagnostics_of_the_node() -> None:
    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text("utf-8"))
    settings = layout["configById"]
    assert sorted(panels(layout["layout"])) == sorted(settings)
    kinds = [name.partition("!")[0] for name in settings]
    assert kinds == [
        "Image", "Image", "3D", "DiagnosticSummary", "DiagnosticStatusPanel", "Plot", "Plot",
    ]  # fmt: skip
    images = {
        panel["imageMode"]["imageTopic"] for name, panel in settings.items() if "Image!" in name
    }
    assert images == {"/segment_node/camera/overlay", "/segment_node/camera/confidence"}
    used = re.findall(r"/segment_node/[a-z_/]+", json.dumps(layout))
    assert set(used) <= TOPICS
    assert len(used) == 5  # two images with their camera_info, one grid
    assert settings["DiagnosticStatusPanel!node"]["selectedName"] == f"/{NODE_NAME}"
    paths = [path["value"] for panel in settings.values() for path in panel.get("paths", [])]
    pattern = (
        r'/diagnostics\.status\[:\]\{name=="/segment_node"\}\.values\[:\]\{key=="(\w+)"\}\.value'
    )
    keys = [found[1] for found in (re.fullmatch(pattern, path) for path in paths) if found]
    assert len(keys) == len(paths)
    assert keys == [
        "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "age_p95_ms", "rate_out_hz", "steps",
    ]  # fmt: skip
    assert set(keys) <= diagnostic_keys()


# --- pages ---


def costmap(text: str) -> dict[str, Any]:
    parameters = yaml.safe_load(text)["local_costmap"]["local_costmap"]["ros__parameters"]
    assert isinstance(parameters, dict)
    assert [name for name in parameters["plugins"] if "plugin" not in parameters[name]] == []
    return parameters


def test_nav2_semantic_layer_reads_our_topics_and_knows_our_classes() -> None:
    layer = costmap(blocks(NAV2, "yaml")[0])["semantic_layer"]
    assert layer["plugin"] == "semantic_segmentation_layer::SemanticSegmentationLayer"
    source = layer[layer["observation_sources"]]
    topics = [source[f"{name}_topic"] for name in ("segmentation", "confidence", "labels")]
    assert topics == [
        f"/segment_node/camera/{name}" for name in ("mask", "confidence", "label_info")
    ]
    assert set(topics) <= TOPICS
    classes = [name for kind in source["class_types"] for name in source[kind]["classes"]]
    assert sorted(classes) == sorted(set(CITYSCAPES.names) - {"sky"})
    costs = [
        (source[kind]["base_cost"], source[kind]["max_cost"]) for kind in source["class_types"]
    ]
    assert costs == [(0, 0), (100, 200), (200, 254), (254, 254)]  # 254 is lethal, 255 unknown


def test_nav2_static_layer_reads_the_grid() -> None:
    parameters = costmap(blocks(NAV2, "yaml")[1])
    layer = parameters["drivable_layer"]
    assert layer["plugin"] == "nav2_costmap_2d::StaticLayer"
    assert layer["map_topic"] in TOPICS
    assert layer["map_subscribe_transient_local"] is False
    assert parameters["plugins"][0] == "drivable_layer"
    assert (parameters["rolling_window"], parameters["track_unknown_space"]) == (True, True)


def test_the_systemd_unit_starts_the_node_again() -> None:
    (text,) = blocks(DEPLOYMENT, "ini")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd minds the case
    unit.read_string(text)
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = unit["Service"]
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")
    assert service["User"] not in {"root", "0"}
    shell, option, script = shlex.split(service["ExecStart"])
    assert (shell, option) == ("/bin/bash", "-c")
    assert " exec /opt/camseg/install/camseg_ros/lib/camseg_ros/segment_node --ros-args" in script


def test_the_security_policy_allows_what_the_node_has() -> None:
    (text,) = blocks(DEPLOYMENT, "xml")
    policy = ElementTree.fromstring(text)
    profile = policy.find("enclaves/enclave[@path='/camseg']/profiles/profile")
    assert profile is not None
    assert (profile.get("ns"), profile.get("node")) == ("/", NODE_NAME)
    subscribed = {topic.text for topic in profile.findall("topics[@subscribe='ALLOW']/topic")}
    assert subscribed == {
        "/camera/image_raw", "/camera/camera_info", "/clock", "/tf", "/tf_static",
    }  # fmt: skip
    published = {topic.text for topic in profile.findall("topics[@publish='ALLOW']/topic")}
    assert published == {f"~/camera/{topic}" for topic in CAMERA_TOPICS} | {
        "~/labels", "~/transition_event", "/diagnostics", "/parameter_events", "/rosout",
    }  # fmt: skip
    services = profile.findall("services[@reply='ALLOW']/service")
    served = sorted(str(service.text) for service in services)
    # A process and a domain of its own: other tests' nodes have the same name.
    environment = {name: text for name, text in os.environ.items() if name != "ROS_DOMAIN_ID"}
    answer = subprocess.run(
        [sys.executable, "-c", LIST_SERVICES, str(len(served)), str(DISCOVERY_LIMIT_S)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found = sorted(name.replace(f"/{NODE_NAME}/", "~/") for name in json.loads(answer.stdout))
    assert served == found


def test_the_package_depends_on_the_ros_packages_that_it_imports() -> None:
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "camseg_ros").rglob("*.py")]
    imported = {
        name.partition(".")[0]
        for node in (node for tree in trees for node in ast.walk(tree))
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }  # fmt: skip
    # The Python module tf2_ros is in a package of another name; ours are in no registry of ROS.
    packages = {"rclpy": "rclpy", "cv_bridge": "cv_bridge", "tf2_ros": "tf2_ros_py"} | {
        name: name for name in imported if re.search(r"_(msgs|srvs|interfaces)$", name)
    }
    package = ElementTree.parse(ROOT / "package.xml")
    declared = {str(item.text) for item in package.findall("exec_depend")}
    assert {"rclpy", "cv_bridge", "tf2_ros", "sensor_msgs"} <= imported
    assert {packages[name] for name in imported & set(packages)} <= declared


@pytest.mark.parametrize("page", [DEPLOYMENT, NAV2], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve()
        assert target.is_file(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.M)
        anchors = {
            re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings
        }
        assert not anchor or anchor in anchors, link


def test_pages_name_parameters_and_diagnostics_that_exist() -> None:
    text = DEPLOYMENT.read_text("utf-8") + NAV2.read_text("utf-8")
    parameters = {
        "torch_threads", "latency_budget_ms", "min_steps", "input_age_warn_s", "input_age_error_s",
        "min_confidence", "output_height", "output_width",
    }  # fmt: skip
    assert parameters <= {spec.name for spec in PARAMETERS}
    assert {name for name in parameters if f"`{name}`" not in text} == set()
    health = DEPLOYMENT.read_text("utf-8").partition("## Health")[2]
    table = re.findall(r"^\| `([a-z_0-9]+)`.*\|.*\|.*\|$", health, re.M)
    assert table == [
        "latency_p99_ms", "age_p95_ms", "frames_refused", "frames_lost", "frames_dropped",
        "device_memory_mib", "weights_sha256",
    ]  # fmt: skip
    assert set(table) <= diagnostic_keys()


def test_each_section_tells_what_was_not_run() -> None:
    sections = re.split(r"^## ", DEPLOYMENT.read_text("utf-8"), flags=re.M)[1:]
    silent = [
        section.partition("\n")[0]
        for section in sections
        if not re.search(r"(run|built|enforced)\s+here", section)
    ]
    assert silent == ["Health", "Licences"]
    assert "**Neither was run here**" in NAV2.read_text("utf-8")
