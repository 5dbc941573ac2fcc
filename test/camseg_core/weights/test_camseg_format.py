# SPDX-License-Identifier: Apache-2.0
"""What a weights file says about itself, and the bundled weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.labels import CITYSCAPES
from camseg_core.models.presets import PRESETS
from camseg_core.segmenter import Segmenter
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.system.files import sha256_of_file
from camseg_core.weights import camseg_format as weights_file
from camseg_core.weights.camseg_format import bundled_hashes, bundled_path, read_safetensors
from camseg_core.weights.loading import LoadedModel, load_model, random_model, save_model


def test_a_file_says_what_its_tensors_are(tiny_file: Path) -> None:
    description, tensors = read_safetensors(tiny_file)
    assert description.config == PRESETS["tiny"]
    assert description.label_set == CITYSCAPES
    assert description.is_random
    assert description.profiles is None
    expected = random_model("tiny").model.state_dict()
    assert tensors.keys() == expected.keys()
    assert all(tensors[key].equal(tensor) for key, tensor in expected.items())


def written_by_an_earlier_release(loaded: LoadedModel, path: Path, **more: object) -> Path:
    save_model(loaded, path)
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()["camseg"])
    del content["config"]["fine_condition"]
    content["config"]["autoencoder"] |= {"bottleneck": "kl", "codebook_size": 0}
    content["config"] |= more
    save_file(tensors, path, metadata={"camseg": json.dumps(content)})
    return path


def test_converted_weights_of_an_earlier_release_are_read(
    parity_model: LoadedModel, tmp_path: Path
) -> None:
    path = written_by_an_earlier_release(parity_model, tmp_path / "model.safetensors")
    assert load_model(path).config == parity_model.config


def test_small_models_of_an_earlier_release_are_refused(
    parity_model: LoadedModel, tmp_path: Path
) -> None:
    path = written_by_an_earlier_release(
        parity_model, tmp_path / "model.safetensors", image_encoder={"widths": [8, 8, 8, 8]}
    )
    with pytest.raises(CamsegError, match="small model of an earlier release, .* train it anew"):
        load_model(path)


@pytest.fixture
def shipped(tiny_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder with weights called ``small``."""
    monkeypatch.setattr(weights_file, "BUNDLED_FOLDER", tmp_path)
    save_model(tiny_model, tmp_path / "small.safetensors")
    hashes = {"small": sha256_of_file(tmp_path / "small.safetensors")}
    (tmp_path / "sha256.json").write_text(json.dumps(hashes))
    return tmp_path


def test_shipped_weights_are_loaded_by_name(shipped: Path) -> None:
    loaded = load_model("small")
    assert loaded.source == str(shipped / "small.safetensors")
    assert loaded.weights_sha256 == bundled_hashes()["small"]


def test_a_shipped_file_that_changed_or_is_missing_is_named(shipped: Path) -> None:
    path = shipped / "small.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CamsegError, match="is damaged: its sha256 is [0-9a-f]{64}, [0-9a-f]{64} i"):
        load_model("small")
    path.unlink()
    with pytest.raises(CamsegError, match=f"cannot read {re.escape(str(path))}"):
        load_model("small")


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_list_of_shipped_weights_is_one_line(shipped: Path, text: str) -> None:
    (shipped / "sha256.json").write_text(text)
    with pytest.raises(CamsegError, match="sha256.json is damaged .*; install the package again"):
        bundled_hashes()


def test_an_unknown_name_lists_what_ships(shipped: Path) -> None:
    with pytest.raises(CamsegError, match="no such weights: big; give a .* a folder, small, or ra"):
        load_model("big")


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def test_every_bundled_file_is_listed_and_whole() -> None:
    assert "demo" in bundled_hashes()
    for name in bundled_hashes():
        assert bundled_path(name).stat().st_size <= 40e6
    folder = bundled_path("demo").parent
    assert {path.stem for path in folder.glob("*.safetensors")} == set(bundled_hashes())


def test_the_bundled_weights_say_how_they_were_made(demo: LoadedModel) -> None:
    assert not demo.is_random
    assert demo.stated_profiles is not None
    stages = demo.provenance["stages"]
    assert [stage["stage"] for stage in stages] == [
        "autoencoder", "transformer", *["finetune"] * 4,
    ]  # fmt: skip
    assert all(stage["data"]["root"].startswith("output/train-demo/") for stage in stages)
    assert re.findall(r'"(/[^"]*)"', json.dumps(demo.provenance)) == []  # folder of a machine


def test_the_bundled_weights_segment_a_drive_they_never_saw(demo: LoadedModel) -> None:
    drive = SyntheticDrive(9300, 512, 256, frames_per_sequence=1)
    segmenter = Segmenter(demo)
    frames = [drive.frame(index) for index in range(3)]
    confusion = sum(
        confusion_counts(frame.class_ids, segmenter.segment(frame.image).class_ids, 19)
        for frame in frames
    )
    assert np.trace(confusion) / np.sum(confusion) > 0.85
