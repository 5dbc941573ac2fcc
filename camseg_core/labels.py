# SPDX-License-Identifier: Apache-2.0
"""Label sets: class ids, names, palettes and the tables between them.

Shapes: H, W = image size; C = number of classes. Class ids are uint8, 0..C-1; 255 is unlabeled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from camseg_core.errors import CamsegError
from camseg_core.system.validation import parse

UNLABELED = 255
"""Class id of a pixel that has no class."""

MAX_CLASSES = 255
"""Largest number of classes: class ids are bytes, and 255 means unlabeled."""

Channel = Annotated[int, Field(ge=0, le=255)]
Color = tuple[Channel, Channel, Channel]
"""Red, green and blue, 0..255."""


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
    palette: tuple[Color, ...]
    void_color: Color = (0, 0, 0)
    source_ids: dict[int, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check the rules that every reader of a label set relies on."""
        classes, colors = len(self.names), {*self.palette, self.void_color}
        known = {*range(classes), UNLABELED}
        bad = [f"{one} to {to}" for one, to in self.source_ids.items() if to not in known]
        if not 1 <= classes <= MAX_CLASSES:
            problem = f"has {classes} classes; 1 to {MAX_CLASSES} fit"
        elif classes != len(self.palette):
            problem = f"has {classes} names but {len(self.palette)} colours; a class needs both"
        elif len(set(self.names)) < classes:
            problem = "repeats a class name"
        elif len(colors) <= classes:
            problem = "repeats a colour (void has one too)"
        elif bad:
            problem = f"maps id {bad[0]}; class ids are 0..{classes - 1} or {UNLABELED}"
        else:
            return
        raise CamsegError(f"label set {self.name!r} {problem}")

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
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content

    def described(self) -> dict[str, Any]:
        """Return what the class ids mean as plain data for JSON: names and colours by id."""
        classes = zip(self.names, self.palette, strict=True)
        return {
            "label_set": self.name,
            "unlabeled": UNLABELED,
            "classes": [
                {"id": class_id, "name": name, "color": list(color)}
                for class_id, (name, color) in enumerate(classes)
            ],
        }

    @classmethod
    def from_dict(cls, content: Any, source: str = "label set") -> LabelSet:
        """Build a label set from what `to_dict` returned; ``source`` names it in messages.

        Raises:
            CamsegError: a field is missing, unknown, or breaks a rule of the label set.
        """
        return parse(cls, content, source)


def _label_set(
    name: str, classes: Sequence[tuple[str, Color]], source_ids: Mapping[int, int]
) -> LabelSet:
    names, palette = zip(*classes, strict=True)
    return LabelSet(name, names, palette, source_ids=dict(source_ids))


_CITYSCAPES_CLASSES = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (0, 130, 180)),  # Cityscapes has (70, 130, 180); the published latent space, this
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
"""Label id (of 34; cityscapesScripts, labels.py), name and colour of each training class."""

CITYSCAPES = _label_set(
    "cityscapes",
    [(name, color) for _, name, color in _CITYSCAPES_CLASSES],
    {label_id: class_id for class_id, (label_id, _, _) in enumerate(_CITYSCAPES_CLASSES)},
)
"""The 19 Cityscapes classes with the palette of the published weights."""

CAMVID = _label_set(
    "camvid",
    [
        ("sky", (128, 128, 128)),
        ("building", (128, 0, 0)),
        ("pole", (192, 192, 128)),
        ("road", (128, 64, 128)),
        ("pavement", (60, 40, 222)),
        ("tree", (128, 128, 0)),
        ("sign", (192, 128, 128)),
        ("fence", (64, 64, 128)),
        ("car", (64, 0, 128)),
        ("pedestrian", (64, 64, 0)),
        ("bicyclist", (0, 128, 192)),
    ],
    # Its label files hold the class ids themselves, and 11 for unlabeled.
    {**{class_id: class_id for class_id in range(11)}, 11: UNLABELED},
)
"""The 11 classes of CamVid as SegNet (arXiv 1511.00561) distributes and colours it."""

COMMA10K = _label_set(
    "comma10k",
    [
        ("road", (64, 32, 32)),
        ("lane markings", (255, 0, 0)),
        ("undrivable", (128, 128, 96)),
        ("movable", (0, 255, 102)),
        ("my car", (204, 0, 255)),
    ],
    {class_id: class_id for class_id in range(5)},  # its masks are read by their colours
)
"""The five classes of comma10k, with the colours of its masks."""
