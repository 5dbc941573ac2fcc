# SPDX-License-Identifier: Apache-2.0
"""The script that compares ways to sample, on a few synthetic frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from camseg_core.synthetic.write import write_drive

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sampling_table.py"


def test_ways_to_sample_are_scored_clean_and_under_noise(tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    write_drive(drive, 2, 9000, (64, 32), split="val", frames_per_sequence=2)
    command = [sys.executable, SCRIPT, "--weights", "random:tiny", "--drives", drive]
    command += ["--threads", "1", "--out", tmp_path / "out"]
    finished = subprocess.run(
        [str(part) for part in command],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == (tmp_path / "out" / "sampling.md").read_text()
    content = json.loads((tmp_path / "out" / "sampling.json").read_text())
    assert list(content["sets"]) == [str(drive), f"{drive}, noise of sigma 100"]
    clean, _ = content["sets"].values()
    one_step = {(row["rounds"], row["samples"]) for row in clean["ways"] if row["steps"] == 1}
    assert one_step == {(1, 1), (2, 1), (4, 1), (1, 8)}
    assert {row["steps"] for row in clean["ways"]} == {1, 2, 4, 8, 16, 100}
    for row in clean["ways"]:
        assert row["images"] == 2
        assert 0.0 <= row["flicker"] <= 1.0
    areas = clean["doubt"]
    assert len(areas) == 6
    (profile,) = (
        row
        for row in clean["ways"]
        if (row["sampler"], row["steps"], row["rounds"], row["samples"]) == ("ddim", 4, 1, 1)
    )  # that of the random weights
    area = profile["risk_coverage_area"]
    assert areas["one pass: 1 - confidence"] == pytest.approx(area, abs=0.005)
