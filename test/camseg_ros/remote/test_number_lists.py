# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from camseg_ros.remote.number_lists import with_float_lists


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("[1.5, 0, -2, 1e-1]", "[1.5, 0.0, -2.0, 1e-1]"),
        ("[[1, 0.5], [1, 2]]", "[[1.0, 0.5], [1, 2]]"),
        ("[1, 2]", "[1, 2]"),
        ("80", "80"),
        ("['1', 0.5, 1]", "['1', 0.5, 1]"),  # for rcl to refuse
        ("&a [1, 0.5, *a]", "&a [1, 0.5, *a]"),
        ("[1, 0.5", "[1, 0.5"),
    ],
)
def test_only_mixed_lists_of_numbers_are_changed(value: str, becomes: str, tmp_path: Path) -> None:
    given = ["node", "--ros-args", "-p", f"camera.mounting:={value}", "[1, 0.5]"]
    assert with_float_lists(given, tmp_path) == [
        "node", "--ros-args", "-p", f"camera.mounting:={becomes}", "[1, 0.5]",
    ]  # fmt: skip


def test_a_params_file_with_such_a_list_is_copied_and_no_other(tmp_path: Path) -> None:
    mixed, plain = tmp_path / "mixed.yaml", tmp_path / "plain.yaml"
    text = "# ü\n/**:\n  ros__parameters:\n    a: {mounting: [1.5, 0]}\n    b: yes # 1, 0.5\n"
    mixed.write_text(text, encoding="utf-8")
    plain.write_text("/**: {ros__parameters: {a: [1, 2]}}\n", encoding="utf-8")
    given = [part for path in (mixed, plain, "/none") for part in ("--params-file", str(path))]
    folder = tmp_path / "copies"
    folder.mkdir()
    changed = with_float_lists(given, folder)
    assert changed[2:] == given[2:]
    assert Path(changed[1]).read_text(encoding="utf-8") == text.replace("[1.5, 0]", "[1.5, 0.0]")
    assert [*folder.iterdir()] == [Path(changed[1])]
