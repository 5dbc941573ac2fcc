# SPDX-License-Identifier: Apache-2.0
"""The four result files of a frame."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from camseg_core.errors import CamsegError
from camseg_core.images.drawing import overlay_image
from camseg_core.images.fit import Fit
from camseg_core.labels import CITYSCAPES
from camseg_core.segment_files import save_segmentation
from camseg_core.segmenter import Segmentation

Image = np.ndarray[Any, np.dtype[np.uint8]]
HEIGHT, WIDTH = 7, 11


@pytest.fixture
def image() -> Image:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def result() -> Segmentation:
    rng = np.random.default_rng(1)
    class_ids = rng.choice(np.array([*range(19), 255], np.uint8), (HEIGHT, WIDTH))
    return Segmentation(
        class_ids=class_ids,
        confidence=rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8),
        input_probabilities=torch.zeros(19, 16, 16),
        fit=Fit(HEIGHT, WIDTH, 10, 16, 16, 16),
        stride=16,
        stage_seconds={},
    )


def stored(path: Path) -> Image:
    """Read a file as it is, colours as RGB."""
    content = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert content is not None
    return np.asarray(content if content.ndim == 2 else content[..., ::-1])


def test_four_files_are_written_at_the_size_of_the_image(
    tmp_path: Path, image: Image, result: Segmentation
) -> None:
    paths = save_segmentation(tmp_path, Path("sub/frame.1"), image, result, CITYSCAPES)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "sub/frame.1_ids.png",
        "sub/frame.1_color.png",
        "sub/frame.1_overlay.png",
        "sub/frame.1_confidence.png",
    ]
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == sorted(
        path.name for path in paths
    )
    ids, color, overlay, confidence = map(stored, paths)
    assert {picture.dtype for picture in (ids, color, overlay, confidence)} == {np.dtype(np.uint8)}
    np.testing.assert_array_equal(ids, result.class_ids)
    np.testing.assert_array_equal(confidence, result.confidence)
    np.testing.assert_array_equal(color, CITYSCAPES.color_image(result.class_ids))
    np.testing.assert_array_equal(overlay, overlay_image(image, result.class_ids, CITYSCAPES))


def test_ids_are_a_single_8_bit_channel_in_the_file(
    tmp_path: Path, image: Image, result: Segmentation
) -> None:
    ids, color, _, confidence = save_segmentation(tmp_path, Path("a"), image, result, CITYSCAPES)
    # Of a PNG's header: width and height at 16, bit depth at 24, colour type at 25.
    for path, color_type in ((ids, 0), (confidence, 0), (color, 2)):
        header = path.read_bytes()[16:26]
        assert header[:8] == WIDTH.to_bytes(4, "big") + HEIGHT.to_bytes(4, "big")
        assert (header[8], header[9]) == (8, color_type)


def test_an_older_result_is_replaced(tmp_path: Path, image: Image, result: Segmentation) -> None:
    (tmp_path / "a_ids.png").write_bytes(b"old")
    ids, *_ = save_segmentation(tmp_path, Path("a"), image, result, CITYSCAPES)
    np.testing.assert_array_equal(stored(ids), result.class_ids)


def test_a_folder_that_cannot_be_is_one_line(
    tmp_path: Path, image: Image, result: Segmentation
) -> None:
    out = tmp_path / "regular"
    out.touch()
    with pytest.raises(
        CamsegError, match=f"^cannot write {re.escape(str(out / 'a_ids.png'))}: "
    ) as caught:
        save_segmentation(out, Path("a"), image, result, CITYSCAPES)
    assert "\n" not in str(caught.value)
