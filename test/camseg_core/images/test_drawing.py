# SPDX-License-Identifier: Apache-2.0
"""Overlays, and arrays as image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from camseg_core.errors import CamsegError
from camseg_core.images.drawing import (
    LEGEND_ROW,
    encode_jpeg,
    encode_png,
    legend_image,
    overlay_image,
    write_png,
)
from camseg_core.labels import CITYSCAPES, LabelSet

Image = np.ndarray[Any, np.dtype[np.uint8]]
HEIGHT, WIDTH = 7, 11


@pytest.fixture
def image() -> Image:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def decoded(content: bytes) -> Image:
    """Decode an image as it is, colours as RGB."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels if pixels.ndim == 2 else pixels[..., ::-1])


def test_the_overlay_is_half_image_half_colour_and_leaves_unlabeled_pixels(image: Image) -> None:
    class_ids = np.full((HEIGHT, WIDTH), 255, np.uint8)
    class_ids[2:5, 3:] = 10
    overlay = overlay_image(image, class_ids, CITYSCAPES)
    assert overlay.dtype == np.uint8
    unlabeled = class_ids == 255
    np.testing.assert_array_equal(overlay[unlabeled], image[unlabeled])
    expected = (image[~unlabeled].astype(float) + np.array([0, 130, 180])) / 2
    assert np.abs(overlay[~unlabeled] - expected).max() <= 0.5


def test_an_image_in_any_memory_order_is_written_by_value(tmp_path: Path, image: Image) -> None:
    view = image[::-1, ::2]
    write_png(tmp_path / "color.png", view)
    np.testing.assert_array_equal(decoded((tmp_path / "color.png").read_bytes()), view)
    write_png(tmp_path / "grey.png", view[..., 1])
    np.testing.assert_array_equal(decoded((tmp_path / "grey.png").read_bytes()), view[..., 1])


def test_a_jpeg_looks_like_its_array() -> None:
    plain = np.zeros((16, 24, 3), np.uint8)
    plain[:, 8:] = (200, 100, 50)
    pixels = decoded(encode_jpeg(plain[:, ::-1])).astype(int)
    assert np.abs(pixels - plain[:, ::-1]).mean() < 3
    assert np.abs(pixels[8, 4] - (200, 100, 50)).max() < 8


@pytest.mark.parametrize(("encode", "kind"), [(encode_png, "PNG"), (encode_jpeg, "JPEG")])
def test_an_array_that_is_no_image_is_refused(encode: Any, kind: str) -> None:
    with pytest.raises(
        CamsegError, match=rf"cannot encode an array of shape \(0, 4, 3\) as {kind}"
    ):
        encode(np.zeros((0, 4, 3), np.uint8))


def test_the_legend_has_a_swatch_for_each_class() -> None:
    legend = legend_image(CITYSCAPES)
    swatches = legend[np.arange(20) * LEGEND_ROW + LEGEND_ROW // 2, LEGEND_ROW]
    assert swatches.tolist() == [list(color) for color in (*CITYSCAPES.palette, (0, 0, 0))]
    many = LabelSet(
        "many", tuple("é" * n for n in range(1, 41)), tuple((9, 9, n) for n in range(40))
    )
    assert legend_image(many).shape[1] > 2 * legend.shape[1]
