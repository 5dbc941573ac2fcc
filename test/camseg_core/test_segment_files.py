# SPDX-License-Identifier: Apache-2.0
"""Files in, result files out."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from camseg_core.errors import CamsegError
from camseg_core.images.drawing import overlay_image
from camseg_core.images.reading import read_image
from camseg_core.labels import CITYSCAPES
from camseg_core.segment_files import Summary, segment_files
from camseg_core.segmenter import STAGES, SamplingOptions, Segmenter

Writer = Callable[..., Path]
ONE_STEP = SamplingOptions(steps=1)
KINDS = ("ids", "color", "overlay", "confidence")
Image = np.ndarray[Any, np.dtype[np.uint8]]


def results_of(*stems: str) -> list[str]:
    return sorted(f"{stem}_{kind}.png" for stem in stems for kind in KINDS)


def files_below(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def stored(path: Path) -> Image:
    """Read a file as it is, colours as RGB."""
    content = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert content is not None
    return np.asarray(content if content.ndim == 2 else content[..., ::-1])


@pytest.mark.parametrize("size", [(33, 97), (375, 1242), (1, 1)])
def test_four_files_are_written_at_the_size_of_the_image(
    tmp_path: Path, tiny_segmenter: Segmenter, write_image: Writer, size: tuple[int, int]
) -> None:
    path = write_image(tmp_path / "in" / "a.1.png", *size)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.1_ids.png").write_bytes(b"old")
    summary = segment_files(tiny_segmenter, path, tmp_path / "out", ONE_STEP)
    assert (summary.frames, summary.failures) == (1, [])
    assert files_below(tmp_path / "out") == results_of("a.1")
    image = read_image(path)
    expected = tiny_segmenter.segment(image, ONE_STEP)
    found = [stored(tmp_path / "out" / f"a.1_{kind}.png") for kind in KINDS]
    assert {content.dtype for content in found} == {np.dtype(np.uint8)}
    for content, wanted in zip(
        found,
        [
            expected.class_ids,
            CITYSCAPES.color_image(expected.class_ids),
            overlay_image(image, expected.class_ids, CITYSCAPES),
            expected.confidence,
        ],
        strict=True,
    ):
        np.testing.assert_array_equal(content, wanted)
    assert tuple(summary.stage_seconds) == STAGES
    assert all(seconds > 0.0 for seconds in summary.stage_seconds.values())


def test_a_folder_keeps_its_subfolders(
    tmp_path: Path, tiny_segmenter: Segmenter, write_image: Writer
) -> None:
    for name in ("a.png", "city/one/b.jpg", "city/two/b.jpg"):
        write_image(tmp_path / "in" / name)
    summary = segment_files(tiny_segmenter, tmp_path / "in", tmp_path / "out", ONE_STEP)
    assert (summary.frames, summary.failures) == (3, [])
    assert files_below(tmp_path / "out") == results_of("a", "city/one/b", "city/two/b")


def test_one_bad_picture_does_not_stop_the_others(
    tmp_path: Path, tiny_segmenter: Segmenter, write_image: Writer
) -> None:
    for name in ("a.png", "c.png"):
        write_image(tmp_path / "in" / name)
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    (tmp_path / "in" / "d.jpg").touch()
    (tmp_path / "in" / "e\udcff\n.png").touch()
    summary = segment_files(tiny_segmenter, tmp_path / "in", tmp_path / "out", ONE_STEP)
    assert summary.frames == 2
    assert len(summary.failures) == 3
    for name, failure in zip(("b.png", "d.jpg", r"e\udcff\n.png"), summary.failures, strict=True):
        assert failure.startswith(f"{tmp_path / 'in' / name} is not an image: ")
        assert "\n" not in failure
    assert files_below(tmp_path / "out") == results_of("a", "c")


def test_a_video_gives_numbered_frames(
    tmp_path: Path, tiny_segmenter: Segmenter, write_video: Writer
) -> None:
    path = write_video(tmp_path / "drive.mp4", frames=3, height=34, width=50)
    summary = segment_files(tiny_segmenter, path, tmp_path / "out", ONE_STEP)
    assert (summary.frames, summary.failures) == (3, [])
    assert files_below(tmp_path / "out") == results_of(*(f"drive_{i:06d}" for i in range(3)))
    ids = cv2.imread(str(tmp_path / "out" / "drive_000002_ids.png"), cv2.IMREAD_UNCHANGED)
    assert ids.shape == (34, 50)


def test_a_truncated_video_keeps_the_frames_before_its_end(
    tmp_path: Path, tiny_segmenter: Segmenter, write_video: Writer
) -> None:
    path = write_video(tmp_path / "drive.avi", frames=6, noise=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    summary = segment_files(tiny_segmenter, path, tmp_path / "out", ONE_STEP)
    assert 0 < summary.frames < 6
    assert summary.failures == [
        f"{path} ends after {summary.frames} of 6 frames: truncated or damaged"
    ]
    expected = results_of(*(f"drive_{index:06d}" for index in range(summary.frames)))
    assert files_below(tmp_path / "out") == expected


def test_frames_of_a_video_have_the_same_noise(
    tmp_path: Path, tiny_segmenter: Segmenter, write_video: Writer
) -> None:
    path = write_video(tmp_path / "still.avi", frames=1)
    still = cv2.VideoCapture(str(path)).read()[1]
    writer = cv2.VideoWriter(
        str(tmp_path / "twice.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (48, 32)
    )
    for _ in range(2):
        writer.write(still)
    writer.release()
    segment_files(
        tiny_segmenter, tmp_path / "twice.avi", tmp_path / "out", SamplingOptions(steps=4)
    )
    for kind in KINDS:
        first, second = (tmp_path / "out" / f"twice_00000{i}_{kind}.png" for i in range(2))
        assert first.read_bytes() == second.read_bytes()


def test_a_result_that_cannot_be_written_ends_the_run(
    tmp_path: Path, tiny_segmenter: Segmenter, write_image: Writer
) -> None:
    write_image(tmp_path / "a.png")
    out = tmp_path / "regular"
    out.touch()
    with pytest.raises(CamsegError, match=f"^cannot write {re.escape(str(out / 'a_ids.png'))}: "):
        segment_files(tiny_segmenter, tmp_path / "a.png", out, ONE_STEP)


def test_progress_is_shown_on_a_terminal(
    tmp_path: Path,
    tiny_segmenter: Segmenter,
    write_image: Writer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for index in range(3):
        write_image(tmp_path / "in" / f"{index}.png")
    segment_files(tiny_segmenter, tmp_path / "in", tmp_path / "out", ONE_STEP)
    assert "segment: " in terminal.getvalue()
    assert re.search(r"100%.*3/3 .*frame", terminal.getvalue())


def test_the_summary_is_a_mean_per_frame() -> None:
    summary = Summary(frames=4, stage_seconds=dict.fromkeys(STAGES, 0.2))
    lines = list(summary.lines())
    assert lines[0].split() == ["stage", "ms", "per", "frame"]
    assert [line.split() for line in lines[1:7]] == [[stage, "50.0"] for stage in STAGES]
    assert lines[7].split() == ["all", "300.0"]
    assert re.fullmatch(r"frames: 4, peak memory: \d+\.\d\d GiB", lines[8])
    assert len(lines) == 9
    assert list(Summary(failures=["bad"]).lines()) == []
