# SPDX-License-Identifier: Apache-2.0
"""Images as a video file: for people to look at, never for ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.system.files import atomic_path

ENCODERS = ("libx264", "libopenh264", "mpeg4")
"""FFmpeg's encoders in the order in which they are taken: H.264, which every browser plays, where
FFmpeg was built with it. The hardware's are left out: whether they work is seen too late."""

TICKS_PER_SECOND = 60_000
"""Times in the file are whole multiples of it: the usual rates (25, 30, 30000/1001, ...) and whole
milliseconds are exact, and MPEG-4 allows no more than 65535."""

RATE_WITHOUT_TIMES = 25
"""Frames a second where the frames have no times; FFmpeg's own default."""


def write_video(
    path: Path,
    frames: Iterable[tuple[UInt8, int | None]],
    encoders: Sequence[str] = ENCODERS,
) -> int:
    """Write an MP4 file of RGB images uint8 [H, W, 3] with their times, whole or not at all.

    A frame begins at its time after the first one, to a 60000th of a second; one that is not later
    than the one before it follows it by that. The first frame decides the size: odd ones grow by a
    repeated row or column, as the colours of four pixels are stored together, and frames of other
    sizes are resized to it.

    Args:
        path: the file.
        frames: images, and the nanoseconds at which they begin, or None for all of them.
        encoders: FFmpeg's encoders; the first one that it has is taken.

    Returns:
        The number of frames; without any, no file is written.

    Raises:
        CamsegError: the file cannot be written, or the frames cannot be encoded.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return 0
    height, width = (size + size % 2 for size in first[0].shape[:2])
    count, tick = 0, -1
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        try:
            with av.open(file, "w", format="mp4") as container:
                encoder = next(name for name in encoders if name in av.codecs_available)
                # MPEG-4 without a wish keeps to a bit rate that suits small pictures alone.
                options = {"qmin": "2", "qmax": "4"} if encoder == "mpeg4" else {}
                stream = container.add_stream(encoder, options=options)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
                # Without a note, players guess from the size how colours were coded. MPEG-4 has
                # none, and is taken for this one.
                stream.codec_context.colorspace = Colorspace.ITU601
                for image, time_ns in chain([first], frames):
                    seconds = (
                        Fraction(count, RATE_WITHOUT_TIMES)
                        if time_ns is None
                        else Fraction(time_ns, 10**9)
                    )
                    tick = max(tick + 1, round(seconds * TICKS_PER_SECOND))
                    pixels = _of_size(image, height, width)
                    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                    frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)
                    frame.pts, frame.time_base = tick, stream.codec_context.time_base
                    container.mux(stream.encode(frame))
                    count += 1
                container.mux(stream.encode(None))
        except av.FFmpegError as error:
            raise CamsegError(f"cannot write {path}: {error.strerror or error}") from error
    return count


def _of_size(image: UInt8, height: int, width: int) -> UInt8:
    """Return an image with a repeated row or column, or resized if that does not make the size."""
    missing = height - image.shape[0], width - image.shape[1]
    if not {*missing} <= {0, 1}:
        return np.asarray(
            cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    return np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
