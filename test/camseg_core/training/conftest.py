# SPDX-License-Identifier: Apache-2.0
"""A synthetic data set that can be learned in seconds, and settings for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from camseg_core.labels import CITYSCAPES
from camseg_core.training.configuration import parse_settings

Settings = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def drawn_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen images of 64 x 32: sky over road, boxes of two classes, colours like the palette."""
    root = tmp_path_factory.mktemp("drawn")
    for index in range(16):
        random = np.random.default_rng(index)
        class_ids = np.full((32, 64), 10, np.uint8)
        class_ids[16:] = 0
        for class_id in (2, 13):
            top, left = random.integers(4, 18), random.integers(0, 48)
            class_ids[top : top + 12, left : left + 16] = class_id
        class_ids[:2, :4] = 255
        image = CITYSCAPES.color_image(class_ids) // 2 + random.integers(0, 40, (32, 64, 3))
        for folder, picture in (("images", image.astype(np.uint8)), ("labels", class_ids)):
            (root / folder).mkdir(exist_ok=True)
            assert cv2.imwrite(str(root / folder / f"{index:02d}.png"), picture)
    return root


@pytest.fixture
def settings(drawn_root: Path, tmp_path: Path) -> Settings:
    """Return settings of a short run as plain data; changes go by dotted names."""

    def make(stage: str = "transformer", **changes: Any) -> dict[str, Any]:
        content: dict[str, Any] = {
            "stage": stage,
            "preset": "tiny",
            "steps": 4,
            "batch_size": 4,
            "log_every": 1,
            "save_every": 2,
            "threads": 1,
            "output_dir": str(tmp_path / "output_dir"),
            "data": {
                "dataset": "folder",
                "root": str(drawn_root),
                "split": "all",
                "validation_split": "",
                "validation_images": 4,
                "label_set": "cityscapes-train-ids",
            },
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 0},
        }
        for name, value in changes.items():
            table = content
            *tables, last = name.split("__")
            for key in tables:
                table = table.setdefault(key, {})
            table[last] = value
        parse_settings(content)
        return content

    return make
