# SPDX-License-Identifier: Apache-2.0
"""Images from files: an image, a video, or a folder of images, one frame at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video import VideoFrame
from PIL import Image

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.images.decoding import NotAnImageError, decode_image
from camseg_core.system.files import check_is_regular, read_bytes
from camseg_core.system.folders import files_below

IMAGE_SUFFIXES = (
    ".bmp", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
VIDEO_SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm")

VIDEO_FORMATS = (
    "asf,avi,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,ogg,"
    "bmp_pipe,jpeg_pipe,pgm_pipe,png_pipe,ppm_pipe,tiff_pipe,webp_pipe"
)
"""FFmpeg's names of the formats that are read; the last ones are images under a video's name. Some
of FFmpeg's others take any text for a video, and playlists open further files."""

BAG_SUFFIXES = (".mcap", ".db3", ".zstd", ".bag", ".active")
"""Suffixes of the files of ROS bags, whose frames `camseg replay` reads."""

MOST_LABEL_COLORS = 64
"""Most colours of a label image."""

ENOUGH = 0.9
"""A video counts as whole if it has this share of the frames that it states or, if it states no
number, of its duration. Some containers state a little too much."""


@dataclass(frozen=True)
class Source:
    """One file to read frames from.

    Attributes:
        path: the image or the video.
        stem: name of its results, relative to the output folder, without suffix.
        is_video: true if it may have several frames.
        frame_count: number of frames: 1 for an image; for a video what it states, else what its
            duration and rate make, else 0.
    """

    path: Path
    stem: Path
    is_video: bool
    frame_count: int


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes:
        stem: name of its results, relative to the output folder, without suffix.
        image: RGB uint8 [H, W, 3].
        time_ns: nanoseconds since the video's first frame, as its file states them; None for an
            image, and where a video states no times and no rate.
    """

    stem: Path
    image: UInt8
    time_ns: int | None = None


def find_sources(path: Path) -> list[Source]:
    """List what ``path`` holds: itself, or the images in and below a folder; see `files_below`.

    Raises:
        CamsegError: nothing is there, it is a bag, the folder has no image, or the results of two
            images would have the same name.
    """
    if not os.path.exists(path):  # pathlib's raises where a name is too long
        raise CamsegError(f"no such file or folder: {path}")
    if _is_bag(path):
        raise CamsegError(
            f"{path} is a bag; bags are segmented and scored by: camseg replay {path}"
        )
    if not path.is_dir():
        check_is_regular(path)
        return [_source(path, Path(path.stem))]
    images = [file for file in files_below(path) if file.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise CamsegError(
            f"folder {path} has no image; "
            f"files that end in {', '.join(IMAGE_SUFFIXES)} are looked for"
        )
    by_stem: dict[Path, Path] = {}
    for image in images:
        other = by_stem.setdefault(image.relative_to(path).with_suffix(""), image)
        if other is not image:
            raise CamsegError(
                f"{other} and {image} differ in their suffix only, so that their results would "
                "have the same name; rename one of them"
            )
    return [Source(image, stem, False, 1) for stem, image in by_stem.items()]


def read_image(path: str | Path) -> UInt8:
    """Read an image as RGB uint8 [H, W, 3]; a rotation note in the file is ignored.

    Raises:
        CamsegError: unreadable, or not one image that can be read; see `decode_image`.
    """
    content = read_bytes(Path(path))
    try:
        pixels = decode_image(content)
    except CamsegError as error:
        raise type(error)(f"{path} {error}") from None
    return pixels if pixels.ndim == 3 else np.ascontiguousarray(np.dstack([pixels] * 3))


def looks_like_labels(image: UInt8) -> bool:
    """Tell whether a picture uint8 [H, W, 3] has so few colours that it holds labels, not a scene.

    At most `MOST_LABEL_COLORS` of them, as ids, instances or colours of classes have. A photo has
    thousands; a picture of fewer than 64 x 64 pixels is not judged.
    """
    height, width = image.shape[:2]
    if height * width < 64 * 64:
        return False
    return Image.fromarray(image).getcolors(MOST_LABEL_COLORS) is not None


def read_frames(source: Source) -> Iterator[Frame]:
    """Yield the frames of ``source`` in order; those of a video are numbered from 0.

    A rotation note in the file is ignored.

    Raises:
        CamsegError: the file is unreadable, or a video is damaged or ends early, after the frames
            that come before the damage.
    """
    if not source.is_video:
        yield Frame(source.stem, read_image(source.path))
        return
    index = 0
    is_whole = False
    with suppress(av.FFmpegError), _open_video(source.path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        tick = stream.time_base or Fraction(0)
        first: int | None = None
        end = Fraction(0)
        for frame in _video_frames(container):
            stem = source.stem.with_name(f"{source.stem.name}_{index:06d}")
            shown = frame.dts if frame.pts is None else frame.pts
            rate = stream.codec_context.framerate
            time_ns = None
            if shown is not None:
                # Some containers begin later than zero, and AVI counts frames that it shows later.
                first = shown if first is None else first
                time_ns = round((shown - first) * tick * 10**9)
                end = (shown + frame.duration) * tick
            elif first is None and rate:  # a raw stream, which states its rate alone
                time_ns = round(index / rate * 10**9)
            yield Frame(stem, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), time_ns)
            index += 1
        # AVI states frames that it leaves out, and others state no number of frames.
        by_frames = index >= ENOUGH * stream.frames if stream.frames else not container.duration
        is_whole = by_frames or end >= ENOUGH * (container.duration or inf) / av.time_base
    if not is_whole or index == 0:
        stated = f" of {source.frame_count}" if source.frame_count else ""
        raise CamsegError(f"{source.path} ends after {index}{stated} frames: truncated or damaged")


def _is_bag(path: Path) -> bool:
    """Tell whether a path is a ROS bag: by its suffix; a folder, by what lies in it."""
    if not path.is_dir():
        return path.suffix.lower() in BAG_SUFFIXES
    with suppress(OSError):
        return "rosbag2_bagfile_information" in (path / "metadata.yaml").read_text(errors="replace")
    return any(file.suffix.lower() in BAG_SUFFIXES for file in path.glob("*.*"))


def _source(path: Path, stem: Path) -> Source:
    """Look at one file: what it decodes to decides, its suffix is only a hint."""
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        with suppress(NotAnImageError):
            read_image(path)
            return Source(path, stem, False, 1)
    # FFmpeg would take the readable part of a damaged image for a video of one frame.
    if suffix not in IMAGE_SUFFIXES:
        with suppress(av.FFmpegError), _open_video(path) as container:
            for _ in _video_frames(container):
                return Source(path, stem, True, _stated_frame_count(container))
    size = path.stat().st_size
    raise CamsegError(f"{path} is neither an image nor a video: its {size} bytes cannot be decoded")


def _stated_frame_count(container: InputContainer) -> int:
    stream = container.streams.video[0]
    if stream.frames or not container.duration or not stream.average_rate:
        return stream.frames
    # Matroska's duration is counted from time zero, not from its start.
    is_matroska = "matroska" in container.format.name
    start = max(0, container.start_time or 0) if is_matroska else 0
    return max(0, round((container.duration - start) * stream.average_rate / av.time_base))


def _open_video(path: Path) -> InputContainer:
    # Titles and the like may be in any encoding, and nobody here reads them.
    options = {"format_whitelist": VIDEO_FORMATS}
    return av.open(f"file:{path}", options=options, metadata_errors="replace")


def _video_frames(container: InputContainer) -> Iterator[VideoFrame]:
    """Decode a video up to the first damage behind its first frame.

    What comes before the first frame may be cut off: some recordings begin between key frames.

    Raises:
        av.FFmpegError: at the damage.
    """
    has_begun = False
    if not container.streams.video:
        return
    for packet in container.demux(container.streams.video[0]):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            if has_begun:
                raise
            continue
        for frame in frames:
            has_begun = True
            yield frame
