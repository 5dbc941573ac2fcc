# SPDX-License-Identifier: Apache-2.0
"""The layout of KITTI-STEP (Weber et al. 2021): labelled drives of KITTI tracking.

``training/image_02/<sequence>/<frame>.png`` with ``panoptic_maps/<split>/<sequence>/<frame>.png``,
the latter also below ``kitti-step/``. The images of both splits lie in one folder: the folder that
holds a sequence's labels tells its split, and the official list if none does. In a label file
R is the class (0..18 or 255) and G * 256 + B the instance: only R counts.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from camseg_core.data.label_images import LabelFormat
from camseg_core.data.layouts.layout import Layout, LayoutImage, OfficialCount, subfolders
from camseg_core.labels import CITYSCAPES

VAL_SEQUENCES = frozenset(f"{number:04d}" for number in (2, 6, 7, 8, 10, 13, 14, 16, 18))
TRAIN_SEQUENCES = frozenset(f"{number:04d}" for number in range(21)) - VAL_SEQUENCES

_IMAGE = re.compile(r"training/image_02/(\d{4})/(\d{6})\.png")
_LABELS = LabelFormat(
    owner="kitti-step",
    ids=frozenset(range(19)),
    classes=CITYSCAPES,
    source_ids={class_id: class_id for class_id in range(19)},
    channel="red",
)


def _maps(home: Path) -> Path:
    """Return the folder of the labels: the data set's own place, or the original project's."""
    nested = home / "kitti-step" / "panoptic_maps"
    return nested if os.path.isdir(nested) else home / "panoptic_maps"


def _split_of(home: Path, sequence: str) -> str:
    official = "val" if sequence in VAL_SEQUENCES else "train"  # of KITTI's other sequences too
    if os.path.isdir(_maps(home) / official / sequence):
        return official
    holders = [
        folder.name for folder in subfolders(_maps(home)) if os.path.isdir(folder / sequence)
    ]
    return holders[0] if holders else official


def _recognize(home: Path, name: str, split: str) -> LayoutImage | None:
    found = _IMAGE.fullmatch(name)
    if not found:
        return None
    sequence, frame = found.groups()
    return LayoutImage(
        layout=LAYOUT,
        name=name,
        image=home / name,
        label=_maps(home) / (split or _split_of(home, sequence)) / sequence / f"{frame}.png",
        sequence=sequence,
        frame_index=int(frame),
    )


def _image_folders(home: Path, split: str) -> list[Path]:
    labelled = {folder.name for folder in subfolders(_maps(home) / split)}
    return [
        folder
        for folder in subfolders(home / "training" / "image_02")
        if folder.name in labelled or _split_of(home, folder.name) == split
    ]


LAYOUT = Layout(
    name="kitti-step",
    folders=("semantickitti", "kitti-step", "kitti_step", "kittistep"),
    home_pattern="training/image_02/",
    image_form="training/image_02/<sequence>/<frame>.png",
    label_form="[kitti-step/]panoptic_maps/<split>/<sequence>/<frame>.png",
    splits=lambda home: tuple(folder.name for folder in subfolders(_maps(home))),
    image_folders=_image_folders,
    label_folders=lambda home, split: [_maps(home) / split],
    recognize=_recognize,
    labels=_LABELS,
    official=(OfficialCount("train", 5027), OfficialCount("val", 2981)),
    official_sequences={"train": TRAIN_SEQUENCES, "val": VAL_SEQUENCES},
)
