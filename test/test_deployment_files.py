# SPDX-License-Identifier: Apache-2.0
"""Layouts and the pages on deployment and Nav2 name topics, classes and values the node has."""

from __future__ import annotations

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
from camseg_ros.messages.output_topics import OUTPUT_TOPICS
from camseg_ros.node.parameters import NODE_NAME, PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
DEPLOYMENT, NAV2 = ROOT / "docs" / "deployment.md", ROOT / "docs" / "nav2.md"
CAMERA_TOPICS = {*(item.topic for item in OUTPUT_TOPICS.values()), "label_info"}
TOPICS = {f"/{NODE_NAME}/camera/{topic}" for topic in CAMERA_TOPICS}
DISCOVERY_LIMIT_S = 30.0
# A process and a domain of its own: other tests' nodes have the same name.
ASK_THE_NODE = """
import json, sys, time
from node_parts import camera, parameter_values
import rclpy
from camseg_core.diffusion.options import V_PROFILES
from camseg_core.labels import CITYSCAPES
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import random_model
from camseg_ros.node.dds_environment import use_free_domain
from camseg_ros.node.pipeline import SegmentationPipeline
from camseg_ros.node.segment_node import SegmentNode
from camseg_ros.node.settings import live_settings

use_free_domain()
rclpy.init()
node = SegmentNode()
live = live_settings(parameter_values(), V_PROFILES, CITYSCAPES)
pipeline = SegmentationPipeline(node, Segmenter(random_model("tiny")), [camera("camera")], live)
keys = {entry.key for status in pipeline.statuses("/node", True) for entry in status.values}
deadline = time.monotonic() + float(sys.argv[2])
# A node hears of its own services one after another.
while True:
    found = node.get_service_names_and_types_by_node(node.get_name(), "/")
    if len(found) >= int(sys.argv[1]) or time.monotonic() > deadline:
        break
    time.sleep(0.05)
print(json.dumps([[name for name, _ in found], sorted(keys)]))
"""


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def policy_profile() -> Any:
    (text,) = blocks(DEPLOYMENT, "xml")
    return ElementTree.fromstring(text).find("enclaves/enclave[@path='/camseg']/profiles/profile")


def served() -> list[str]:
    services = policy_profile().findall("services[@reply='ALLOW']/service")
    return sorted(str(service.text) for service in services)


@pytest.fixture(scope="module")
def told_by_the_node() -> tuple[list[str], set[str]]:
    """Return the node's services and the keys of its diagnostics."""
    environment = {name: text for name, text in os.environ.items() if name != "ROS_DOMAIN_ID"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    answer = subprocess.run(
        [sys.executable, "-c", ASK_THE_NODE, str(len(served())), str(DISCOVERY_LIMIT_S)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    services, keys = json.loads(answer.stdout)
    return sorted(name.replace(f"/{NODE_NAME}/", "~/") for name in services), set(keys)


def test_rviz_shows_topics_of_the_node() -> None:
    layout = yaml.safe_load((ROOT / "config" / "segment.rviz").read_text("utf-8"))
    manager = layout["Visualization Manager"]
    topics = [display["Topic"] for display in manager["Displays"] if "Topic" in display]
    assert {topic["Value"] for topic in topics} <= TOPICS
    assert len(topics) == 3
    # A transient-local subscriber would get nothing from publishers that are not latched.
    policies = {(item["Durability Policy"], item["Reliability Policy"]) for item in topics}
    assert policies == {("Volatile", "Reliable")}
    defaults = {spec.name: spec.default for spec in PARAMETERS}
    assert manager["Global Options"]["Fixed Frame"] == defaults["grid_frame"]


def test_foxglove_shows_topics_and_diagnostics_of_the_node(
    told_by_the_node: tuple[list[str], set[str]],
) -> None:
    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text("utf-8"))
    settings = layout["configById"]

    def panels(tree: Any) -> list[str]:
        return [tree] if isinstance(tree, str) else panels(tree["first"]) + panels(tree["second"])

    assert sorted(panels(layout["layout"])) == sorted(settings)
    used = re.findall(r"/segment_node/[a-z_/]+", json.dumps(layout))
    assert used
    assert set(used) <= TOPICS
    assert settings["DiagnosticStatusPanel!node"]["selectedName"] == f"/{NODE_NAME}"
    paths = [path["value"] for panel in settings.values() for path in panel.get("paths", [])]
    pattern = (
        r'/diagnostics\.status\[:\]\{name=="/segment_node"\}\.values\[:\]\{key=="(\w+)"\}\.value'
    )
    keys = [found[1] for found in (re.fullmatch(pattern, path) for path in paths) if found]
    assert len(keys) == len(paths) > 0
    assert set(keys) <= told_by_the_node[1]


def costmap(text: str) -> dict[str, Any]:
    parameters = yaml.safe_load(text)["local_costmap"]["local_costmap"]["ros__parameters"]
    assert isinstance(parameters, dict)
    assert [name for name in parameters["plugins"] if "plugin" not in parameters[name]] == []
    return parameters


def test_nav2_reads_our_topics_and_knows_our_classes() -> None:
    semantic, drivable = map(costmap, blocks(NAV2, "yaml"))
    source = semantic["semantic_layer"]["camera"]
    topics = [source[f"{name}_topic"] for name in ("segmentation", "confidence", "labels")]
    assert topics == [
        f"/segment_node/camera/{name}" for name in ("mask", "confidence", "label_info")
    ]
    classes = [name for kind in source["class_types"] for name in source[kind]["classes"]]
    assert sorted(classes) == sorted(set(CITYSCAPES.names) - {"sky"})
    assert drivable["drivable_layer"]["map_topic"] in TOPICS
    assert drivable["drivable_layer"]["map_subscribe_transient_local"] is False
    assert drivable["plugins"][0] == "drivable_layer"


def test_the_systemd_unit_starts_the_node_again() -> None:
    (text,) = blocks(DEPLOYMENT, "ini")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd minds the case
    unit.read_string(text)
    service = unit["Service"]
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")
    shell, option, script = shlex.split(service["ExecStart"])
    assert (shell, option) == ("/bin/bash", "-c")
    assert " exec /opt/camseg/install/camseg_ros/lib/camseg_ros/segment_node --ros-args" in script


def test_the_security_policy_allows_what_the_node_has(
    told_by_the_node: tuple[list[str], set[str]],
) -> None:
    profile = policy_profile()
    assert (profile.get("ns"), profile.get("node")) == ("/", NODE_NAME)
    published = {topic.text for topic in profile.findall("topics[@publish='ALLOW']/topic")}
    assert published == {f"~/camera/{topic}" for topic in CAMERA_TOPICS} | {
        "~/labels", "~/transition_event", "/diagnostics", "/parameter_events", "/rosout",
    }  # fmt: skip
    assert served() == told_by_the_node[0]


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


def test_the_page_on_deployment_names_diagnostics_that_exist(
    told_by_the_node: tuple[list[str], set[str]],
) -> None:
    health = DEPLOYMENT.read_text("utf-8").partition("## Health")[2]
    named = re.findall(r"^\| `([a-z_0-9]+)`.*\|.*\|.*\|$", health, re.M)
    assert named
    assert set(named) <= told_by_the_node[1]
