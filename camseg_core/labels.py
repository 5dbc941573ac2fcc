# SPDX-License-Identifier: Apache-2.0
"""Label sets: class ids, names, palettes and the tables between them.

Shapes: H, W = image size; C = number of classes. Class ids are uint8, 0..C-1; 255 is unlabeled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError
from camseg_core.system.validation import parse

UNLABELED = 255
"""Class id of a pixel that has no class."""

MAX_CLASSES = 255
"""Largest number of classes: class ids are bytes, and 255 means unlabeled."""


@dataclass(frozen=True)
class LabelSet:
    """The classes of one data set or one model.

    Attributes:
        name: Short name, stored in weights files.
        names: Names of the C classes; the index is the class id.
        palette: Colours of the C classes, RGB, 0..255.
        void_color: Colour of unlabeled pixels, RGB, 0..255.
        source_ids: Class id for each id that other files (a data set's raw labels) use; ids that
            are not listed become unlabeled.

    Raises:
        CamsegError: no class, too many, counts that differ, names or colours that repeat.
    """

    name: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    void_color: tuple[int, int, int] = (0, 0, 0)
    source_ids: dict[int, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check the rules that every reader of a label set relies on."""
        if not 1 <= len(self.names) <= MAX_CLASSES:
            raise CamsegError(
                f"label set {self.name!r} has {len(self.names)} classes; 1 to {MAX_CLASSES} fit"
            )
        if len(self.names) != len(self.palette):
            raise CamsegError(
                f"label set {self.name!r} has {len(self.names)} names "
                f"but {len(self.palette)} colours; every class needs one of each"
            )
        if len(set(self.names)) != len(self.names):
            raise CamsegError(f"label set {self.name!r} repeats a class name")
        colors = [*self.palette, self.void_color]
        for color in colors:
            if len(color) != 3 or not all(_is_byte(channel) for channel in color):
                raise CamsegError(
                    f"label set {self.name!r} has colour {color}; "
                    "a colour is three whole numbers from 0 to 255"
                )
        if len(set(colors)) != len(colors):
            raise CamsegError(f"label set {self.name!r} repeats a colour (void has one too)")
        for source, target in self.source_ids.items():
            if not (0 <= target < len(self.names) or target == UNLABELED):
                raise CamsegError(
                    f"label set {self.name!r} maps id {source} to {target}; "
                    f"class ids are 0..{len(self.names) - 1} or {UNLABELED}"
                )

    @property
    def num_classes(self) -> int:
        """Number of classes C, unlabeled not counted."""
        return len(self.names)

    def colors(self) -> NDArray[np.uint8]:
        """Return the colour of every possible id: uint8 [256, 3]; ids without a class are void."""
        table = np.tile(np.array(self.void_color, np.uint8), (256, 1))
        table[: self.num_classes] = np.array(self.palette, np.uint8)
        return table

    def color_image(self, class_ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Colour a mask: class ids uint8 [H, W] -> RGB uint8 [H, W, 3]."""
        colored: NDArray[np.uint8] = self.colors()[class_ids]
        return colored

    def remap(self, source: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Turn a data set's own ids [H, W] into class ids uint8 [H, W] by ``source_ids``."""
        class_ids = np.full(source.shape, UNLABELED, np.uint8)
        for source_id, class_id in self.source_ids.items():
            class_ids[source == source_id] = class_id
        return class_ids

    def decoding_palette(self) -> NDArray[np.float32]:
        """Return the palette that CAM-Seg's colour decoding compares with: float32 [C + 1, 3].

        Row 0 is void, row 1 + k is class k; colours / 255 rounded to 4 decimals, as published.
        """
        colors = np.array([self.void_color, *self.palette], np.float64)
        palette: NDArray[np.float32] = np.round(colors / 255.0, 4).astype(np.float32)
        return palette

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; `from_dict` reads it back."""
        return {
            "name": self.name,
            "names": list(self.names),
            "palette": [list(color) for color in self.palette],
            "void_color": list(self.void_color),
            "source_ids": {str(source): target for source, target in self.source_ids.items()},
        }

    @classmethod
    def from_dict(cls, content: Any, source: str = "label set") -> LabelSet:
        """Build a label set from what `to_dict` returned.

        Args:
            content: Dictionary of plain values.
            source: Name of the content for messages, usually the path of its file.

        Raises:
            CamsegError: a field is missing, unknown, or breaks a rule of the label set.
        """
        return parse(cls, content, source)


def _is_byte(channel: object) -> bool:
    return type(channel) is int and 0 <= channel <= 255


# Sky is (0, 130, 180), not Cityscapes' (70, 130, 180): the published latent space has it so.
CITYSCAPES = LabelSet(
    name="cityscapes",
    names=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    palette=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (0, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
    # Cityscapes' 34 label ids to its 19 training classes (cityscapesScripts, labels.py).
    source_ids={
        7: 0,
        8: 1,
        11: 2,
        12: 3,
        13: 4,
        17: 5,
        19: 6,
        20: 7,
        21: 8,
        22: 9,
        23: 10,
        24: 11,
        25: 12,
        26: 13,
        27: 14,
        28: 15,
        31: 16,
        32: 17,
        33: 18,
    },
)
"""The 19 Cityscapes classes with the palette of the published weights."""

CAMVID = LabelSet(
    name="camvid",
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    # Its label files hold the class ids themselves, and 11 for unlabeled.
    source_ids={**{class_id: class_id for class_id in range(11)}, 11: UNLABELED},
)
"""The 11 classes of CamVid as SegNet (arXiv 1511.00561) distributes and colours it."""
