# SPDX-License-Identifier: Apache-2.0
"""Label files: pixel types that are read and refused, ids outside the table, which table counts."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from PIL import Image

from camseg_core.data.known_layouts import LABEL_IDS, LAYOUTS
from camseg_core.data.known_layouts import TRAIN_IDS as TRAIN_ID_FILES
from camseg_core.data.label_images import LabelFormat, class_table, read_class_ids, read_ids
from camseg_core.data.label_set_files import LABEL_SETS, find_label_set
from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES, LabelSet

CITY = LABEL_IDS
KITTI = LAYOUTS["kitti-step"].labels
CAMVID_FORMAT = LAYOUTS["camvid"].labels
FOLDER = LAYOUTS["folder"].labels
TRAIN_IDS = find_label_set("cityscapes-train-ids")

TWO = LabelSet("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)))

IDS = np.array([[7, 8, 0], [33, 26, 255]], np.uint8)


def png(width: int, height: int, depth: int, color_type: int, rows: bytes) -> bytes:
    """Write a PNG by hand: for pixel types that no library writes readily."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def refusal(path: Path, label_format: LabelFormat = CITY) -> str:
    with pytest.raises(CamsegError) as caught:
        read_ids(path, label_format)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_grey_values_are_ids(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IDS).save(path)
    ids = read_ids(path, CITY)
    assert ids.dtype == np.uint8
    assert ids.tolist() == IDS.tolist()
    class_ids = read_class_ids(CITY, path, CITYSCAPES)
    assert class_ids.dtype == np.uint8
    assert class_ids.tolist() == [[0, 1, 255], [18, 13, 255]]


def test_only_red_counts_in_panoptic_maps(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    red = np.array([[0, 18, 255]], np.uint8)
    other = np.array([[7, 255, 3]], np.uint8)
    Image.fromarray(np.stack([red, other, other[:, ::-1]], axis=-1)).save(path)
    class_ids = read_class_ids(KITTI, path, CITYSCAPES)
    assert class_ids.tolist() == [[0, 18, 255]]
    assert class_ids.flags.c_contiguous


def test_pil_would_read_sixteen_bits_of_rgb_as_eight(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(1, 1, 16, 2, bytes([0, 0, 1, 0, 2, 0, 3])))
    assert Image.open(path).mode == "RGB"
    assert refusal(path, KITTI) == (
        f"{path} is 16-bit RGB; label files of kitti-step are 8-bit RGB: R is the class id (only "
        "the original panoptic maps are read)"
    )


@pytest.mark.parametrize(
    ("depth", "color_type", "found", "advice"),
    [
        (16, 0, "16-bit grey", "; write it again as uint8"),
        (1, 0, "1-bit grey", "; write it again as uint8"),
        (4, 0, "4-bit grey", "; write it again as uint8"),  # PIL would read 1 as 17
        (8, 3, "8-bit palette", ". If its palette indices are the ids, convert it: Image.fr"),
        (8, 2, "8-bit RGB", "; colours are not read as classes"),
        (8, 6, "8-bit RGB with alpha", "; colours are not read as classes"),
        (8, 4, "8-bit grey with alpha", "; colours are not read as classes"),
    ],
)
def test_other_pixel_types_are_refused(
    tmp_path: Path, depth: int, color_type: int, found: str, advice: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, depth, color_type, b""))
    assert refusal(path).startswith(
        f"{path} is {found}; label files of cityscapes are 8-bit grey: the grey value is the "
        f"id{advice}"
    )
    if color_type != 2:
        text = f"{path} is {found}; label files of kitti-step are 8-bit RGB: R is the class id"
        assert refusal(path, KITTI).startswith(text)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "bmp", "gif"])
def test_another_format_under_a_png_name_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IDS).save(tmp_path / f"a.{suffix}")
    (tmp_path / f"a.{suffix}").rename(path)
    assert refusal(path).startswith(f"{path} is not a PNG file, which labels are")


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 34, (60, 80), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert str(path) in refusal(path)


