# SPDX-License-Identifier: Apache-2.0
"""Training runs by the command, in this process or two, and what they left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from camseg_core.training.__main__ import main
from camseg_core.training.train_state import last_checkpoint, load_state


def write_settings(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def train(folder: Path, content: dict[str, Any]) -> Path:
    """Run the command in this process; gives the run's folder."""
    before = set(Path(content["output_dir"]).glob("*"))
    assert main(["--config", str(write_settings(folder, content))]) == 0
    (run,) = set(Path(content["output_dir"]).glob("*")) - before
    return run


def torchrun(*arguments: str | Path) -> str:
    """Run a script, or a module after ``-m``, in two processes; return what they printed."""
    launcher = ("torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d")
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "--rdzv-endpoint", "localhost:0", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def train_with_two_processes(folder: Path, content: dict[str, Any]) -> Path:
    """Run the command under torchrun; gives the run's folder."""
    torchrun("-m", "camseg_core.training", "--config", write_settings(folder, content))
    (run,) = Path(content["output_dir"]).iterdir()
    return run


def tensors_of(run: Path) -> dict[str, Tensor]:
    folder = last_checkpoint(run)
    assert folder is not None
    return load_state(folder).tensors


def log_of(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = (run / "log.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


def assert_equal_tensors(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert set(one) == set(two)
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name
