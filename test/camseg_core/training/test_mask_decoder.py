# SPDX-License-Identifier: Apache-2.0
"""Published weights get a mask decoder, learned from masks alone; nothing else of them changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camseg_core.cli import main
from camseg_core.data.datasets import open_dataset
from camseg_core.segmenter import SamplingOptions, Segmenter
from camseg_core.weights.loading import LoadedModel, load_model


def test_convert_trains_a_mask_decoder_on_a_drive(
    parity: Path, parity_model: LoadedModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    drive, out = tmp_path / "drive", tmp_path / "folder" / "decoding.safetensors"
    made = ["--frames", "6", "--size", "64x64", "--split", "train"]
    assert main(["synth", "--out", str(drive), *made]) == 0
    options = ["--mask-decoder", str(drive), "--mask-decoder-steps", "60", "--out", str(out)]
    pair = [str(parity / "transformer.pth"), str(parity / "vae.ckpt")]
    assert main(["convert", *pair, *options]) == 0
    assert f"wrote {out}" in capfd.readouterr().out
    assert list(out.parent.iterdir()) == [out]
    loaded = load_model(out)
    assert loaded.provenance["mask_decoder"] == {"steps": 60, "labels": "drive"}
    kept = loaded.model.state_dict()
    for name, tensor in parity_model.model.state_dict().items():
        assert kept[name].equal(tensor), name
    segmenter, dataset = Segmenter(loaded), open_dataset("cityscapes", drive, "train")
    correct = [
        np.mean(segmenter.decode_latent(latent, truth.shape, SamplingOptions()) == truth)
        for truth in (dataset.read(index).ground_truth for index in range(len(dataset)))
        for latent in [segmenter.encode_mask(truth)]
    ]
    assert np.mean(correct) > 0.4  # untrained: 0.05


def test_a_folder_that_is_no_drive_is_one_line(
    parity: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pair = [str(parity / "transformer.pth"), str(parity / "vae.ckpt")]
    out = tmp_path / "decoding.safetensors"
    options = ["--mask-decoder", str(tmp_path / "none"), "--out", str(out)]
    assert main(["convert", *pair, *options]) == 2
    errors = capfd.readouterr().err
    assert errors.startswith("camseg: ")
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
