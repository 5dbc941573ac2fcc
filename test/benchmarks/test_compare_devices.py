# SPDX-License-Identifier: Apache-2.0
"""The script that compares a device with the CPU; here, the CPU with itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "compare_devices.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


def test_the_same_device_agrees_in_float32_and_nearly_in_bfloat16(tmp_path: Path) -> None:
    done = run("--device", "cpu", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "devices.json").read_text())
    assert numbers["equal"]["float32"] == 1.0
    assert numbers["difference"]["float32"] == 0.0
    assert 0.97 < numbers["equal"]["bfloat16"] < 1.0
    assert "| float32 | 100.000 % |" in done.stdout


def test_a_device_that_is_not_there_is_one_line() -> None:
    done = run("--device", "cuda")
    assert done.returncode == 2
    assert done.stderr.startswith("compare_devices: device 'cuda' was asked for")
    assert done.stderr.count("\n") == 1
