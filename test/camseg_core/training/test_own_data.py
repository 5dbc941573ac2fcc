# SPDX-License-Identifier: Apache-2.0
"""Settings chosen for one's own data, and `camseg train`, which runs them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from camseg_core.cli import main
from camseg_core.errors import CamsegError
from camseg_core.images.drawing import encode_png
from camseg_core.system.devices import computes_bfloat16
from camseg_core.training.own_data import OwnData, plan_training
from camseg_core.weights.loading import load_model, random_model, save_model

CLASSES = "name: two\nnames: [road, thing]\npalette: [[1, 1, 1], [2, 2, 2]]\n"


@pytest.fixture
def own(tmp_path: Path) -> OwnData:
    """Four pictures of 64 x 32 in train, two in val, of two classes; tiny weights."""
    rng = np.random.default_rng(0)
    for index in range(6):
        for kind, picture in (
            ("images", rng.integers(0, 256, (32, 64, 3), np.uint8)),
            ("labels", rng.integers(0, 2, (32, 64), np.uint8)),
        ):
            path = tmp_path / "data" / kind / ("val" if index > 3 else "train") / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(picture))
    (tmp_path / "classes.yaml").write_text(CLASSES)
    save_model(random_model("tiny"), tmp_path / "tiny.safetensors")
    return OwnData(
        root=tmp_path / "data",
        label_set=str(tmp_path / "classes.yaml"),
        weights=str(tmp_path / "tiny.safetensors"),
        steps=20,
    )


def train(own: OwnData, out: Path, *more: str) -> int:
    return main(
        [
            "train", "--root", str(own.root), "--label-set", own.label_set, "--weights",
            own.weights, "--steps", "4", "--out", str(out), "--set", "batch_size=2", *more,
        ]
    )  # fmt: skip


def test_other_classes_are_learned_from_masks_first(own: OwnData) -> None:
    first, last = plan_training(own).stages
    assert (first.name, first.init_from, first.config.stage) == ("classes", "", "autoencoder")
    assert (first.config.replace_classes, first.config.steps) == (True, 5)
    assert (last.name, last.init_from, last.config.stage) == ("weights", "classes", "finetune")
    assert (last.config.steps, last.config.optimizer.warmup_steps) == (20, 2)
    assert (last.config.data.split, last.config.data.validation_split) == ("train", "val")


def test_the_weights_own_classes_need_one_stage_and_the_settings_are_said(own: OwnData) -> None:
    shutil.rmtree(own.root / "images" / "val")
    plan = plan_training(replace(own, label_set="cityscapes-train-ids"))
    (stage,) = plan.stages
    assert (stage.name, stage.init_from, stage.config.init_from) == ("weights", "", own.weights)
    precision = "bfloat16" if computes_bfloat16("cpu") else "float32"
    assert stage.config.precision == precision
    assert stage.config.data.augmentation.crop_size == (32, 32)
    assert plan.notes[0].startswith("4 images of train, 19 classes of cityscapes; model input ")
    assert plan.notes[1].startswith(f"20 steps of 8 crops of 32x32, {precision}")
    assert plan.notes[2].startswith("no split val to score on")


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [((360, 480), (48, 32)), ((720, 1280), (64, 32)), ((16, 42), (48, 16)), ((300, 20), (16, 176))],
)
def test_the_model_input_has_the_shape_of_the_pictures(
    own: OwnData, pictures: tuple[int, int], expected: tuple[int, int]
) -> None:
    """Tiny weights read 64 x 32 pixels."""
    first = own.root / "images" / "train" / "0.png"
    first.write_bytes(encode_png(np.zeros((*pictures, 3), np.uint8)))
    label = own.root / "labels" / "train" / "0.png"
    label.write_bytes(encode_png(np.zeros(pictures, np.uint8)))
    config = plan_training(own).stages[0].config
    assert (config.input_width, config.input_height) == expected
    asked = plan_training(replace(own, size=(96, 64))).stages[1].config
    assert (asked.input_width, asked.input_height) == (96, 64)


def test_it_trains_goes_on_and_says_how_it_gets_on(
    own: OwnData, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert train(own, out, "--minutes", "1e-9") == 0  # a step
    assert "stopped in time; the same command goes on" in capfd.readouterr().out
    assert not (out / "weights.safetensors").exists()
    assert train(own, out) == 0
    said = capfd.readouterr()
    assert said.out.splitlines()[-1] == str(out / "weights.safetensors")
    assert "mIoU " in said.out.splitlines()[-2]
    assert "finetune:  25%" in said.err
    assert "1/4 [" in said.err
    assert "loss " in said.err
    loaded = load_model(out / "weights.safetensors")
    assert loaded.label_set.names == ("road", "thing")
    stages = [stage["stage"] for stage in loaded.provenance["stages"]]
    assert stages == ["autoencoder", "finetune"]
    # Nothing is left to do, and other settings need another folder.
    assert train(own, out) == 0
    assert train(own, out, "seed=5") == 2
    assert "was begun with seed 0, now it is 5; give another folder" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "foldr"}, "--dataset .foldr.: did you mean .folder."),
        ({"label_set": ""}, "data set folder has no classes of its own: give a label set"),
        ({"split": "trian"}, "has no split 'trian'; did you mean 'train'"),
        ({"settings": ("stepps=3",)}, "stepps is not known"),
        ({"weights": "absent"}, "no such weights: absent"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(
    own: OwnData, changes: dict[str, object], message: str
) -> None:
    changed = replace(own, **changes)  # type: ignore[arg-type]  # of the test's own
    with pytest.raises(CamsegError, match=message):
        plan_training(changed)
