# SPDX-License-Identifier: Apache-2.0
"""The script that scores Cityscapes' classes on CamVid."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from camseg_core.labels import CAMVID
from camseg_core.weights.loading import random_model, save_model

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "score_camvid.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that call every pixel a motorcycle."""
    loaded = random_model("tiny")
    decoder = loaded.model.mask_decoder
    assert decoder is not None
    bias = decoder.to_logits.bias
    assert bias is not None
    bias.data.view(-1, 4)[loaded.label_set.names.index("motorcycle")] += 100.0
    path = tmp_path_factory.mktemp("weights") / "constant.safetensors"
    save_model(loaded, path)
    return path


def test_predicted_classes_count_as_those_of_camvid(constant: Path, tmp_path: Path) -> None:
    ids = np.full((32, 64), CAMVID.names.index("bicyclist"), np.uint8)
    ids[:8] = CAMVID.names.index("sky")
    for folder, array in (("val", np.zeros((32, 64, 3), np.uint8)), ("valannot", ids)):
        (tmp_path / folder).mkdir()
        assert cv2.imwrite(str(tmp_path / folder / "0001TP_000000.png"), array)
    finished = run("--weights", constant, "--root", tmp_path, "--threads", 1)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("1 images: mIoU 37.5, pixel accuracy 75.0")
    assert "bicyclist 75" in finished.stdout