@pytest.mark.parametrize(
    ("side", "reason"),
    [
        (4, "is damaged: its 68 bytes are no whole PNG file"),
        (10_000, "is 10000 x 10000 pixels; 64 megapixels are the most"),
        (100_000, "has far more than 64 megapixels"),
    ],
    ids=["damaged", "large", "bomb"],
)
def test_a_file_that_is_not_whole_or_too_large_is_refused(
    tmp_path: Path, side: int, reason: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(side, side, 8, 0, b"\0\1\2"))  # three bytes are too few pixels
    assert refusal(path) == f"{path} {reason}"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.png").startswith(f"cannot read {tmp_path}/none.png: No such")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([7, 34, 34, 200, 255], "id 34 (2 pixels), 200 (1 pixel); ids of cityscapes label files a"),
        (
            range(100, 110),
            "id 100 (1 pixel), 101 (1 pixel), 102 (1 pixel), 103 (1 pixel), 104 (1 pixel) and 5 "
            "more; ids of cityscapes label files are 0..33, 255",
        ),
    ],
    ids=["few", "many"],
)
def test_ids_outside_the_table_are_counted(
    tmp_path: Path, ids: Sequence[int], message: str
) -> None:
    path = trees.write_ids(tmp_path / "a.png", np.array([ids]))
    with pytest.raises(CamsegError) as caught:
        read_class_ids(CITY, path, CITYSCAPES)
    assert str(caught.value).startswith(f"{path} holds {message}")


@pytest.mark.parametrize(
    "label_set",
    [CITYSCAPES, TRAIN_IDS, replace(CITYSCAPES, name="other", palette=CITYSCAPES.palette[::-1])],
)
@pytest.mark.parametrize("label_format", [CITY, TRAIN_ID_FILES, KITTI])
def test_own_classes_are_read_by_the_layouts_own_table(
    label_format: LabelFormat, label_set: LabelSet
) -> None:
    """Whichever table of ids the label set brings: a model's label set is that of its training."""
    class_ids = class_table(label_format, label_set).class_ids
    if label_format is CITY:
        assert class_ids[[0, 6, 7, 8, 33, 34, 255]].tolist() == [255, 255, 0, 1, 18, 255, 255]
    else:
        assert class_ids[[0, 6, 18, 19, 255]].tolist() == [0, 6, 18, 255, 255]


def test_a_users_classes_are_read_by_the_users_table() -> None:
    user = replace(TWO, source_ids={7: 0, 8: 0, 26: 1, -1: 255})
    table = class_table(CITY, user)
    assert table.class_ids[[7, 8, 26, 0, 255]].tolist() == [0, 0, 1, 255, 255]
    assert np.flatnonzero(table.known).tolist() == [*range(34), 255]
    assert np.flatnonzero(table.listed).tolist() == [7, 8, 26, 255]
    # The 19 names with another table is a user's label set.
    changed = replace(CITYSCAPES, source_ids={9: 0})
    assert class_table(CITY, changed).class_ids[[7, 9]].tolist() == [255, 0]


def test_what_the_layout_leaves_unlabeled_is_no_oversight() -> None:
    table = class_table(CITY, CITYSCAPES)
    assert table.listed.tolist() == table.known.tolist()


@pytest.mark.parametrize(
    ("label_format", "label_set", "message"),
    [
        (CITY, TWO, "label set 'two' has no source_ids for cityscapes label files; write a YAML f"),
        (
            CITY,
            CAMVID,
            r"'camvid' is made for other label files than cityscapes's; .* ids \(0..33\) to",
        ),
        (
            CAMVID_FORMAT,
            CITYSCAPES,
            "'cityscapes' is made for other label files than camvid's; write a",
        ),
        (
            KITTI,
            replace(TWO, source_ids={0: 0, 26: 1}),
            r"label set 'two' maps id 26, which kitti-step label files do not have; .* \(0..18\)",
        ),
    ],
)
def test_a_label_set_of_other_files_is_refused(
    label_format: LabelFormat, label_set: LabelSet, message: str
) -> None:
    with pytest.raises(CamsegError, match=message):
        class_table(label_format, label_set)


def test_a_label_set_that_ships_may_be_made_for_any_files(monkeypatch: pytest.MonkeyPatch) -> None:
    road = replace(TWO, name="road", source_ids={7: 0, 8: 1})
    monkeypatch.setitem(LABEL_SETS, "road", road)
    assert class_table(CITY, find_label_set("road")).class_ids[[7, 8, 9]].tolist() == [0, 1, 255]


def test_a_folder_takes_ids_as_they_are_or_by_the_table(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(path)
    read = partial(read_class_ids, FOLDER)
    assert read(path, TWO).tolist() == [[0, 1, 255]]
    by_table = replace(TWO, source_ids={1: 0, 0: 1})
    assert read(path, by_table).tolist() == [[1, 0, 255]]
    assert read(path, replace(TWO, source_ids={1: 0})).tolist() == [[255, 0, 255]]
    Image.fromarray(np.array([[0, 2]], np.uint8)).save(path)
    with pytest.raises(CamsegError, match=r"id 2 \(1 pixel\); ids of folder .* are 0..1, 255$"):
        read(path, TWO)
