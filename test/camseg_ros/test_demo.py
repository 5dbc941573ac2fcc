# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from camseg_core.errors import CamsegError
from camseg_core.images.drawing import write_png
from camseg_ros import demo
from camseg_ros.replay.results.folder import prepare_folder


def test_the_drawn_drive_is_held_out_and_has_truth() -> None:
    drive = demo.demo_drive(None, 2)
    first, second = drive.frames()
    assert (drive.name, drive.count) == (f"synthetic_clear_{demo.SYNTHETIC_SEED}", 2)
    assert first.image.shape == (540, 960, 3)
    assert first.class_ids is not None
    assert (first.image != second.image).any()


def test_the_mark_is_on_the_picture_and_not_on_the_original() -> None:
    plain = np.zeros((200, 400, 3), np.uint8)
    marked = demo.stamp_random(plain)
    assert (marked != plain).any()
    assert not plain.any()


def test_the_strip_puts_pictures_below_each_other(tmp_path: Path) -> None:
    paths = []
    for level in (50, 200):
        paths.append(tmp_path / f"{level}.png")
        write_png(paths[-1], np.full((16, 64, 3), level, np.uint8))
    strip = cv2.imread(str(demo.write_strip(paths, tmp_path / "strip.jpg", is_random=False)))
    assert strip.shape == (32, 64, 3)
    assert [int(strip[row].mean().round()) for row in (4, 28)] == pytest.approx([50, 200], abs=2)
    with pytest.raises(CamsegError, match="no frame came back to show"):
        demo.write_strip([], tmp_path / "none.jpg", is_random=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speed", "0"], "the speed is 0.0; 0.001 to 1000"),
        (["--speed", "nan"], "the speed is nan; 0.001 to 1000"),
        (["--frames", "0"], "--frames is 0; at least 1"),
        (["--clip", "/nowhere.mp4"], "no such file or folder: /nowhere.mp4"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"camseg-demo: {message}")
    assert not (tmp_path / "out").exists()


def test_a_whole_run_leaves_a_bag_a_page_and_a_strip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "SYNTHETIC_SIZE", (128, 64))
    out = tmp_path / "out"
    prepare_folder(out / "replay")  # what an earlier demo left is replaced
    (out / "bag" / "old").mkdir(parents=True)
    arguments = ["--weights", "random:tiny", "--steps", "1", "--frames", "6"]
    assert demo.main([*arguments, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "the weights are RANDOM" in said
    # A busy machine may lose frames before the node; that is said, and is no fault of the demo.
    assert re.search(r"refused 0( \(\d+ lost in DDS before it\))?; latency p50 \d+ ms", said)
    assert "frames that came out: mIoU" in said
    assert f"{out}/replay/replay.html" in said
    assert "RANDOM WEIGHTS" in (out / "replay" / "replay.html").read_text()
    assert not (out / "bag" / "old").exists()
    assert (out / "bag" / f"synthetic_clear_{demo.SYNTHETIC_SEED}" / "metadata.yaml").is_file()
    assert cv2.imread(str(out / "strip.jpg")) is not None
