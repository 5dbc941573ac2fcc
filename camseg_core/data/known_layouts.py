# SPDX-License-Identifier: Apache-2.0
"""The layouts on disk that are known, one for each data set."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from camseg_core.data.label_images import LabelFormat
from camseg_core.data.layout import ADVERSE, REFERENCE, Layout, OfficialCount
from camseg_core.images.reading import IMAGE_SUFFIXES
from camseg_core.labels import CAMVID, CITYSCAPES, COMMA10K
from camseg_core.system.folders import subfolders

LABEL_IDS = LabelFormat("cityscapes", 34, CITYSCAPES, CITYSCAPES.source_ids)
"""The 34 label ids of Cityscapes, 0..33; 255 stands for -1."""

TRAIN_IDS = LabelFormat(
    "cityscapes labelTrainIds", 19, CITYSCAPES, {class_id: class_id for class_id in range(19)}
)
"""The 19 classes of Cityscapes themselves."""


def _first_there(home: Path, *names: str) -> Path:
    """Return the first file that is there; the first of all if none is."""
    paths = [home / name for name in names]
    return next(filter(os.path.isfile, paths), paths[0])


_CITYSCAPES = Layout(
    name="cityscapes",
    folders=("cityscapes",),
    home_pattern="leftImg8bit/",
    image_form="leftImg8bit/<split>/<city>/*_leftImg8bit.png",
    label_form="gtFine/<split>/<city>/*_gtFine_labelIds.png",
    image=re.compile(
        r"leftImg8bit/(?P<folder>[^/]+/(?P<city>[^/]+))/"
        r"(?P<stem>(?P<sequence>[^/]+_\d+)_(?P<frame>\d+)|[^/]+)_leftImg8bit\.png"
    ),
    label=lambda home, said, split: _first_there(
        home / "gtFine" / said["folder"],
        f"{said['stem']}_gtFine_labelIds.png",
        f"{said['stem']}_gtFine_labelTrainIds.png",
    ),
    splits=lambda home: tuple(folder.name for folder in subfolders(home / "leftImg8bit")),
    image_folders=lambda home, split: [home / "leftImg8bit" / split],
    label_folders=lambda home, split: [home / "gtFine" / split],
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
    official=(OfficialCount("train", 2975), OfficialCount("val", 500), OfficialCount("test", 1525)),
)
"""Cityscapes (Cordts et al. 2016). Label files hold the 34 label ids; where an image has no such
file but a ``*_gtFine_labelTrainIds.png`` (0..18), that is read instead."""


_ACDC_CONDITIONS = ("fog", "rain", "snow", "night")


def _acdc_folders(home: Path, kind: str, split: str) -> list[Path]:
    names = (split, f"{split}_ref")
    return [home / kind / condition / name for condition in _ACDC_CONDITIONS for name in names]


# The numbers of references are those of the lists of the original project.
_ACDC_FRAMES = {
    ("train", ADVERSE): dict.fromkeys(_ACDC_CONDITIONS, 400),
    ("train", REFERENCE): dict.fromkeys(_ACDC_CONDITIONS, 400),
    ("val", ADVERSE): {"fog": 100, "rain": 100, "snow": 100, "night": 106},
    ("val", REFERENCE): {"fog": 50, "rain": 50, "snow": 50, "night": 53},
}

_ACDC = Layout(
    name="acdc",
    folders=("acdc",),
    home_pattern="rgb_anon/",
    image_form="rgb_anon/<condition>/<split>/<drive>/*_rgb_anon.png",
    label_form="gt/<condition>/<split>/<drive>/*_gt_labelIds.png",
    image=re.compile(
        rf"rgb_anon/(?P<folder>(?P<condition>{'|'.join(_ACDC_CONDITIONS)})/"
        r"[^/]+?(?:(?P<reference>_ref)|(?<!_ref))/(?P<sequence>[^/]+))/"
        r"(?P<stem>[^/]*_frame_(?P<frame>\d+)|[^/]+)_rgb(?(reference)_ref)_anon\.png"
    ),
    label=lambda home, said, split: (
        home / "gt" / said["folder"] / f"{said['stem']}_gt{said['reference']}_labelIds.png"
    ),
    splits=lambda home: tuple(
        sorted(
            {
                folder.name.removesuffix("_ref")
                for condition in _ACDC_CONDITIONS
                for folder in subfolders(home / "rgb_anon" / condition)
            }
        )
    ),
    image_folders=lambda home, split: _acdc_folders(home, "rgb_anon", split),
    label_folders=lambda home, split: _acdc_folders(home, "gt", split),
    labels=replace(LABEL_IDS, owner="acdc"),
    label_endings=("_labelIds.png",),
    companion_endings=("_labelTrainIds.png", "_labelColor.png", "_invIds.png", "_invGray.png"),
    conditions=_ACDC_CONDITIONS,
    official=(
        *(
            OfficialCount(split, sum(frames.values()), part)
            for (split, part), frames in _ACDC_FRAMES.items()
        ),
        *(
            OfficialCount(split, count, part, condition)
            for (split, part), frames in _ACDC_FRAMES.items()
            for condition, count in frames.items()
        ),
    ),
)
"""ACDC (Sakaridis et al. 2021): fog, night, rain, snow, and clear references.

