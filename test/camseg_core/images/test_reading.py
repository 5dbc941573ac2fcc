# SPDX-License-Identifier: Apache-2.0
"""Images, videos and folders as frames, and what cannot be read."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import PIL.Image
import pytest

from camseg_core.errors import CamsegError
from camseg_core.images.reading import (
    Frame,
    Source,
    find_sources,
    read_frames,
    read_image,
)

Writer = Callable[..., Path]
Image = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif", ".PNG"])
def test_an_image_comes_as_rgb(
    tmp_path: Path, write_image: Writer, random_image: Callable[..., Image], suffix: str
) -> None:
    path = write_image(tmp_path / f"a{suffix}", 33, 97)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, random_image(33, 97))


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_a_compressed_image_keeps_its_channel_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 0] = 250
    assert cv2.imwrite(str(path), red[..., ::-1])
    image = read_image(path)
    assert image.shape == (40, 60, 3)
    assert np.abs(image.astype(int) - red).max() < 12


@pytest.mark.parametrize(
    "stored",
    [
        np.full((4, 6), 90, np.uint8),
        np.full((4, 6), 90 * 257, np.uint16),
        np.dstack([np.full((4, 6, 3), 90, np.uint8), np.zeros((4, 6), np.uint8)]),
    ],
    ids=["grey", "16 bit", "transparent"],
)
def test_other_pixel_types_become_8_bit_rgb(tmp_path: Path, stored: np.ndarray[Any, Any]) -> None:
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), stored)
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.full((4, 6, 3), 90, np.uint8))


def test_a_rotation_note_is_ignored(tmp_path: Path, write_image: Writer) -> None:
    path = write_image(tmp_path / "a.jpg", 40, 60)
    content = path.read_bytes()
    # An Exif segment after the start marker, with orientation 6 (turn by 90 degrees) alone.
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path.write_bytes(content[:2] + segment + content[2:])
    assert cv2.imread(str(path)).shape == (60, 40, 3)
    assert read_image(path).shape == (40, 60, 3)


def cut_image(suffix: str, kept: float) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    content = cv2.imencode(suffix, noise)[1].tobytes()
    return bytes(content[: int(kept * len(content))])


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"),
        *(
            cut_image(suffix, kept)
            for suffix in (".png", ".jpg", ".bmp", ".webp", ".tif", ".ppm")
            for kept in (0.05, 0.95)
        ),
    ],
)
def test_what_is_no_whole_image_is_refused_without_a_word_of_the_decoder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(
        CamsegError,
        match=rf"^{re.escape(str(path))} is not an image: its {len(content)} bytes cannot be "
        r"decoded \(truncated, or of another format than BMP, JPEG, PNG, PPM, TIFF, WEBP\)$",
    ):
        read_image(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "reason"), [("none.png", "No such file"), (".", "Is a directo")])
def test_an_image_that_is_not_there_is_one_line(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    with pytest.raises(CamsegError, match=f"^cannot read {re.escape(str(path))}: {reason}"):
        read_image(path)


def test_one_image_is_one_source(tmp_path: Path, write_image: Writer) -> None:
    path = write_image(tmp_path / "folder" / "a.b.png")
    (source,) = find_sources(path)
    assert source == Source(path, Path("a.b"), is_video=False, frame_count=1)
    (frame,) = read_frames(source)
    assert (frame.stem, frame.time_ns) == (Path("a.b"), None)
    np.testing.assert_array_equal(frame.image, read_image(path))


@pytest.mark.parametrize("name", ["image", "image.dat", "image.mp4"])
def test_what_a_file_holds_decides_not_its_name(
    tmp_path: Path, write_image: Writer, write_video: Writer, name: str
) -> None:
    (frame,) = read_frames(*find_sources(write_image(tmp_path / "a.png").rename(tmp_path / name)))
    assert frame.image.shape == (40, 60, 3)
    path = write_video(tmp_path / "clip.avi", frames=3).rename(tmp_path / "recording")
    (source,) = find_sources(path)
    assert source.is_video
    assert [str(frame.stem) for frame in read_frames(source)][-1] == "recording_000002"


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv", ".mov"])
def test_a_video_gives_every_frame_in_order(
    tmp_path: Path, write_video: Writer, suffix: str
) -> None:
    path = write_video(tmp_path / f"clip{suffix}", frames=6, height=32, width=48)
    (source,) = find_sources(path)
    assert source.is_video
    assert source.frame_count == 6
    frames = list(read_frames(source))
    assert [str(frame.stem) for frame in frames] == [f"clip_{index:06d}" for index in range(6)]
    for index, frame in enumerate(frames):
        assert frame.image.dtype == np.uint8
        assert frame.image.shape == (32, 48, 3)
        assert np.abs(frame.image.astype(int) - 20 * index).max() <= 6


def test_a_video_comes_as_rgb_with_its_own_times(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    red = np.zeros((32, 48, 3), np.uint8)
    red[..., 0] = 250
    times_ms = [500, 540, 680, 700]  # shown at no constant rate, and not from 0 on
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, width=48, height=32, pix_fmt="yuv420p")
        stream.codec_context.time_base = Fraction(1, 1000)
        for time_ms in times_ms:
            frame = av.VideoFrame.from_ndarray(red, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames = list(read_frames(find_sources(path)[0]))
    assert [frame.time_ns for frame in frames] == [10**6 * (ms - 500) for ms in times_ms]
    assert (frames[0].image[..., 0] > 230).all()
    assert (frames[0].image[..., 1:] < 20).all()


def test_a_video_is_read_to_its_damage(
    tmp_path: Path, write_video: Writer, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_video(tmp_path / "clip.mp4", frames=20, noise=True)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    (source,) = find_sources(path)
    frames = read_frames(source)
    with pytest.raises(CamsegError, match="clip.mp4 ends after 6 of 20 frames: truncated"):
        list(frames)
    assert capfd.readouterr() == ("", "")


def test_a_playlist_opens_no_other_file(tmp_path: Path, write_video: Writer) -> None:
    video = write_video(tmp_path / "clip.mp4")
    path = tmp_path / "list.m3u8"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{video}\n")
    with pytest.raises(CamsegError, match="list.m3u8 is neither an image nor a video"):
        find_sources(path)


def test_a_truncated_video_gives_its_frames_then_says_so(
    tmp_path: Path, write_video: Writer, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_video(tmp_path / "clip.avi", frames=20, noise=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    (source,) = find_sources(path)
    assert source.frame_count == 20
    frames: list[Frame] = []
    with pytest.raises(CamsegError) as caught:
        for frame in read_frames(source):
            frames.append(frame)  # noqa: PERF402  # the frames before the error count
    assert 0 < len(frames) < 20
    assert str(caught.value) == (
        f"{path} ends after {len(frames)} of 20 frames: truncated or damaged"
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(
            (name, content)
            for name in ("clip.mp4", "none.txt", "none.png")
            for content in (b"", b"hello\n", b"\0" * 5000)
        ),
        # Cut before its first frame: an mp4 has its index at the end, an avi 5 kB of headers.
        *(("clip.mp4", 0.95), ("clip.avi", 0.01), ("clip.avi", 0.06)),
    ],
)
def test_a_file_that_is_neither_is_refused(
    tmp_path: Path,
    write_video: Writer,
    capfd: pytest.CaptureFixture[str],
    name: str,
    content: bytes | float,
) -> None:
    path = tmp_path / name
    if isinstance(content, float):
        whole = write_video(path, frames=20, noise=True).read_bytes()
        content = whole[: int(content * len(whole))]
    path.write_bytes(content)
    with pytest.raises(
        CamsegError,
        match=f"^{re.escape(str(path))} is neither an image nor a video: "
        f"its {len(content)} bytes cannot be decoded$",
    ):
        find_sources(path)
    assert capfd.readouterr() == ("", "")


def test_a_folder_gives_its_images_in_natural_order_with_their_subfolders(
    tmp_path: Path, write_image: Writer, write_video: Writer
) -> None:
    for name in ("10.png", "2.jpg", "2b/deep/x.PNG", "10/1.bmp", "2b.tif", "a-1.png", "02.jpg"):
        write_image(tmp_path / name)
    write_video(tmp_path / "clip.avi")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    sources = find_sources(tmp_path)
    stems = ["02", "2", "2b", "2b/deep/x", "10/1", "10", "a-1"]
    assert [str(source.stem) for source in sources] == stems
    assert all((source.is_video, source.frame_count) == (False, 1) for source in sources)
    for source in sources:
        (frame,) = read_frames(source)
        assert frame.stem == source.stem


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b_frames.avi", "mpeg4", {"bf": "2"}),  # states no times, and shows frames later
        ("raw.h264", "libx264", {"bf": "0"}),  # states its rate alone
        ("a.mkv", "libx264", {}),  # states no number of frames
        ("a.ts", "libx264", {}),
    ],
)
def test_times_are_those_that_the_stream_states(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = tmp_path / name
    with av.open(str(path), "w", format="h264" if name == "raw.h264" else None) as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(12):
            level = np.full((48, 64, 3), 20 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(level, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (source,) = find_sources(path)
    frames = list(read_frames(source))
    assert [round(frame.image.mean() / 20) for frame in frames] == list(range(12))
    assert [frame.time_ns for frame in frames] == [index * 10**8 for index in range(12)]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_frames_are_counted_from_the_first_one_where_a_video_begins_late(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = 100 + index, Fraction(1, 10)  # ten seconds
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (source,) = find_sources(path)
    assert source.frame_count == len(list(read_frames(source))) == 20


def test_a_title_in_another_encoding_costs_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLE"
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pixels = np.zeros((48, 64, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"\xff\xfe\xffLE"))
    (source,) = find_sources(path)
    assert len(list(read_frames(source))) == 1


def test_a_gif_gives_all_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    grays = [PIL.Image.new("L", (40, 20), level) for level in (0, 100, 200)]
    grays[0].save(path, save_all=True, append_images=grays[1:], duration=[100, 200, 100])
    (source,) = find_sources(path)
    frames = list(read_frames(source))
    assert [int(frame.image.mean().round(-1)) for frame in frames] == [0, 100, 200]
    assert [frame.time_ns for frame in frames] == [0, 10**8, 3 * 10**8]


def test_an_image_of_several_pictures_says_so(tmp_path: Path) -> None:
    pages = [PIL.Image.new("RGB", (8, 4), (level, 0, 0)) for level in (0, 100)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    for read in (read_image, find_sources):
        with pytest.raises(CamsegError, match=r"a\.tif holds several pictures"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["pipe.png", "pipe.mp4"])
def test_a_pipe_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    for read in (read_image, find_sources):
        with pytest.raises(CamsegError, match=f"^cannot read .*{name}: it is no regular file$"):
            read(tmp_path / name)


@pytest.mark.parametrize("names", [[], ["notes.txt", "clip.mp4"]])
def test_a_folder_without_images_says_what_is_looked_for(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(
        CamsegError,
        match=rf"^folder {re.escape(str(tmp_path))} has no image; files that end in \.bmp, .*"
        r"\.png.* are looked for$",
    ):
        find_sources(tmp_path)


def test_two_images_of_one_result_name_are_refused(tmp_path: Path, write_image: Writer) -> None:
    first, second = write_image(tmp_path / "x/a.jpg"), write_image(tmp_path / "x/a.png")
    write_image(tmp_path / "a.png")  # another folder, another name
    with pytest.raises(
        CamsegError,
        match=f"^{re.escape(str(first))} and {re.escape(str(second))} differ in their suffix only",
    ):
        find_sources(tmp_path)


@pytest.mark.parametrize("name", ["none.png", "none/none.mp4", "n" * 300])
def test_what_is_not_there_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    path = re.escape(str(tmp_path / name))
    with pytest.raises(CamsegError, match=f"^no such file or folder: {path}$"):
        find_sources(tmp_path / name)
