# SPDX-License-Identifier: Apache-2.0
"""The layout of CAD-EdgeTune: 16 drives of a small robot on a campus.

``SEQ<n>/Images/frame<number>.jpg`` with ``SEQ<n>/LabelMasks/frame<number>_label_mask.png``, which
hold Cityscapes' 34 label ids. The tree has no split folders; the splits are those of the lists of
the original project, whose train list is the whole set, and one of ours that leaves val out.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from camseg_core.data.layouts.cityscapes import LABEL_IDS
from camseg_core.data.layouts.layout import Layout, LayoutImage, OfficialCount, subfolders

SEQUENCES = frozenset(f"SEQ{number}" for number in range(1, 18) if number != 14)
VAL_SEQUENCES = frozenset({"SEQ1", "SEQ11", "SEQ12", "SEQ13"})
SPLITS = ("all", "train", "train-only", "val")
"""``train`` and ``all`` are the same 1508 frames; ``train-only`` is what is not in ``val``."""

_IMAGE = re.compile(r"(SEQ\d+)/Images/([^/]*?(\d+))\.jpg")


def _recognize(home: Path, name: str, split: str) -> LayoutImage | None:
    found = _IMAGE.fullmatch(name)
    if not found:
        return None
    sequence, stem, frame = found.groups()
    return LayoutImage(
        layout=LAYOUT,
        name=name,
        image=home / name,
        label=home / sequence / "LabelMasks" / f"{stem}_label_mask.png",
        sequence=sequence,
        frame_index=int(frame),
    )


def _sequences(home: Path, split: str) -> list[Path]:
    return [
        folder
        for folder in subfolders(home)
        if re.fullmatch(r"SEQ\d+", folder.name)
        and (split in ("train", "all") or (split == "val") == (folder.name in VAL_SEQUENCES))
    ]


LAYOUT = Layout(
    name="cadedgetune",
    folders=("cadedgetune", "cad-edgetune"),
    home_pattern="SEQ*/Images/",
    image_form="SEQ<n>/Images/frame<number>.jpg",
    label_form="SEQ<n>/LabelMasks/frame<number>_label_mask.png",
    splits=lambda home: SPLITS,
    image_folders=lambda home, split: [path / "Images" for path in _sequences(home, split)],
    label_folders=lambda home, split: [path / "LabelMasks" for path in _sequences(home, split)],
    recognize=_recognize,
    labels=replace(LABEL_IDS, owner="cadedgetune"),
    label_endings=("_label_mask.png",),
    official=(
        OfficialCount("all", 1508),
        OfficialCount("train", 1508),
        OfficialCount("train-only", 1063),
        OfficialCount("val", 445),
    ),
    official_sequences={
        "all": SEQUENCES,
        "train": SEQUENCES,
        "train-only": SEQUENCES - VAL_SEQUENCES,
        "val": VAL_SEQUENCES,
    },
    cautions={
        "train": "the published train list is the whole set and holds every frame of val; "
        "train on the split 'train-only' if you score on val"
    },
)
