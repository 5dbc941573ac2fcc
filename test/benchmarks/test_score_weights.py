# SPDX-License-Identifier: Apache-2.0
"""The script that scores weights, on a few synthetic frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from camseg_core.synthetic.write import write_drive

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "score_weights.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drives")
    size = (64, 32)
    write_drive(root / "clear", 4, 9000, size, split="val", frames_per_sequence=2)
    for condition in ("fog", "night"):
        write_drive(root / "adverse", 2, 9000, size, condition, "acdc", "val", 2)
    return root


def test_conditions_corruptions_and_classes_are_scored(drives: Path, tmp_path: Path) -> None:
    arguments = ("--clear", drives / "clear", "--adverse", drives / "adverse", "--threads", 1,
                 "--corruption-images", 1, "--out", tmp_path)  # fmt: skip
    finished = run("--weights", "one=random:tiny", "random:tiny", *arguments)
    assert finished.returncode == 0, finished.stderr
    content = json.loads((tmp_path / "scores.json").read_text())
    first, second = content["weights"]
    assert (first["name"], second["name"]) == ("one", "random:tiny")
    assert list(first["conditions"]) == ["clear", "fog", "night"]
    assert [row["images"] for row in first["conditions"].values()] == [4, 2, 2]
    for row in first["conditions"].values():
        assert 0.0 <= row["mean_iou"] <= row["pixel_accuracy"] <= 1.0
    assert len(first["corruptions"]) == 46
    assert len(first["classes"]) == 19
    same = ("mean_iou", "pixel_accuracy", "calibration_error", "risk_coverage_area")
    for condition, row in first["conditions"].items():
        assert {key: row[key] for key in same} == {
            key: second["conditions"][condition][key] for key in same
        }
    text = (tmp_path / "scores.md").read_text()
    assert finished.stdout == text
    assert text.count("| one |") == 3
    assert "| gaussian noise | 5: " in text


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    finished = run("--weights", "random:tiny", "--clear", tmp_path / "x", "--out", tmp_path / "out")
    assert finished.returncode == 2
    assert finished.stderr.startswith("score_weights: ")
    assert finished.stderr.count("\n") == 1
