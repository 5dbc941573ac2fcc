# SPDX-License-Identifier: Apache-2.0
"""What an image file decodes to, and what is refused before it costs memory."""

from __future__ import annotations

import io
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camseg_core.errors import CamsegError
from camseg_core.images.decoding import NotAnImageError, decode_image

TROUBLES = Path(__file__).parents[2] / "data" / "troubles"


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 0), [1, 2, 3]),
        ("L", 7, 7),
        ("1", 1, 255),
        ("I;16", 7 * 256 + 200, 7),
    ],
)
def test_pixels_are_rgb_or_grey_of_8_bits(mode: str, color: Any, expected: Any) -> None:
    decoded = decode_image(written(Image.new(mode, (3, 2), color), "PNG"))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, np.full((2, 3, *np.shape(expected)), expected))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_several_pictures_are_refused(kind: str) -> None:
    first, second = (Image.new("RGB", (8, 4), (level, 0, 0)) for level in (0, 200))
    with pytest.raises(CamsegError, match="^holds several pictures .* one is needed"):
        decode_image(written(first, kind, save_all=True, append_images=[second]))


def test_a_jpeg_with_a_small_copy_of_itself_is_one_picture() -> None:
    first, second = (Image.new("RGB", size, (50, 50, 50)) for size in ((16, 8), (8, 4)))
    content = written(first, "MPO", save_all=True, append_images=[second])
    assert decode_image(content).shape == (8, 16, 3)


def test_values_of_32_bits_are_refused() -> None:
    with pytest.raises(CamsegError, match="^has values of 32 bits; 8 or 16 are needed$"):
        decode_image(written(Image.new("F", (3, 2), 0.5), "TIFF"))


def test_the_limit_of_the_size_is_exact() -> None:
    content = written(Image.new("L", (100, 50)), "PNG")
    assert decode_image(content, max_megapixels=0.005).shape == (50, 100)
    with pytest.raises(CamsegError, match="^is 100 x 50 pixels; 0.0049 megapixels are the most$"):
        decode_image(content, max_megapixels=0.0049)


@pytest.mark.parametrize("name", ["bomb_20000_1bit.png", "claim_32000.jpg"])
def test_a_bomb_is_refused_before_its_pixels_exist(name: str) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CamsegError, match="megapixels"):
        decode_image((TROUBLES / name).read_bytes())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50 * 1024


def test_an_unknown_format_is_no_image() -> None:
    content = written(Image.new("RGB", (8, 4)), "BMP")
    assert decode_image(content).shape == (4, 8, 3)
    rule = f"its {len(content)} bytes cannot be decoded .truncated, or of another format than PNG.$"
    with pytest.raises(NotAnImageError, match=rule):
        decode_image(content, ("PNG",))
