# SPDX-License-Identifier: Apache-2.0
"""The comparison of bottlenecks runs, goes on where it stopped, and scores what was trained."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dataset_trees
import pytest

from camseg_core.data.datasets import open_dataset
from camseg_core.models.presets import PRESETS
from camseg_core.training.validation import count_codes, score_model
from camseg_core.weights.loading import load_model

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bottlenecks.py"

Main = Callable[[list[str]], int]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset_trees.cityscapes(tmp_path_factory.mktemp("drive"), size=(32, 64))


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Main:
    tiny = PRESETS["tiny"]
    autoencoder = replace(tiny.autoencoder, bottleneck="vq", codebook_size=20)
    quantizing = replace(tiny, name="tiny-vq", autoencoder=autoencoder)
    monkeypatch.setitem(PRESETS, "tiny-vq", quantizing)
    found: Main = runpy.run_path(str(SCRIPT))["main"]
    return found


def arguments(drive: Path, out: Path, *more: str) -> list[str]:
    given = [str(drive), "--out", str(out), "--presets", "tiny", "tiny-vq", "--steps", "3"]
    return [
        *given,
        "--crop",
        "32",
        "32",
        "--batch-size",
        "2",
        "--threads",
        "1",
        "--images",
        "2",
        *more,
    ]


def results_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "bottlenecks.json").read_text())
    return content


def test_both_are_trained_alike_and_scored(
    main: Main, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = arguments(
        drive, out, "--transformer-steps", "2",
        "--set", "optimizer.warmup_steps=0",
    )  # fmt: skip
    assert main(given) == 0
    content = results_of(out)
    assert content["command"] == f"python benchmarks/bottlenecks.py {' '.join(given)}"
    assert " cores, " in content["machine"]
    names = [f"tiny{kind}-{stage}" for kind in ("", "-vq") for stage in ("autoencoder",
             "transformer")]  # fmt: skip
    assert list(content["seconds"]) == names
    assert all(seconds > 0 for seconds in content["seconds"].values())

    dataset = open_dataset("cityscapes", drive, "val")
    for result, name in zip(content["results"], ("tiny", "tiny-vq"), strict=True):
        assert result["preset"] == name
        for kind, stage in (("reconstruction", "autoencoder"), ("prediction", "transformer")):
            loaded = load_model(out / f"{name}-{stage}.safetensors")
            assert not loaded.is_random
            steps = [entry["step"] for entry in loaded.provenance["stages"]]
            assert steps == ([3] if stage == "autoencoder" else [3, 2])
            expected = score_model(loaded, stage, dataset, 2, "cpu")  # type: ignore[arg-type]  # a name
            assert result[kind]["mean_iou"] == expected["score"]
            assert result[kind]["pixel_accuracy"] == expected["pixel_accuracy"]
            assert len(result[kind]["iou"]) == len(content["classes"]) == 19
    gaussian, quantizing = content["results"]
    assert (gaussian["bottleneck"], quantizing["bottleneck"]) == ("kl", "vq")
    assert "codebook" not in gaussian
    counts = count_codes(load_model(out / "tiny-vq-autoencoder.safetensors"), dataset, 2, "cpu")
    assert quantizing["codebook"]["size"] == 20
    assert quantizing["codebook"]["used"] == int((counts > 0).sum())

    table = (out / "bottlenecks.md").read_text()
    assert capsys.readouterr().out.endswith(table + "\n")
    score = 100 * quantizing["prediction"]["mean_iou"]
    (row,) = [line for line in table.splitlines() if line.startswith("| vq |")]
    assert f" {quantizing['codebook']['used']} of 20 |" in row
    assert f" {score:.1f} |" in row
    assert table.count("\n| road |") == 1

    # The same again trains nothing.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert main(given) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before
    assert results_of(out)["results"] == content["results"]


def test_an_interrupted_comparison_goes_on(
    main: Main, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(arguments(drive, whole)) == 0
    assert main(arguments(drive, cut, "--set", "max_minutes=0.00001")) == 2
    assert "max_minutes ended run tiny-autoencoder; the same command" in capsys.readouterr().err
    assert not (cut / "bottlenecks.json").exists()
    assert main(arguments(drive, cut)) == 0
    for one, two in zip(results_of(whole)["results"], results_of(cut)["results"], strict=True):
        assert one["reconstruction"] == two["reconstruction"]


def test_other_settings_in_the_same_folder_are_refused(
    main: Main, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(drive, tmp_path)) == 0
    assert main(arguments(drive, tmp_path, "--seed", "3")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("bottlenecks: ")
    assert "was begun with seed 0, now it is 3" in error
