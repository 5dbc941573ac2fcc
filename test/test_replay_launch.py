# SPDX-License-Identifier: Apache-2.0
"""The launch file of the replay: what it declares, in the docs too; with launch, what it starts."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / "launch" / "replay.launch.py"
ARGUMENTS = {
    "bag", "out", "params_file", "weights", "device", "profile", "rate", "loops",
    "start_offset_s", "start_paused", "gates", "idle_limit_s",
}  # fmt: skip


def test_it_compiles_for_python_3_10_and_declares_what_the_docs_name() -> None:
    tree = ast.parse(LAUNCH_FILE.read_text(encoding="utf-8"), feature_version=(3, 10))
    (table,) = (
        statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and getattr(statement.targets[0], "id", "") == "ARGUMENTS"
        and isinstance(statement.value, ast.Dict)
    )
    declared = {ast.literal_eval(key) for key in table.keys if key is not None} | {"params_file"}
    assert declared == ARGUMENTS
    page = (ROOT / "docs" / "bags.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"Arguments of `replay\.launch\.py`: (.*?); it ends", page, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) == ARGUMENTS


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
    assert declared["bag"].default_value is None  # has to be given
    context = LaunchContext()
    assert "".join(part.perform(context) for part in declared["rate"].default_value) == "1.0"
