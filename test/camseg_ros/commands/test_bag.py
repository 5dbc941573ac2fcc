# SPDX-License-Identifier: Apache-2.0
"""The command as a user types it; figures and texts of its output."""

import json
import subprocess
import sys
import time
from pathlib import Path

import dataset_trees as trees
import made_bags as bags
import pytest

from camseg_core.cli import main


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_make_and_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.kitti_step(tmp_path / "kitti", 3)
    out = tmp_path / "bags"
    assert run("bag", "make", "--dataset", "kitti-step", "--root", root, "--out", out) == 0
    assert capsys.readouterr().out.splitlines() == [f"{out}/0002", f"{out}/0018"]
    assert run("bag", "info", out / "0002") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{out}/0002", "  0.200 s, from 1000000000 to 1200000000 ns"]
    assert "  camera camera_color_left: 3 images 40 x 6 rgb8, 3 with ground truth" in lines
    assert lines[-1] == ("    classes cityscapes, dataset kitti-step, split val, sequence 0002")
    assert run("bag", "info", "--json", out / "0018") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["cameras"]["camera_color_left"]["truth"] == 3
    assert content["damage"] is None


def test_make_of_files_and_of_the_synthetic_drive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.write_image(tmp_path / "pictures" / "a.png")
    trees.write_image(tmp_path / "pictures" / "b.png")
    out = tmp_path / "bags"
    assert run("bag", "make", "--root", tmp_path / "pictures", "--out", out, "--frames", 1) == 0
    made = ["--dataset", "synthetic", "--frames", 2, "--size", "64x32", "--condition", "night"]
    assert run("bag", "make", *made, "--out", out, "--storage", "sqlite3") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out}/pictures", f"{out}/synthetic_night_9000",
    ]  # fmt: skip
    assert run("bag", "info", out / "pictures", out / "synthetic_night_9000") == 0
    text = capsys.readouterr().out
    assert "1 images 40 x 6 rgb8, no ground truth" in text
    assert "2 images 64 x 32 rgb8, 2 with ground truth" in text


def test_info_of_a_damaged_bag_tells_by_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = bags.write_bag(tmp_path / "drive")
    cut = bags.cut_copy(bag, tmp_path / "cut", 9000, metadata=True)
    assert run("bag", "info", cut, tmp_path / "absent", bag) == 2
    found = capsys.readouterr()
    assert "damaged: drive.mcap is cut off or torn" in found.out
    assert "lost: 4 frames, the last 0.400 s" in found.out
    assert found.err == f"camseg: no such bag: {tmp_path}/absent\n"
    assert found.out.rstrip().endswith("6 images 32 x 24 rgb8, 6 with ground truth")


def test_what_is_terminated_leaves_nothing(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "camseg_core.cli", "bag", "make", "--dataset", "synthetic",
        "--frames", "100000", "--size", "64x32", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    program = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".*/*/*.mcap")):
        assert program.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    program.terminate()
    program.communicate(timeout=60)
    assert program.returncode == 143
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([], "--root is needed: what is to be made a bag of, or --dataset synthetic"),
        (["--root", "absent"], "no such file or folder: absent"),
        (["--root", ".", "--dataset", "kity"], "unknown data set 'kity'; "),
        (["--dataset", "synthetic", "--condition", "hail"], "--condition hail: one of clear, fog"),
        (["--dataset", "synthetic", "--frames", "0"], "--frames is 0; at least 1 is needed"),
        (["--dataset", "synthetic", "--rate", "0"], "the rate is 0.0; 0.001 to 1000"),
        (["--root", ".", "--frames", "0"], "--frames is 0; at least 1 is needed"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], rule: str
) -> None:
    assert run("bag", "make", "--out", tmp_path / "bags", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"camseg: {rule}")
    assert error.count("\n") == 1
    assert not (tmp_path / "bags").exists()
