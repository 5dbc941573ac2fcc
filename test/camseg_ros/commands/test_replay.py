# SPDX-License-Identifier: Apache-2.0
"""What the command refuses before anything is replayed."""

from __future__ import annotations

from pathlib import Path

import made_bags as bags
import pytest
from std_msgs.msg import String

from camseg_core.cli import main
from camseg_core.labels import CAMVID, CITYSCAPES
from camseg_ros.bag.about import AboutDrive
from camseg_ros.bag.writer import BagWriter


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bags.write_bag(tmp_path_factory.mktemp("bags") / "0002")


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["replay", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["absent"], "no such bag: absent"),
        (["--threads", 0], "--threads is 0; 1 to 1024 are possible"),
        (["--threads", 100_000], "--threads is 100000; 1 to 1024 are possible"),
        (["--frames", 0], "--frames is 0; at least 1 is needed"),
        (["--image-topic", "/x"], "0002: the bag has no topic /x; its image topics are: /kitti/"),
        (["--gates", "no.yaml"], "cannot read no.yaml"),
        (["--profile", "best"], "best"),
        (["--device", "cuda:7"], "cuda:7"),
        (["--mode", "live", "--rounds", 3], "--rounds is for --mode offline; the node takes prof"),
        (["--mode", "live", "--frames", 3], "--heads, --ema, --frames and --merge are"),
        (["--mode", "live", "--speed", 0], "the speed is 0.0; 0.001 to 1000"),
        (["--speed", 2], "--speed is for --mode live; offline, every frame is taken"),
        (["--start-offset", 0], "--start-offset is for --mode live"),
        (["--set", "steps=3"], "--set steps=3 is for --mode live: it sets a parameter of the node"),
        (["--mode", "live", "--loops", 0], "--loops is 0; 1 or more is needed"),
        (
            ["--mode", "live", "--set", "stepz=3"],
            "segment_node has no parameter stepz; did you mean 'steps'?",
        ),
    ],
)
def test_what_is_refused(
    bag: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    rule: str,
) -> None:
    out = tmp_path / "out"
    assert rule in error_of(capsys, bag, *arguments, "--out", out)
    assert not out.exists()


def test_bags_that_do_not_go_together(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = bags.write_bag(tmp_path / "0002")
    assert "have one name, so that their results would; rename one" in error_of(capsys, bag, other)
    two = error_of(capsys, bag, other, "--mode", "live")
    assert two == "camseg: 2 bags; --mode live plays one\n"


def test_the_classes_of_every_camera_s_truth_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BagWriter(tmp_path / "two") as writer:
        for camera, label_set in (("a", CITYSCAPES), ("b", CAMVID)):
            about = String(data=AboutDrive(label_set).to_json())
            writer.write(f"/{camera}/semantic_gt/about", about, 1, latched=True)
            writer.write(f"/{camera}/image", bags.noise_image(0), 2)
            writer.write(f"/{camera}/semantic_gt/image", bags.truth_image(0), 2)
    error = error_of(capsys, tmp_path / "two", "--out", tmp_path / "out")
    assert "has the 11 classes of 'camvid'" in error
