# SPDX-License-Identifier: Apache-2.0
"""Offline replay as a user types it: data set -> bags -> replay -> report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dataset_trees as trees
import made_bags as bags
import numpy as np
import pytest

from camseg_core.cli import main
from camseg_core.data.datasets import open_dataset
from camseg_core.diffusion.options import find_profile
from camseg_core.evaluation.metrics.confusion import confusion_counts, sum_confusions
from camseg_core.evaluation.metrics.flicker import FlickerCounts, flicker_counts
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.evaluation.records import iterate_records
from camseg_core.labels import CAMVID
from camseg_core.segmenter import Segmenter
from camseg_core.synthetic.write import write_drive
from camseg_core.weights.loading import load_model
from camseg_ros.bag.reader import open_bag
from camseg_ros.messages.images import array_from_image_message, stamp_ns
from camseg_ros.replay.results.folder import prepare_folder

SIZE = (128, 64)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def kitti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A KITTI-STEP tree with the official names: two sequences of three frames."""
    root = tmp_path_factory.mktemp("kitti")
    write_drive(root, 6, 9100, size=SIZE, layout="kitti-step", split="val", frames_per_sequence=3)
    return root


@pytest.fixture(scope="module")
def kitti_bags(kitti: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("bags")
    assert run("bag", "make", "--dataset", "kitti-step", "--root", kitti, "--out", out) == 0
    return sorted(out.iterdir())


def test_kitti_step_from_the_tree_to_the_report(
    kitti: Path, kitti_bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, gates = tmp_path / "out", tmp_path / "gates.yaml"
    gates.write_text("mean_iou: {min: 0.01}\nflicker: {max: 1}\ndrop_rate: {max: 1}\n")
    assert run("replay", *kitti_bags, "--out", out, "--write-bag", "--gates", gates) == 1
    said = capsys.readouterr()
    assert "gate drop_rate FAILED: synthetic val, clear: it was not measured" in said.err
    printed = said.out.splitlines()
    assert printed[0] == "2 bags, 6 frames"
    assert "gate mean_iou passed: synthetic val, clear: it is 0." in said.out
    assert printed[-1] == f"{out}/replay.html"

    # The same by hand, from the tree itself.
    segmenter = Segmenter(load_model("demo"))
    dataset = open_dataset("kitti-step", kitti, "val")
    samples = [dataset.read(index) for index in range(len(dataset))]
    options = find_profile(segmenter.loaded.profiles, "balanced")
    masks = [segmenter.segment(sample.image, options).class_ids for sample in samples]
    counts = [confusion_counts(s.class_ids, m, 19) for s, m in zip(samples, masks, strict=True)]
    expected = official_scores(sum_confusions(counts, 19))
    flicker = sum(
        (
            flicker_counts(samples[i].class_ids, samples[i + 1].class_ids, masks[i], masks[i + 1])
            for i in (0, 1, 3, 4)
        ),
        FlickerCounts(),
    )
    content = json.loads((out / "replay.json").read_bytes())
    (accuracy,) = content["accuracy"]
    whole = accuracy["rows"][0]
    assert (accuracy["dataset"], whole["frames"]) == ("synthetic val, clear", 6)
    assert whole["mean_iou"] == pytest.approx(expected.mean_iou, abs=1e-12)
    assert whole["pixel_accuracy"] == pytest.approx(expected.pixel_accuracy, abs=1e-12)
    assert whole["flicker"] == pytest.approx(flicker.share)
    assert [row["sequence"] for row in accuracy["rows"][1:]] == ["0002", "0006"]
    second = official_scores(sum_confusions(counts[3:], 19))
    assert accuracy["rows"][2]["mean_iou"] == pytest.approx(second.mean_iou, abs=1e-12)

    with open_bag(out / "bags" / "0006") as bag:
        written = [m.decode() for m in bag.messages(["/segment_node/camera_color_left/mask"])]
        labels = [m.decode() for m in bag.messages(["/segment_node/labels"])]
    assert [stamp_ns(m.header) for m in written] == [10**9, 11 * 10**8, 12 * 10**8]
    for message, mask in zip(written, masks[3:], strict=True):
        assert np.array_equal(array_from_image_message(message), mask)
    assert json.loads(labels[0].data)["classes"][0]["name"] == "road"

    page = (out / "replay.html").read_text()
    assert f"{100 * expected.mean_iou:.2f}" in page
    for text in ("Offline replay", "synthetic val, clear", "0002", "0006", "Worst frames", "<svg"):
        assert text in page
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)


def test_twice_and_by_two_processes_the_same_bytes(kitti_bags: list[Path], tmp_path: Path) -> None:
    arguments = [*map(str, kitti_bags), "--write-bag", "--weights", "random:tiny"]
    prepare_folder(tmp_path / "again")
    (tmp_path / "again" / "junit.xml").write_text("of an earlier replay")
    for name in ("one", "again"):
        assert run("replay", *arguments, "--out", tmp_path / name) == 0
    assert files(tmp_path / "one") == files(tmp_path / "again")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "camseg_core.cli", "replay", *arguments, "--out", str(tmp_path / "two"),
        ],
        check=True,
        env=environment,
        capture_output=True,
        timeout=150,
    )  # fmt: skip
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_acdc_conditions_from_the_tree_to_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for condition, seed in (("fog", 9101), ("night", 9102), ("clear", 9103)):
        write_drive(
            tmp_path / "acdc", 2, seed, size=SIZE, layout="acdc", split="val", condition=condition
        )
    made = ["--dataset", "acdc", "--root", tmp_path / "acdc", "--part", "both"]
    assert run("bag", "make", *made, "--out", tmp_path / "bags") == 0
    made_bags = sorted((tmp_path / "bags").iterdir())
    assert len(made_bags) == 3
    assert run("replay", *made_bags, "--out", tmp_path / "out") == 0
    content = json.loads((tmp_path / "out" / "replay.json").read_bytes())
    found = {
        accuracy["part"]: [(row["condition"], row["frames"]) for row in accuracy["rows"][:3]]
        for accuracy in content["accuracy"]
    }
    # Reference images never enter an adverse score.
    assert found["adverse"] == [(None, 4), ("fog", 2), ("night", 2)]
    assert found["reference"] == [(None, 2)]
    assert "synthetic val adverse" in capsys.readouterr().out


