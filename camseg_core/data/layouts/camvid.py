# SPDX-License-Identifier: Apache-2.0
"""The layout of CamVid as SegNet distributes it: 480 x 360, 11 classes.

``<split>/<drive>_<frame>.png`` (or ``.jpg``) with ``<split>annot/<drive>_<frame>.png``, which hold
ids 0..10 and 11 for unlabeled.
"""

from __future__ import annotations

import re
from pathlib import Path

from camseg_core.data.label_images import LabelFormat
from camseg_core.data.layouts.layout import Layout, LayoutImage, OfficialCount, subfolders
from camseg_core.labels import CAMVID

_IMAGE = re.compile(r"(train|val|test)/([^/]+)\.(?:png|jpg|jpeg)")
_FRAME = re.compile(r"(.+)_\D*(\d+)")  # 0001TP_006690, 0006R0_f00930
_LABELS = LabelFormat(
    owner="camvid",
    ids=frozenset(range(12)),
    classes=CAMVID,
    source_ids=CAMVID.source_ids,
)


def _recognize(home: Path, name: str, split: str) -> LayoutImage | None:
    found = _IMAGE.fullmatch(name)
    if not found:
        return None
    own_split, stem = found.groups()
    frame = _FRAME.fullmatch(stem)
    return LayoutImage(
        layout=LAYOUT,
        name=name,
        image=home / name,
        label=home / f"{own_split}annot" / f"{stem}.png",
        sequence=frame[1] if frame else "",
        frame_index=int(frame[2]) if frame else None,
    )


def _splits(home: Path) -> tuple[str, ...]:
    names = {folder.name for folder in subfolders(home)}
    return tuple(name for name in ("train", "val", "test") if {name, f"{name}annot"} <= names)


LAYOUT = Layout(
    name="camvid",
    folders=("camvid",),
    home_pattern="*annot/",
    image_form="<split>/<drive>_<frame>.png",
    label_form="<split>annot/<drive>_<frame>.png",
    splits=_splits,
    image_folders=lambda home, split: [home / split],
    label_folders=lambda home, split: [home / f"{split}annot"],
    recognize=_recognize,
    labels=_LABELS,
    official=(OfficialCount("train", 367), OfficialCount("val", 101), OfficialCount("test", 233)),
)