Images of ``<split>_ref`` folders, whose names end in ``_rgb_ref_anon.png``, show the same places in
clear weather: they are the part ``reference`` and are never scored together with the adverse ones.
"""


KITTI_VAL = frozenset(f"{number:04d}" for number in (2, 6, 7, 8, 10, 13, 14, 16, 18))
KITTI_TRAIN = frozenset(f"{number:04d}" for number in range(21)) - KITTI_VAL


def _kitti_maps(home: Path) -> Path:
    """Return the folder of the labels: the data set's own place, or the original project's."""
    nested = home / "kitti-step" / "panoptic_maps"
    return nested if os.path.isdir(nested) else home / "panoptic_maps"


def _kitti_split(home: Path, sequence: str) -> str:
    """Return the split that has the labels of a sequence: the official one if it has, or none."""
    official = "val" if sequence in KITTI_VAL else "train"  # of KITTI's other sequences too
    holders = [
        folder.name for folder in subfolders(_kitti_maps(home)) if os.path.isdir(folder / sequence)
    ]
    return official if official in holders or not holders else holders[0]


def _kitti_images(home: Path, split: str) -> list[Path]:
    labelled = {folder.name for folder in subfolders(_kitti_maps(home) / split)}
    return [
        folder
        for folder in subfolders(home / "training" / "image_02")
        if folder.name in labelled or _kitti_split(home, folder.name) == split
    ]


_KITTI_STEP = Layout(
    name="kitti-step",
    folders=("semantickitti", "kitti-step", "kitti_step", "kittistep"),
    home_pattern="training/image_02/",
    image_form="training/image_02/<sequence>/<frame>.png",
    label_form="[kitti-step/]panoptic_maps/<split>/<sequence>/<frame>.png",
    image=re.compile(r"training/image_02/(?P<sequence>\d{4})/(?P<frame>\d{6})\.png"),
    label=lambda home, said, split: (
        _kitti_maps(home)
        / (split or _kitti_split(home, said["sequence"]))
        / said["sequence"]
        / f"{said['frame']}.png"
    ),
    splits=lambda home: tuple(folder.name for folder in subfolders(_kitti_maps(home))),
    image_folders=_kitti_images,
    label_folders=lambda home, split: [_kitti_maps(home) / split],
    labels=replace(TRAIN_IDS, owner="kitti-step", channel="red"),
    official=(OfficialCount("train", 5027), OfficialCount("val", 2981)),
    official_sequences={"train": KITTI_TRAIN, "val": KITTI_VAL},
)
"""KITTI-STEP (Weber et al. 2021): labelled drives of KITTI tracking.

The images of both splits lie in one folder: the folder that holds a sequence's labels tells its
split, and the official list if none does. In a label file R is the class (0..18 or 255) and
G * 256 + B the instance: only R counts.
"""


CADEDGETUNE_SEQUENCES = frozenset(f"SEQ{number}" for number in range(1, 18) if number != 14)
CADEDGETUNE_VAL = frozenset({"SEQ1", "SEQ11", "SEQ12", "SEQ13"})


def _cadedgetune_folders(home: Path, kind: str, split: str) -> list[Path]:
    return [
        folder / kind
        for folder in subfolders(home)
        if re.fullmatch(r"SEQ\d+", folder.name)
        and (split in ("train", "all") or (split == "val") == (folder.name in CADEDGETUNE_VAL))
    ]


_CADEDGETUNE = Layout(
    name="cadedgetune",
    folders=("cadedgetune", "cad-edgetune"),
    home_pattern="SEQ*/Images/",
    image_form="SEQ<n>/Images/frame<number>.jpg",
    label_form="SEQ<n>/LabelMasks/frame<number>_label_mask.png",
    image=re.compile(r"(?P<sequence>SEQ\d+)/Images/(?P<stem>[^/]*?(?P<frame>\d+))\.jpg"),
    label=lambda home, said, split: (
        home / said["sequence"] / "LabelMasks" / f"{said['stem']}_label_mask.png"
    ),
    splits=lambda home: ("all", "train", "train-only", "val"),
    image_folders=lambda home, split: _cadedgetune_folders(home, "Images", split),
    label_folders=lambda home, split: _cadedgetune_folders(home, "LabelMasks", split),
    labels=replace(LABEL_IDS, owner="cadedgetune"),
    label_endings=("_label_mask.png",),
    official=(
        OfficialCount("all", 1508),
        OfficialCount("train", 1508),
        OfficialCount("train-only", 1063),
        OfficialCount("val", 445),
    ),
    official_sequences={
        "all": CADEDGETUNE_SEQUENCES,
        "train": CADEDGETUNE_SEQUENCES,
        "train-only": CADEDGETUNE_SEQUENCES - CADEDGETUNE_VAL,
        "val": CADEDGETUNE_VAL,
    },
    cautions={
        "train": "the published train list is the whole set and holds every frame of val; "
        "train on the split 'train-only' if you score on val"
    },
)
"""CAD-EdgeTune: 16 drives of a small robot on a campus, with the 34 label ids of Cityscapes.

