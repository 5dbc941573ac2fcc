# SPDX-License-Identifier: Apache-2.0
"""Images from files: a picture, a video, or a folder of pictures, one frame at a time."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8

IMAGE_SUFFIXES = (
    ".bmp", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
ENOUGH_FRAMES = 0.9
"""Share of a video's stated frames from which on it counts as whole."""

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm")

# OpenCV and FFmpeg print notes of their own on damaged files; ours is the one line there is to be.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.setLogLevel(0)


@dataclass(frozen=True)
class Source:
    """One file to read frames from.

    Attributes:
        path: the picture or the video.
        stem: name of its results, relative to the output folder, without suffix.
        is_video: true if it may have several frames.
        frame_count: frames it states to have; 1 for a picture, 0 if a video does not say.
    """

    path: Path
    stem: Path
    is_video: bool
    frame_count: int


@dataclass(frozen=True)
class Frame:
    """One image.

    Attributes:
        stem: names its results.
        image: RGB uint8 [H, W, 3].
        time_ns: of a video, nanoseconds since its begin as the file states them.
    """

    stem: Path
    image: UInt8
    time_ns: int | None = None


def find_sources(path: Path) -> list[Source]:
    """List what ``path`` holds: itself, or the pictures in and below a folder, sorted.

    Raises:
        CamsegError: nothing there, no picture in the folder, or two pictures would have results
            of one name.
    """
    if not os.path.exists(path):  # pathlib's raises where a name is too long
        raise CamsegError(f"no such file or folder: {path}")
    if not path.is_dir():
        return [_source(path, Path(path.stem))]
    pictures = sorted(
        entry
        for entry in path.rglob("*")
        if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()
    )
    if not pictures:
        raise CamsegError(
            f"folder {path} has no picture; "
            f"files that end in {', '.join(IMAGE_SUFFIXES)} are looked for"
        )
    by_stem: dict[Path, Path] = {}
    for picture in pictures:
        stem = picture.relative_to(path).with_suffix("")
        if stem in by_stem:
            raise CamsegError(
                f"{by_stem[stem]} and {picture} differ in their suffix only, so that their results "
                "would have one name; rename one of them"
            )
        by_stem[stem] = picture
    return [Source(picture, stem, False, 1) for stem, picture in by_stem.items()]


def read_image(path: Path) -> UInt8:
    """Read a picture as RGB uint8 [H, W, 3]; a rotation note in the file is ignored.

    Raises:
        CamsegError: unreadable, empty, or not a picture.
    """
    content = _read(path)
    image = _decode(content)
    if image is None:
        raise CamsegError(
            f"{path} is not an image: its {len(content)} bytes cannot be decoded "
            "(truncated, or of another format)"
        )
    return image


def read_frames(source: Source) -> Iterator[Frame]:
    """Return the frames of ``source`` in order; those of a video are numbered from 0.

    Raises:
        CamsegError: unreadable, or a video that ends before its stated number of frames (after
            the frames that could be read).
    """
    if not source.is_video:
        yield Frame(source.stem, read_image(source.path))
        return
    capture = cv2.VideoCapture(str(source.path), cv2.CAP_FFMPEG)
    index = 0
    try:
        while True:
            found, image = capture.read()
            if not found:
                break
            stem = source.stem.with_name(f"{source.stem.name}_{index:06d}")
            time_ns = round(1e6 * capture.get(cv2.CAP_PROP_POS_MSEC))
            yield Frame(stem, _rgb(image), time_ns)
            index += 1
    finally:
        capture.release()
    # Some containers state no count, and OpenCV estimates one from duration and rate.
    if index == 0 or index < ENOUGH_FRAMES * source.frame_count:
        raise CamsegError(
            f"{source.path} ends after {index} of {source.frame_count} frames: truncated or damaged"
        )


def _source(path: Path, stem: Path) -> Source:
    """Look at one file; suffixes are hints, what it decodes to decides."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        image = _decode(_read(path)) if path.is_file() else None
        if image is not None:
            return Source(path, stem, False, 1)
    # FFmpeg would take the readable part of a damaged picture for a video of one frame.
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    capture = cv2.VideoCapture("" if is_image else str(path), cv2.CAP_FFMPEG)
    try:
        is_video = capture.isOpened() and capture.get(cv2.CAP_PROP_FRAME_WIDTH) > 0
        frame_count = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    finally:
        capture.release()
    if not is_video:
        size = path.stat().st_size
        raise CamsegError(
            f"{path} is neither an image nor a video: its {size} bytes cannot be decoded"
        )
    return Source(path, stem, True, frame_count)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error


def _decode(content: bytes) -> UInt8 | None:
    """Decode a picture to RGB uint8 [H, W, 3]; None if it is none, or not whole."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's notes on odd files
            picture = Image.open(io.BytesIO(content))
            picture.load()
    except Exception:  # PIL raises almost anything on damaged bytes
        return None
    if picture.mode.startswith(("I", "F")):  # more than 8 bits, which PIL would cut off
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        return None if decoded is None else _rgb(decoded)
    return np.array(picture.convert("RGB"))


def _rgb(image: object) -> UInt8:
    return np.ascontiguousarray(np.asarray(image, np.uint8)[..., ::-1])
