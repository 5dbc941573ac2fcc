# SPDX-License-Identifier: Apache-2.0
"""Small data set trees with the official names. Each function gives the data set's own folder.

Images are noise; a label's ids are those of its layout in turn, so that every id occurs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from camseg_core.labels import COMMA10K

Builder = Callable[..., Path]

SIZE = (6, 40)  # height, width; more pixels than any layout has ids

CITYSCAPES_IDS = (*range(34), 255)
TRAIN_IDS = (*range(19), 255)
CAMVID_IDS = tuple(range(12))

KITTI_SPLIT_SEQUENCES = {"train": ("0000", "0001"), "val": ("0002", "0018")}
CADEDGETUNE_SEQUENCES = ("SEQ1", "SEQ2", "SEQ11", "SEQ17")  # SEQ1 and SEQ11 are val
CONDITIONS = ("fog", "rain", "snow", "night")

# What the original project's YAML files look like: id of a label file -> 0 or 1 + class.
LEARNING_MAP = (
    "learning_map:\n  7 : 1\n  8 : 2\n  9 : 0\n  33: 19\n  -1: 0\nname:\n  0 : unlabeled\n"
)


def write_image(path: Path, size: tuple[int, int] = SIZE) -> Path:
    """Write noise, the same for the same file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


def write_ids(path: Path, ids: np.ndarray[Any, Any]) -> Path:
    """Write ids [H, W] as 8-bit grey, or R, G, B [H, W, 3] as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.uint8)).save(path)
    return path


def cycle(ids: Iterable[int], size: tuple[int, int] = SIZE) -> np.ndarray[Any, Any]:
    """Return ids in turn, uint8 [H, W]."""
    height, width = size
    return np.resize(np.array([*ids], np.uint8), (height, width))


def cityscapes(
    home: Path,
    splits: Iterable[str] = ("train", "val"),
    cities: Iterable[str] = ("aachen", "bochum"),
    frames: int = 2,
    size: tuple[int, int] = SIZE,
) -> Path:
    for split in splits:
        for city in cities:
            for frame in range(frames):
                stem = f"{city}_{frame:06d}_000019"
                write_image(home / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", size)
                label = home / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png"
                write_ids(label, cycle(CITYSCAPES_IDS, size))
    return home


def acdc(
    home: Path,
    splits: Iterable[str] = ("train", "val"),
    conditions: Iterable[str] = CONDITIONS,
    frames: int = 2,
    references: int = 2,
    reference_labels: int = 1,
) -> Path:
    """As published, some references have no label."""
    for split in splits:
        for condition in conditions:
            for index in range(frames):
                stem = f"GOPR0475_frame_{index:06d}"
                drive = Path(condition, split, "GOPR0475")
                write_image(home / "rgb_anon" / drive / f"{stem}_rgb_anon.png")
                write_ids(home / "gt" / drive / f"{stem}_gt_labelIds.png", cycle(CITYSCAPES_IDS))
            for index in range(references):
                stem = f"GOPR0475_frame_{index:06d}"
                drive = Path(condition, f"{split}_ref", "GOPR0475")
                write_image(home / "rgb_anon" / drive / f"{stem}_rgb_ref_anon.png")
                if index < reference_labels:
                    label = home / "gt" / drive / f"{stem}_gt_ref_labelIds.png"
                    write_ids(label, cycle(CITYSCAPES_IDS))
    return home


def kitti_step(home: Path, frames: int = 2, *, nested: bool = True) -> Path:
    """``nested`` puts the labels below kitti-step/, as the original project does."""
    maps = home / "kitti-step" / "panoptic_maps" if nested else home / "panoptic_maps"
    for split, sequences in KITTI_SPLIT_SEQUENCES.items():
        for sequence in sequences:
            for frame in range(frames):
                name = f"{frame:06d}.png"
                write_image(home / "training" / "image_02" / sequence / name)
                classes = cycle(TRAIN_IDS)
                instances = np.arange(classes.size, dtype=np.uint8).reshape(classes.shape)
                panoptic = np.stack([classes, instances // 7, instances], axis=-1)
                write_ids(maps / split / sequence / name, panoptic)
    return home


def cadedgetune(
    home: Path, sequences: Iterable[str] = CADEDGETUNE_SEQUENCES, frames: int = 2
) -> Path:
    for sequence in sequences:
        for frame in range(1, frames + 1):
            write_image(home / sequence / "Images" / f"frame{frame:04d}.jpg")
            label = home / sequence / "LabelMasks" / f"frame{frame:04d}_label_mask.png"
            write_ids(label, cycle(CITYSCAPES_IDS))
    return home


def camvid(
    home: Path,
    splits: Iterable[str] = ("train", "val", "test"),
    stems: Iterable[str] = ("0001TP_006690", "0006R0_f00930", "Seq05VD_f00000"),
    suffix: str = ".png",
) -> Path:
    for split in splits:
        for stem in stems:
            write_image(home / split / f"{stem}{suffix}")
            write_ids(home / f"{split}annot" / f"{stem}.png", cycle(CAMVID_IDS))
    return home


def comma10k(
    home: Path, stems: Iterable[str] = ("0000_a_1_019", "0001_b_2_9", "0002_c_3_10")
) -> Path:
    colors = [*COMMA10K.palette, COMMA10K.void_color]
    for stem in stems:
        write_image(home / "imgs" / f"{stem}.png")
        write_ids(home / "masks" / f"{stem}.png", np.array(colors)[cycle(range(6))])
    return home


def folder_pair(
    home: Path,
    names: Iterable[str] = ("a.jpg", "val/b.png", "val/deep/c.JPG"),
    ids: Iterable[int] = (0, 1, 255),
) -> Path:
    for name in names:
        write_image(home / "images" / name)
        write_ids((home / "labels" / name).with_suffix(".png"), cycle(ids))
    return home


BUILDERS: dict[str, Builder] = {
    "cityscapes": cityscapes,
    "acdc": acdc,
    "kitti-step": kitti_step,
    "cadedgetune": cadedgetune,
    "camvid": camvid,
    "folder": folder_pair,
    "comma10k": comma10k,
}
"""Name of a data set -> function that makes a small tree of it."""


def random_pairs(home: Path, count: int) -> Path:
    """Images of 48 x 32 and labels without any sense, the same for the same index."""
    for index in range(count):
        rng = np.random.default_rng(index)
        for kind, pixels in (
            ("images", rng.integers(0, 256, (32, 48, 3), np.uint8)),
            ("labels", rng.integers(0, 19, (32, 48), np.uint8)),
        ):
            (home / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(home / kind / f"{index}.png")
    return home


def write_list(path: Path, lines: Iterable[str], ending: str = "\n", last: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((ending.join(lines) + last).encode())
    return path


def original_project(root: Path) -> Path:
    """The four data sets below ``dataset/`` with lists and YAML files as that project has them.

    Gives the folder above ``dataset/``.
    """
    folder = root / "dataset"
    cityscapes(folder / "CityScapes")
    acdc(folder / "ACDC")
    kitti_step(folder / "SemanticKitti")
    cadedgetune(folder / "CADEdgeTune")

    def names(pattern: str, prefix: str = "") -> list[str]:
        found = [prefix + path.relative_to(root).as_posix() for path in folder.glob(pattern)]
        return sorted(found, reverse=True)  # theirs are shuffled

    for split in ("train", "val"):
        lines = names(f"CityScapes/leftImg8bit/{split}/*/*.png", "./")
        write_list(folder / "CityScapes" / f"{split}list.txt", lines, last="")
        sequences = KITTI_SPLIT_SEQUENCES[split]
        lines = [
            line for line in names("SemanticKitti/training/*/*/*") if line[-15:-11] in sequences
        ]
        write_list(folder / "SemanticKitti" / f"{split}list.txt", lines)
    for condition in CONDITIONS:
        # Those with a label only.
        lines = [
            line
            for line in names(f"ACDC/rgb_anon/{condition}/val*/*/*.png")
            if not line.endswith("000001_rgb_ref_anon.png")
        ]
        write_list(folder / "ACDC" / f"vallist_{condition}.txt", lines)
    whole = names("CADEdgeTune/SEQ*/Images/*")
    write_list(folder / "CADEdgeTune" / "all.txt", whole)
    lines = [f"./{line}" for line in whole]
    write_list(folder / "CADEdgeTune" / "trainlist.txt", lines, last="")
    lines = [line for line in whole if "/SEQ1/" in line or "/SEQ11/" in line]
    write_list(folder / "CADEdgeTune" / "vallist.txt", lines, last="")
    for name in ("CityScapes/cityscape", "ACDC/acdc", "CADEdgeTune/cadedgetune"):
        (folder / f"{name}.yaml").write_text(LEARNING_MAP)
    return root
