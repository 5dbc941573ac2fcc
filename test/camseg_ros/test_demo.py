# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from camseg_core.errors import CamsegError
from camseg_ros import demo
from camseg_ros.replay.live_frames import CameraReplay, Received

VALUES = {"frames_in": "3", "frames_out": "2", "frames_dropped": "1", "frames_refused": "0"}


def picture(value: int, channels: int = 3) -> np.ndarray:
    shape = (8, 16, 3) if channels == 3 else (8, 16)
    return np.full(shape, value, np.uint8)


def result(*stamps: int) -> CameraReplay:
    received = {
        stamp: Received(
            {"mask": picture(1, 1), "confidence": picture(9, 1), "overlay": picture(stamp)},
            latency_ns=stamp * 1_000_000,
        )
        for stamp in stamps
    }
    return CameraReplay([10, 20, 30, 40], list(stamps), received, VALUES)


def test_the_line_counts_and_gives_percentiles() -> None:
    assert demo.summary_line(result(10, 30)) == (
        "frames in 3 (played 4, lost or replaced in DDS 1), frames out 2 (lost in DDS 0), "
        "dropped 1, refused 0, stamps matched 2, latency p50 20 ms, p95 29 ms"
    )


def test_the_sheet_has_frame_overlay_and_confidence_side_by_side() -> None:
    frames = [picture(value) for value in (50, 60, 70, 80)]
    sheet = demo.contact_sheet(frames, result(10, 30))
    assert sheet.shape == (demo.SHEET_FRAMES * 240, 3 * 480, 3)
    assert [int(sheet[0, column, 0]) for column in (0, 480, 960)] == [50, 10, 9]
    assert [int(sheet[-1, column, 0]) for column in (0, 480, 960)] == [70, 30, 9]


def test_no_sheet_without_a_whole_result() -> None:
    lost = result(10)
    del lost.received[10].pictures["confidence"]
    with pytest.raises(CamsegError, match="no frame came back with overlay and confidence"):
        demo.contact_sheet([picture(0)] * 4, lost)


def test_the_mark_is_on_the_picture_and_not_on_the_original() -> None:
    plain = np.zeros((200, 400, 3), np.uint8)
    marked = demo.stamp_random(plain)
    assert (marked != plain).any()
    assert not plain.any()


def test_the_video_has_every_picture(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    demo.write_video(path, [picture(value) for value in (10, 120, 230)], rate_hz=5.0)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == 5.0
    values = [int(capture.read()[1].mean()) for _ in range(3)]
    assert values == pytest.approx([10, 120, 230], abs=8)
    assert not capture.read()[0]


def test_drawn_frames_move() -> None:
    first, second = demo.drawn_frames(2)
    assert first.shape == (540, 960, 3)
    assert (first != second).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "--rate is 0.0; above 0"),
        (["--rate", "nan"], "--rate is nan; above 0"),
        (["--frames", "0"], "--frames is 0; at least 1"),
        (["--clip", "/nowhere.mp4"], "no such file or folder: /nowhere.mp4"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"camseg-demo: {message}")


def test_a_whole_run_leaves_a_sheet_a_video_and_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--weights", "random:tiny", "--steps", "1", "--frames", "10", "--rate", "5"]
    assert demo.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "the weights are RANDOM" in said
    assert "refused 0, stamps matched" in said
    assert cv2.imread(str(tmp_path / "out" / "contact_sheet.png")) is not None
    assert cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4")).read()[0]