The tree has no split folders; the splits are those of the lists of the original project, whose
train list is the whole set, and one of ours, ``train-only``, which is what is not in ``val``.
"""


def _camvid_splits(home: Path) -> tuple[str, ...]:
    names = {folder.name for folder in subfolders(home)}
    return tuple(name for name in ("train", "val", "test") if {name, f"{name}annot"} <= names)


_CAMVID = Layout(
    name="camvid",
    folders=("camvid",),
    home_pattern="*annot/",
    image_form="<split>/<drive>_<frame>.png",
    label_form="<split>annot/<drive>_<frame>.png",
    image=re.compile(
        r"(?P<split>train|val|test)/"
        r"(?P<stem>(?P<sequence>[^/]+)_[^\d/]*(?P<frame>\d+)|[^/]+)"  # 0001TP_006690, 0006R0_f00930
        r"\.(?:png|jpg|jpeg)"
    ),
    label=lambda home, said, split: home / f"{said['split']}annot" / f"{said['stem']}.png",
    splits=_camvid_splits,
    image_folders=lambda home, split: [home / split],
    label_folders=lambda home, split: [home / f"{split}annot"],
    labels=LabelFormat("camvid", 12, CAMVID, CAMVID.source_ids),
    official=(OfficialCount("train", 367), OfficialCount("val", 101), OfficialCount("test", 233)),
)
"""CamVid as SegNet distributes it: 480 x 360, 11 classes. Label files hold the ids 0..10 and 11
for unlabeled."""


_COMMA10K = Layout(
    name="comma10k",
    folders=("comma10k",),
    home_pattern="masks/",
    image_form="imgs/<name>.png",
    label_form="masks/<name>.png",
    image=re.compile(r"imgs/(?P<stem>[^/]+)\.png"),
    label=lambda home, said, split: home / "masks" / f"{said['stem']}.png",
    splits=lambda home: ("all", "train", "val"),
    image_folders=lambda home, split: [home / "imgs"],
    label_folders=lambda home, split: [home / "masks"],
    in_split=lambda split, name: split == "all" or (split == "val") == name.endswith("9.png"),
    labels=LabelFormat("comma10k", 5, COMMA10K, COMMA10K.source_ids, channel="color"),
)
"""comma10k (github.com/commaai/comma10k, MIT): five classes, masks in colours. By its own rule,
images whose names end in ``9.png`` are for validation."""


def _pair_folders(home: Path, kind: str, split: str) -> list[Path]:
    return [home / kind if split == "all" else home / kind / split]


FOLDER_PAIR = Layout(
    name="folder",
    folders=(),
    home_pattern="images/",
    image_form="images/<any path>.<jpg, png, ...>",
    label_form="labels/<the same path>.png",
    image=re.compile(
        r"images/(?:(?P<sequence>.+)/)?(?P<stem>[^/]+)"
        rf"(?i:{'|'.join(map(re.escape, IMAGE_SUFFIXES))})",
        re.DOTALL,
    ),
    label=lambda home, said, split: home / "labels" / said["sequence"] / f"{said['stem']}.png",
    splits=lambda home: ("all", *(folder.name for folder in subfolders(home / "images"))),
    image_folders=lambda home, split: _pair_folders(home, "images", split),
    label_folders=lambda home, split: _pair_folders(home, "labels", split),
    labels=LabelFormat("folder"),
)
"""Anyone's own data: a folder ``images`` and beside it a folder ``labels``.

``images/a/b.jpg`` has the label ``labels/a/b.png``: the same path with another suffix, at any
depth. Labels hold the class ids of the label set, or what its ``source_ids`` lists; 255 is
unlabeled. The split ``all`` is everything, any other is the folder of that name in ``images``.
"""


LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        _CITYSCAPES,
        _ACDC,
        _KITTI_STEP,
        _CADEDGETUNE,
        FOLDER_PAIR,  # in lists before CamVid, whose names say less
        _CAMVID,
        _COMMA10K,
    )
}
"""Name -> layout. The lines of a list may have any of these, tried in this order."""
