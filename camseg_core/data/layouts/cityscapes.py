# SPDX-License-Identifier: Apache-2.0
"""The layout of Cityscapes (Cordts et al. 2016).

``leftImg8bit/<split>/<city>/*_leftImg8bit.png`` with
``gtFine/<split>/<city>/*_gtFine_labelIds.png``, which hold the 34 label ids. Where an image has no
such file but a ``*_gtFine_labelTrainIds.png`` (0..18), that is read instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from camseg_core.data.label_images import LabelFormat
from camseg_core.data.layouts.layout import Layout, LayoutImage, OfficialCount, subfolders
from camseg_core.labels import CITYSCAPES

LABEL_IDS = LabelFormat(
    owner="cityscapes",
    ids=frozenset(range(34)),
    classes=CITYSCAPES,
    source_ids=CITYSCAPES.source_ids,
)
"""The 34 label ids, 0..33; 255 stands for -1."""

TRAIN_IDS = LabelFormat(
    owner="cityscapes labelTrainIds",
    ids=frozenset(range(19)),
    classes=CITYSCAPES,
    source_ids={class_id: class_id for class_id in range(19)},
)
"""The 19 classes themselves."""

_IMAGE = re.compile(r"leftImg8bit/([^/]+)/([^/]+)/([^/]+)_leftImg8bit\.png")
_FRAME = re.compile(r"(.+_\d+)_(\d+)")  # <city>_<drive>_<frame>


def _recognize(home: Path, name: str, split: str) -> LayoutImage | None:
    found = _IMAGE.fullmatch(name)
    if not found:
        return None
    own_split, city, stem = found.groups()
    folder = home / "gtFine" / own_split / city
    label = folder / f"{stem}_gtFine_labelIds.png"
    train_label = folder / f"{stem}_gtFine_labelTrainIds.png"
    if not os.path.isfile(label) and os.path.isfile(train_label):
        label = train_label
    frame = _FRAME.fullmatch(stem)
    return LayoutImage(
        layout=LAYOUT,
        name=name,
        image=home / name,
        label=label,
        sequence=frame[1] if frame else city,
        frame_index=int(frame[2]) if frame else None,
    )


def _splits(home: Path) -> tuple[str, ...]:
    return tuple(folder.name for folder in subfolders(home / "leftImg8bit"))


LAYOUT = Layout(
    name="cityscapes",
    folders=("cityscapes",),
    home_pattern="leftImg8bit/",
    image_form="leftImg8bit/<split>/<city>/*_leftImg8bit.png",
    label_form="gtFine/<split>/<city>/*_gtFine_labelIds.png",
    splits=_splits,
    image_folders=lambda home, split: [home / "leftImg8bit" / split],
    label_folders=lambda home, split: [home / "gtFine" / split],
    recognize=_recognize,
    labels=LABEL_IDS,
    other_labels={"_labelTrainIds.png": TRAIN_IDS},
    label_endings=("_gtFine_labelIds.png",),
    companion_endings=(
        "_gtFine_labelTrainIds.png",
        "_gtFine_color.png",
        "_gtFine_instanceIds.png",
        "_gtFine_instanceTrainIds.png",
        "_gtFine_polygons.json",
    ),
    official=(
        OfficialCount("train", 2975),
        OfficialCount("val", 500),
        OfficialCount("test", 1525),
    ),
)
