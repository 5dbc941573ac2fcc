# SPDX-License-Identifier: Apache-2.0
"""Videos that are written: read again by PyAV, which knows nothing of how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.images.video_writing import write_video

COLORS = ((220, 20, 60), (0, 0, 142), (107, 142, 35), (128, 64, 128))


def quarters(height: int, width: int) -> UInt8:
    """Return an image of four colours that classes have."""
    image = np.zeros((height, width, 3), np.uint8)
    for index, color in enumerate(COLORS):
        row, column = divmod(index, 2)
        image[row * height // 2 :, column * width // 2 :] = color
    return image


def read(path: Path) -> tuple[str, list[Fraction], list[UInt8]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return (
            container.streams.video[0].codec_context.name,
            [Fraction(frame.pts) * frame.time_base for frame in frames],
            [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames],
        )


@pytest.mark.parametrize(
    ("encoders", "codec"), [(("libx264",), "h264"), (("none", "mpeg4"), "mpeg4")]
)
def test_times_and_colours_are_kept(tmp_path: Path, encoders: tuple[str, ...], codec: str) -> None:
    times = [Fraction(1001 * index, 30_000) for index in (0, 1, 2, 7)] + [Fraction(3)]
    image = quarters(63, 97)
    frames = [(image, round(time * 10**9)) for time in times]
    assert write_video(tmp_path / "new" / "a.mp4", iter(frames), encoders) == 5
    name, found, images = read(tmp_path / "new" / "a.mp4")
    assert (name, found) == (codec, times)
    for pixels in images:
        assert pixels.shape == (64, 98, 3)
        corners = [pixels[y, x].astype(int) for y in (16, 48) for x in (24, 72)]
        assert np.abs(np.array(corners) - COLORS).max() <= 5
        assert np.abs(pixels[-1].astype(int) - pixels[-2]).max() <= 5


def test_frames_without_times_have_a_rate_and_odd_times_keep_the_order(tmp_path: Path) -> None:
    image = quarters(32, 48)
    path = tmp_path / "a.mp4"
    assert write_video(path, [(image, None), (image, None), (image[:20, :20], None)]) == 3
    _, found, images = read(path)
    assert found == [0, Fraction(1, 25), Fraction(2, 25)]
    assert images[2].shape == (32, 48, 3)
    write_video(path, [(image, time_ns) for time_ns in (0, 10**9, 10**9, 5, 2 * 10**9)])
    _, found, _ = read(path)
    tick = Fraction(1, 60_000)
    assert found == [0, 1, 1 + tick, 1 + 2 * tick, 2]


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    image = quarters(32, 48)
    assert write_video(tmp_path / "a.mp4", []) == 0

    def failing() -> Iterator[tuple[UInt8, int]]:
        yield image, 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", failing())
    with pytest.raises(CamsegError, match=r"^cannot write \S+a\.mp4: "):
        write_video(tmp_path / "a.mp4", [(np.zeros((2, 40_000, 3), np.uint8), 0)])
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(CamsegError, match=r"^cannot write \S+file/a\.mp4: "):
        write_video(tmp_path / "file" / "a.mp4", [(image, 0)])
