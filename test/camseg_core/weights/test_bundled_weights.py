# SPDX-License-Identifier: Apache-2.0
"""The bundled weights: small, trained, and free of the folders they were made in."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.segmenter import Segmenter
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.weights.camseg_format import bundled_hashes, bundled_path, read_safetensors_header
from camseg_core.weights.loading import LoadedModel, load_model


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def test_every_file_is_listed_and_whole() -> None:
    assert "demo" in bundled_hashes()
    for name in bundled_hashes():
        assert bundled_path(name).stat().st_size <= 40e6
    folder = bundled_path("demo").parent
    assert {path.stem for path in folder.glob("*.safetensors")} == set(bundled_hashes())


def test_they_say_how_they_were_made(demo: LoadedModel) -> None:
    assert not demo.is_random
    description, _ = read_safetensors_header(bundled_path("demo"))
    stages = description["provenance"]["stages"]
    assert [stage["stage"] for stage in stages[:4]] == [
        "autoencoder", "transformer", "transformer", "mask-decoder",
    ]  # fmt: skip
    assert {stage["stage"] for stage in stages[4:]} == {"finetune"}
    assert all(stage["data"]["root"].startswith("output/train-demo/") for stage in stages)
    assert re.findall(r'"(/[^"]*)"', json.dumps(description)) == []  # a folder of some machine


def test_they_segment_a_drive_they_never_saw(demo: LoadedModel) -> None:
    drive = SyntheticDrive(9300, 512, 256, frames_per_sequence=1)
    segmenter = Segmenter(demo)
    frames = [drive.frame(index) for index in range(6)]
    confusion = sum(
        confusion_counts(frame.class_ids, segmenter.segment(frame.image).class_ids, 19)
        for frame in frames
    )
    assert np.trace(confusion) / np.sum(confusion) > 0.85
