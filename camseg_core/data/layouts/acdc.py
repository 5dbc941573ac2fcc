# SPDX-License-Identifier: Apache-2.0
"""The layout of ACDC (Sakaridis et al. 2021): fog, night, rain, snow, and clear references.

``rgb_anon/<condition>/<split>/<drive>/*_rgb_anon.png`` with
``gt/<condition>/<split>/<drive>/*_gt_labelIds.png`` are adverse. ``train_ref`` and ``val_ref`` hold
images of the same places in clear weather, ``*_rgb_ref_anon.png`` with ``*_gt_ref_labelIds.png``:
they are the part ``reference`` and are never scored together with the adverse ones.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from camseg_core.data.layouts.cityscapes import LABEL_IDS
from camseg_core.data.layouts.layout import PARTS, Layout, LayoutImage, OfficialCount, subfolders

ADVERSE, REFERENCE = PARTS
CONDITION_FOLDERS = ("fog", "rain", "snow", "night")

_IMAGE = re.compile(
    r"rgb_anon/(fog|rain|snow|night)/([^/]+?)(_ref)?/([^/]+)/([^/]+)_rgb(_ref)?_anon\.png"
)
_FRAME = re.compile(r".*_frame_(\d+)")


def _recognize(home: Path, name: str, split: str) -> LayoutImage | None:
    found = _IMAGE.fullmatch(name)
    if not found:
        return None
    condition, own_split, reference_folder, drive, stem, reference_file = found.groups()
    # Folder and file say it both; one that says it alone must not slip into the adverse part.
    is_reference = bool(reference_folder or reference_file)
    label_name = f"{stem}_gt{reference_file or ''}_labelIds.png"
    folder = f"{own_split}{reference_folder or ''}"
    frame = _FRAME.fullmatch(stem)
    return LayoutImage(
        layout=LAYOUT,
        name=name,
        image=home / name,
        label=home / "gt" / condition / folder / drive / label_name,
        part=REFERENCE if is_reference else ADVERSE,
        condition="clear" if is_reference else condition,
        filed_under=condition,
        sequence=drive,
        frame_index=int(frame[1]) if frame else None,
    )


def _splits(home: Path) -> tuple[str, ...]:
    names = {
        folder.name.removesuffix("_ref")
        for condition in CONDITION_FOLDERS
        for folder in subfolders(home / "rgb_anon" / condition)
    }
    return tuple(sorted(names))


def _folders(home: Path, kind: str, split: str) -> list[Path]:
    return [
        home / kind / condition / name
        for condition in CONDITION_FOLDERS
        for name in (split, f"{split}_ref")
    ]


# The numbers of references are those of the lists of the original project.
_PER_CONDITION = {
    ("train", ADVERSE): dict.fromkeys(CONDITION_FOLDERS, 400),
    ("train", REFERENCE): dict.fromkeys(CONDITION_FOLDERS, 400),
    ("val", ADVERSE): {"fog": 100, "rain": 100, "snow": 100, "night": 106},
    ("val", REFERENCE): {"fog": 50, "rain": 50, "snow": 50, "night": 53},
}

LAYOUT = Layout(
    name="acdc",
    folders=("acdc",),
    home_pattern="rgb_anon/",
    image_form="rgb_anon/<condition>/<split>/<drive>/*_rgb_anon.png",
    label_form="gt/<condition>/<split>/<drive>/*_gt_labelIds.png",
    splits=_splits,
    image_folders=lambda home, split: _folders(home, "rgb_anon", split),
    label_folders=lambda home, split: _folders(home, "gt", split),
    recognize=_recognize,
    labels=replace(LABEL_IDS, owner="acdc"),
    label_endings=("_labelIds.png",),
    companion_endings=("_labelTrainIds.png", "_labelColor.png", "_invIds.png", "_invGray.png"),
    conditions=CONDITION_FOLDERS,
    labels_may_lack=(REFERENCE,),
    official=(
        *(
            OfficialCount(split, sum(frames.values()), part)
            for (split, part), frames in _PER_CONDITION.items()
        ),
        *(
            OfficialCount(split, count, part, condition)
            for (split, part), frames in _PER_CONDITION.items()
            for condition, count in frames.items()
        ),
    ),
)
