# SPDX-License-Identifier: Apache-2.0
"""docs/own-data.md: its commands, read out of the page, run on a small folder."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from camseg_core.cli import main
from camseg_core.data.class_merges import find_merge
from camseg_core.data.datasets import open_dataset
from camseg_core.data.label_set_files import find_label_set
from camseg_core.evaluation.records import find_runs
from camseg_core.evaluation.summary import summarize
from camseg_core.images.drawing import encode_png
from camseg_core.labels import CITYSCAPES
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.weights.loading import load_model

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-data.md"
FEW = {"train": ["--steps", "3", "--set", "batch_size=2"]}
"""What is added to a command, so that the test is short."""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight pictures and their labels of the page's classes, and the page's YAML files."""
    monkeypatch.chdir(tmp_path)
    for name, content in zip(("classes.yaml", "origins.yaml"), blocks("yaml"), strict=True):
        Path(name).write_text(content)
    mine = find_label_set("classes.yaml")
    merge = find_merge("origins.yaml").between(CITYSCAPES, mine)
    drive = SyntheticDrive(9000, 128, 96)
    for index in range(8):
        frame = drive.frame(index)
        for kind, picture in (
            ("images", frame.image), ("labels", merge.class_ids(frame.class_ids)),
        ):  # fmt: skip
            path = Path("my_data", kind, "val" if index < 3 else "train", f"{index}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(picture))
    return tmp_path


def test_every_command_of_the_page_works(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    said = {}
    for line in lines:
        program, command, *more = shlex.split(line)
        assert program == "camseg"
        status = main([command, *more, *FEW.get(command, [])])
        said[command] = capfd.readouterr()
        assert status == 0, f"{line}: {said[command].err}"
    assert {"data", "evaluate", "train", "report", "segment", "export", "bag", "replay"} == {*said}

    # What was chosen is said, and from the first step on the loss and the time left.
    assert "5 images of train, 5 classes of mine; model input 128x96" in said["train"].out
    assert re.search(r"3 steps of 2 crops of 64x48, (bfloat16|float32 \()", said["train"].out)
    assert re.search(r"mIoU \d+\.\d on val, 40 images at most", said["train"].out)
    assert said["train"].out.splitlines()[-1] == "my_model/weights.safetensors"
    for stage, steps in (("autoencoder", 1), ("finetune", 3)):
        assert re.search(rf"{stage}: .* 1/{steps} \[.*<.*loss \d", said["train"].err)

    loaded = load_model("my_model/weights.safetensors")
    assert loaded.label_set == find_label_set("classes.yaml")
    runs = {summarize(run).title: summarize(run) for run in find_runs(Path("scores"))}
    assert sorted(runs) == ["folder val", "folder val (mine-from-cityscapes)"]
    assert {run.run.classes.names for run in runs.values()} == {loaded.label_set.names}
    dataset = open_dataset("folder", "my_data", "val", label_set=loaded.label_set)
    assert len(dataset) == len(list(Path("masks").rglob("*overlay*"))) == 3
    assert sorted(path.suffix for path in Path("my_model/onnx").iterdir()) == [
        ".onnx", ".onnx", ".onnx", ".safetensors",
    ]  # fmt: skip
    replayed = json.loads(Path("replay/replay.json").read_text())
    assert replayed["weights"] == "weights.safetensors"
    (camera,) = replayed["live"]["cameras"].values()
    assert camera["frames"] == camera["counts"]["out"] > 0
    assert replayed["live"]["problems"] == []