def test_evaluate_and_replay_give_the_same_records(kitti_bags: list[Path], tmp_path: Path) -> None:
    how = ["--weights", "random:tiny", "--out"]
    assert run("evaluate", "--dataset", "bag", "--root", kitti_bags[0], *how, tmp_path / "a") == 0
    assert run("replay", kitti_bags[0], *how, tmp_path / "b") == 0
    evaluated, replayed = (
        list(iterate_records(sorted((tmp_path / name).glob("*/records*")))) for name in "ab"
    )
    assert len(evaluated) == 3
    assert evaluated == replayed


def test_of_a_cut_bag_the_prefix_is_scored_and_the_status_says_so(
    kitti: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["--dataset", "kitti-step", "--root", kitti, "--compression", "none"]
    assert run("bag", "make", *made, "--out", tmp_path / "bags") == 0
    bag = tmp_path / "bags" / "0002"
    size = int(bags.storage_file(bag).stat().st_size * 0.7)
    cut = bags.cut_copy(bag, tmp_path / "0002", size, metadata=True)
    assert run("replay", bag, "--out", tmp_path / "whole") == 0
    assert run("replay", cut, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "damaged: 0002.mcap is cut off or torn" in error
    results: dict[str, Any] = {
        name: json.loads((tmp_path / name / "drives" / "0002.json").read_bytes())
        for name in ("whole", "out")
    }
    frames = results["out"]["frames"]
    assert 0 < len(frames) < 3
    assert f"lost: {3 - len(frames)} frames" in results["out"]["loss"]
    for frame, expected in zip(frames, results["whole"]["frames"], strict=False):
        if frame["mean_iou"] is not None:
            assert frame == expected
    assert "damaged" in (tmp_path / "out" / "replay.html").read_text()


def test_a_bag_without_truth_has_a_report_without_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    write_drive(tmp_path / "drive", 2, 9104, size=SIZE, split="val")
    (image, *_) = sorted((tmp_path / "drive" / "leftImg8bit").rglob("*.png"))
    pictures.mkdir()
    for index in range(3):
        (pictures / f"{index}.png").write_bytes(image.read_bytes())
    assert run("bag", "make", "--root", pictures, "--out", tmp_path / "bags") == 0
    bag = tmp_path / "bags" / "pictures"
    assert run("replay", bag, "--out", tmp_path / "out", "--frames", 2) == 0
    found = capsys.readouterr()
    assert "pictures has no ground truth: nothing of it is scored." in found.err
    content = json.loads((tmp_path / "out" / "drives" / "pictures.json").read_bytes())
    assert [frame["changed"] for frame in content["frames"]] == [None, 0.0]
    assert json.loads((tmp_path / "out" / "replay.json").read_bytes())["accuracy"] == []
    assert "mean confidence" in (tmp_path / "out" / "replay.html").read_text()
    (tmp_path / "g.yaml").write_text("mean_iou: {min: 0.1}")
    assert run("replay", bag, "--out", tmp_path / "out", "--gates", tmp_path / "g.yaml") == 1
    assert capsys.readouterr().err.endswith(
        "gate mean_iou FAILED: bags without truth: it was not measured, at least 0.1 is asked for\n"
    )
    assert 'failures="1"' in (tmp_path / "out" / "junit.xml").read_text()
    assert "bags without truth" in (tmp_path / "out" / "replay.html").read_text()


def test_merged_classes_are_scored_as_the_bags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["--dataset", "camvid", "--root", trees.camvid(tmp_path / "camvid", ["val"])]
    assert run("bag", "make", *made, "--out", tmp_path / "bags") == 0
    made_bags = sorted((tmp_path / "bags").iterdir())
    weights = ["--weights", "random:tiny", "--out", tmp_path / "out"]
    assert run("replay", *made_bags, *weights) == 2
    assert "--merge scores the weights on them" in capsys.readouterr().err
    (tmp_path / "g.yaml").write_text("class_iou: {pavement: {min: 0.0}}\n")
    merged = [*weights, "--merge", "cityscapes-to-camvid", "--gates", tmp_path / "g.yaml"]
    assert run("replay", *made_bags, *merged) == 0
    (accuracy,) = json.loads((tmp_path / "out" / "replay.json").read_bytes())["accuracy"]
    assert accuracy["dataset"] == "camvid val (cityscapes-to-camvid)"
    assert [*accuracy["class_iou"]] == [*CAMVID.names]
    assert "pavement" in (tmp_path / "out" / "replay.html").read_text()
    assert run("replay", made_bags[0], *merged, "--mode", "live") == 2
    assert "--frames and --merge are for --mode offline" in capsys.readouterr().err
