# SPDX-License-Identifier: Apache-2.0
"""Files in, result files out."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import PIL.Image
import pytest

from camseg_core.errors import CamsegError
from camseg_core.images.drawing import overlay_image
from camseg_core.images.reading import find_sources, read_image
from camseg_core.labels import CITYSCAPES
from camseg_core.segment_files import Summary, segment_files
from camseg_core.segmenter import STAGES, SamplingOptions, Segmentation, Segmenter

Writer = Callable[..., Path]
ONE_STEP = SamplingOptions(steps=1)
KINDS = ("ids", "color", "overlay", "confidence")
Image = np.ndarray[Any, np.dtype[np.uint8]]


KEYS = ["classes.json", "legend.png"]


def results_of(*stems: str) -> list[str]:
    return sorted([*KEYS, *(f"{stem}_{kind}.png" for stem in stems for kind in KINDS)])


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
    summary = segment_files(tiny_segmenter, find_sources(path), tmp_path / "out", ONE_STEP)
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
    assert json.loads((tmp_path / "out/classes.json").read_text())["classes"][13] == {
        "id": 13,
        "name": "car",
        "color": [0, 0, 142],
    }
    assert tuple(summary.stage_seconds) == STAGES
    assert all(seconds > 0.0 for seconds in summary.stage_seconds.values())


def test_a_folder_keeps_its_subfolders(
    tmp_path: Path, tiny_segmenter: Segmenter, write_image: Writer
) -> None:
    for name in ("a.png", "city/one/b.jpg", "city/two/b.jpg"):
        write_image(tmp_path / "in" / name)
    summary = segment_files(
        tiny_segmenter, find_sources(tmp_path / "in"), tmp_path / "out", ONE_STEP
    )
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
    summary = segment_files(
        tiny_segmenter, find_sources(tmp_path / "in"), tmp_path / "out", ONE_STEP
    )
    assert summary.frames == 2
    assert len(summary.failures) == 3
    for name, failure in zip(("b.png", "d.jpg", r"e\udcff\n.png"), summary.failures, strict=True):
        assert failure.startswith(f"{tmp_path / 'in' / name} is not an image: ")
        assert "\n" not in failure
    assert files_below(tmp_path / "out") == results_of("a", "c")


def written_video(path: Path) -> list[tuple[Fraction, Image]]:
    """Return times in seconds and pixels of a video's frames."""
    with av.open(str(path)) as container:
        return [
            (Fraction(frame.pts) * frame.time_base, frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]


def test_a_video_gives_an_overlay_video_and_its_stills_where_they_are_asked_for(
    tmp_path: Path, tiny_segmenter: Segmenter, write_video: Writer
) -> None:
    path = write_video(tmp_path / "drive.mp4", frames=3, height=34, width=50)
    sources = find_sources(path)
    summary = segment_files(tiny_segmenter, sources, tmp_path / "out", ONE_STEP)
    assert (summary.frames, summary.files, summary.failures) == (3, 3, [])
    assert files_below(tmp_path / "out") == [*KEYS[:1], "drive_overlay.mp4", *KEYS[1:]]
    summary = segment_files(tiny_segmenter, sources, tmp_path / "stills", ONE_STEP, stills=True)
    assert (summary.frames, summary.files) == (3, 15)
    stems = [f"drive_{index:06d}" for index in range(3)]
    assert files_below(tmp_path / "stills") == sorted([*results_of(*stems), "drive_overlay.mp4"])
    frames = written_video(tmp_path / "out" / "drive_overlay.mp4")
    assert [time for time, _ in frames] == [Fraction(index, 10) for index in range(3)]
    for stem, (_, pixels) in zip(stems, frames, strict=True):
        overlay = stored(tmp_path / "stills" / f"{stem}_overlay.png").astype(int)
        assert pixels.shape == overlay.shape == (34, 50, 3)
        means = [np.mean(image, axis=(0, 1)) for image in (pixels, overlay)]
        np.testing.assert_allclose(*means, atol=4)  # frames differ by 10
    assert stored(tmp_path / "stills" / f"{stems[2]}_ids.png").shape == (34, 50)


def test_a_truncated_video_keeps_the_frames_before_its_end(
    tmp_path: Path, tiny_segmenter: Segmenter, write_video: Writer
) -> None:
    path = write_video(tmp_path / "drive.avi", frames=6, noise=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    summary = segment_files(tiny_segmenter, find_sources(path), tmp_path / "out", ONE_STEP)
    assert 0 < summary.frames < 6
    assert summary.failures == [
        f"{path} ends after {summary.frames} of 6 frames: truncated or damaged"
    ]
    assert len(written_video(tmp_path / "out" / "drive_overlay.mp4")) == summary.frames


def test_an_interrupt_leaves_no_video(
    tmp_path: Path,
    tiny_segmenter: Segmenter,
    write_video: Writer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = count(1)

    def interrupted(*_: object) -> Segmentation:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return result

    path = write_video(tmp_path / "drive.mp4", frames=5)
    result = tiny_segmenter.segment(np.zeros((32, 48, 3), np.uint8), ONE_STEP)
    monkeypatch.setattr(tiny_segmenter, "segment", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment_files(tiny_segmenter, find_sources(path), tmp_path / "out", ONE_STEP)
    assert files_below(tmp_path / "out") == KEYS


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
    sources = find_sources(tmp_path / "twice.avi")
    options = SamplingOptions(steps=4)
    segment_files(tiny_segmenter, sources, tmp_path / "out", options, stills=True)
    for kind in KINDS:
        first, second = (tmp_path / "out" / f"twice_00000{i}_{kind}.png" for i in range(2))
        assert first.read_bytes() == second.read_bytes()


def test_label_images_among_photos_are_left_out_and_one_alone_is_told(
    tmp_path: Path, tiny_segmenter: Segmenter, write_image: Writer
) -> None:
    folder = tmp_path / "in"
    write_image(folder / "a_leftImg8bit.png", 96, 128)
    write_image(folder / "night.jpg", 96, 128)
    ids = (np.arange(96 * 128).reshape(96, 128) // 400 + 1).astype(np.uint8)  # 31 ids
    assert ids.max() == 31
    PIL.Image.fromarray(ids).save(folder / "a_gtFine_labelIds.png")
    instances = ids.astype(np.uint16) * 1000
    PIL.Image.fromarray(instances).save(folder / "a_gtFine_instanceIds.png")
    PIL.Image.fromarray(CITYSCAPES.color_image(ids)).save(folder / "a_gtFine_color.png")
    with_palette = PIL.Image.fromarray(ids)
    with_palette.putpalette(bytes(range(256)) * 3)
    with_palette.save(folder / "b.png")
    sources = find_sources(folder)
    summary = segment_files(tiny_segmenter, sources, tmp_path / "out", ONE_STEP)
    assert [path.name for path in summary.label_images] == [
        "a_gtFine_color.png",
        "a_gtFine_instanceIds.png",
        "a_gtFine_labelIds.png",
        "b.png",
    ]
    assert files_below(tmp_path / "out") == results_of("a_leftImg8bit", "night")
    summary = segment_files(
        tiny_segmenter, find_sources(folder / "b.png"), tmp_path / "alone", ONE_STEP
    )
    assert (summary.frames, summary.label_images) == (1, [folder / "b.png"])


def test_a_result_that_cannot_be_written_ends_the_run(
    tmp_path: Path, tiny_segmenter: Segmenter, write_image: Writer
) -> None:
    write_image(tmp_path / "a.png")
    out = tmp_path / "regular"
    out.touch()
    with pytest.raises(
        CamsegError, match=f"^cannot write {re.escape(str(out / 'classes.json'))}: "
    ):
        segment_files(tiny_segmenter, find_sources(tmp_path / "a.png"), out, ONE_STEP)


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
    segment_files(tiny_segmenter, find_sources(tmp_path / "in"), tmp_path / "out", ONE_STEP)
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
