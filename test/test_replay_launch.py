# SPDX-License-Identifier: Apache-2.0
"""The launch file of the replay: what it declares, in the docs too; with launch, what it starts."""

from __future__ import annotations

import ast
import importlib
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


def declared_in_the_file(tree: ast.Module) -> dict[str, tuple[str | None, str]]:
    """Return default and description by argument, but for params_file."""
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="ARGUMENTS")], value=value):
                found: dict[str, tuple[str | None, str]] = ast.literal_eval(value)
                return found
    raise AssertionError("no ARGUMENTS in the launch file")


def given_in_the_file(tree: ast.Module) -> set[str]:
    """Return the names of the arguments that are read: ``given["bag"]``, and those in a loop."""
    text = ast.unparse(tree)
    (loop,) = re.findall(r"given\[name\] for name in \((.*?)\)", text)
    return {*re.findall(r"given\['(\w+)'\]", text), *re.findall(r"'(\w+)'", loop)}


def test_every_argument_is_used_and_every_used_one_is_declared() -> None:
    tree = ast.parse(LAUNCH_FILE.read_text(encoding="utf-8"), feature_version=(3, 10))
    assert given_in_the_file(tree) == ARGUMENTS


def test_the_programs_parameters_are_those_that_they_declare() -> None:
    """What the launch file sets, a program reads."""
    tree = ast.parse(LAUNCH_FILE.read_text(encoding="utf-8"), feature_version=(3, 10))
    checked = set()
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "Node"):
            continue
        given = {word.arg: word.value for word in call.keywords}
        program = ast.literal_eval(given["executable"])
        parameters = given["parameters"]
        assert isinstance(parameters, ast.List)
        (table,) = parameters.elts
        assert isinstance(table, ast.Dict)
        known = importlib.import_module(f"camseg_ros.replay.{program}").DEFAULTS
        assert {ast.literal_eval(key) for key in table.keys if key is not None} <= set(known)
        checked.add(program)
    assert checked == {"play_node", "evaluate_node"}


def test_it_compiles_for_python_3_10_and_declares_what_the_docs_name() -> None:
    tree = ast.parse(LAUNCH_FILE.read_text(encoding="utf-8"), feature_version=(3, 10))
    compile(tree, str(LAUNCH_FILE), "exec")
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert "generate_launch_description" in names
    table = declared_in_the_file(tree)
    assert {*table, "params_file"} == ARGUMENTS
    for name, (default, description) in table.items():
        assert default is None or isinstance(default, str), name
        assert description.endswith("."), name
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
    for argument in declared.values():
        assert argument.description not in ("", "no description given"), argument.name
    assert declared["bag"].default_value is None  # has to be given
    context = LaunchContext()
    assert "".join(part.perform(context) for part in declared["rate"].default_value) == "1.0"
