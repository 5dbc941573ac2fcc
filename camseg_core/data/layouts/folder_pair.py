# SPDX-License-Identifier: Apache-2.0
"""The layout of anyone's own data: a folder ``images`` and beside it a folder ``labels``.

``images/a/b.jpg`` has the label ``labels/a/b.png``: the same path with another suffix, at any
depth. Labels hold the class ids of the label set, or what its ``source_ids`` lists; 255 is
unlabeled. The split ``all`` is everything, any other is the folder of that name in ``images``.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from camseg_core.data.label_images import LabelFormat
from camseg_core.data.layouts.layout import Layout, LayoutImage, subfolders
from camseg_core.images.reading import IMAGE_SUFFIXES

ALL = "all"


def _recognize(home: Path, name: str, split: str) -> LayoutImage | None:
    path = PurePosixPath(name)
    if path.parts[0] != "images" or len(path.parts) < 2:
        return None
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    inside = PurePosixPath(*path.parts[1:])
    return LayoutImage(
        layout=LAYOUT,
        name=name,
        image=home / path,
        label=home / "labels" / inside.with_suffix(".png"),
        sequence="" if inside.parent == PurePosixPath() else inside.parent.as_posix(),
    )


def _inside(folder: Path, split: str) -> list[Path]:
    return [folder if split == ALL else folder / split]


LAYOUT = Layout(
    name="folder",
    folders=(),
    home_pattern="images/",
    image_form="images/<any path>.<jpg, png, ...>",
    label_form="labels/<the same path>.png",
    splits=lambda home: (ALL, *(folder.name for folder in subfolders(home / "images"))),
    image_folders=lambda home, split: _inside(home / "images", split),
    label_folders=lambda home, split: _inside(home / "labels", split),
    recognize=_recognize,
    labels=LabelFormat(owner="folder"),
)
