# SPDX-License-Identifier: Apache-2.0
"""Label files: PNG -> the ids it holds -> class ids of a label set.

Shapes: H, W = image size. Ids in files are bytes; class ids are uint8, 0..C-1, 255 = unlabeled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError, listed
from camseg_core.images.arrays import UInt8
from camseg_core.images.decoding import NotAnImageError, decode_image
from camseg_core.labels import CAMVID, CITYSCAPES, COMMA10K, UNLABELED, LabelSet
from camseg_core.system.files import read_bytes

# The PNG specification (ISO/IEC 15948), 11.2.1: colour types of the header.
GREY, RGB, PALETTE, RGBA = 0, 2, 3, 6
COLOR_TYPES = {
    GREY: "grey",
    RGB: "RGB",
    PALETTE: "palette",
    4: "grey with alpha",
    RGBA: "RGB with alpha",
}
NO_COLOR = "; colours are not read as classes"
ADVICE = {
    GREY: "; write it again as uint8",
    PALETTE: ". If its palette indices are the ids, convert it: "
    "Image.fromarray(numpy.array(Image.open(path))).save(path)",
}


@dataclass(frozen=True)
class LabelFormat:
    """How label files hold classes.

    Attributes:
        owner: what messages call the files, e.g. ``cityscapes``.
        num_ids: a file may hold 0 to ``num_ids`` - 1, and 255; 0 if the label set decides.
        classes: the data set's own label set; None if it has none.
        source_ids: id in a file -> class id of ``classes``; ids not listed are unlabeled.
        channel: ``grey``: 8-bit grey, the grey value is the id; ``red``: 8-bit RGB, R is the id;
            ``color``: 8-bit RGB, with or without alpha, and the id is that of the class of
            ``classes`` with that colour, or 255 for the void colour.
    """

    owner: str
    num_ids: int = 0
    classes: LabelSet | None = None
    source_ids: Mapping[int, int] = field(default_factory=dict, hash=False)
    channel: Literal["grey", "red", "color"] = "grey"


@dataclass(frozen=True)
class ClassTable:
    """What each byte in a label file means.

    Attributes:
        class_ids: uint8 [256], the class id of each id.
        known: bool [256], false for ids that may not occur.
        listed: bool [256], false for ids that become unlabeled because the user's label set does
            not list them.
    """

    class_ids: UInt8
    known: NDArray[np.bool_]
    listed: NDArray[np.bool_]


def class_table(label_format: LabelFormat, label_set: LabelSet) -> ClassTable:
    """Decide what each id in a file is in ``label_set``.

    The data set's own classes are read by its own table. Other label sets are read by their
    ``source_ids``, which are ids of these files. If a data set has no classes of its own (a folder
    pair) and the label set has no ``source_ids``, ids in files are class ids.

    Raises:
        CamsegError: the label set has no table for these files, or a table for others.
    """
    own = label_format.classes
    source_ids: Mapping[int, int] = label_set.source_ids
    if own is None:
        source_ids = source_ids or {one: one for one in range(label_set.num_classes)}
    # Whichever table of the same classes it brings: a model's label set is that of its training.
    elif label_set.names == own.names and (
        source_ids in ({}, own.source_ids, label_format.source_ids)
    ):
        source_ids = label_format.source_ids
    else:
        _check_fits(label_format, label_set)
    every_id = np.arange(256)
    class_ids = replace(label_set, source_ids=dict(source_ids)).remap(every_id)
    listed = np.isin(every_id, [*source_ids, UNLABELED])
    if label_format.num_ids:
        known = (every_id < label_format.num_ids) | (every_id == UNLABELED)
    else:
        known = np.full(256, True) if label_set.source_ids else listed
    if source_ids is label_format.source_ids:
        listed = known  # what the data set's own table leaves out is meant to be unlabeled
    return ClassTable(class_ids, known, listed)


def read_class_ids(label_format: LabelFormat, path: Path, label_set: LabelSet) -> UInt8:
    """Read a label file as class ids uint8 [H, W] of ``label_set``.

    Raises:
        CamsegError: the file is unreadable, has another pixel type than its format, or holds an id
            outside its table; or the label set does not fit such files.
    """
    table = class_table(label_format, label_set)
    ids = read_ids(path, label_format)
    if not table.known[ids].all():
        raise CamsegError(f"{path} {unknown_ids(ids, label_format, table)}")
    class_ids: UInt8 = table.class_ids[ids]
    return class_ids


def read_ids(path: Path, label_format: LabelFormat) -> UInt8:
    """Read the ids that a label file holds: uint8 [H, W].

    Raises:
        CamsegError: the file is unreadable, is no whole PNG, has another pixel type than its
            format, or a colour that is no class's.
    """
    content = read_bytes(path)
    _check_header(path, content, label_format)
    try:
        pixels = decode_image(content, ("PNG",))
    except NotAnImageError:
        raise CamsegError(
            f"{path} is damaged: its {len(content)} bytes are no whole PNG file"
        ) from None
    except CamsegError as error:
        raise CamsegError(f"{path} {error}") from None
    if label_format.channel == "color" and label_format.classes is not None:
        return _ids_of_colors(path, pixels, label_format.classes)
    return np.ascontiguousarray(pixels if label_format.channel == "grey" else pixels[..., 0])


def _ids_of_colors(path: Path, pixels: UInt8, classes: LabelSet) -> UInt8:
    """Return the class id of each colour: RGB uint8 [H, W, 3] -> uint8 [H, W]."""
    colors = np.array([*classes.palette, classes.void_color], np.int64)  # [C + 1, 3]
    ids = np.array([*range(classes.num_classes), UNLABELED], np.uint8)
    bytes_of = np.array([1 << 16, 1 << 8, 1], np.int64)
    numbers, order = pixels @ bytes_of, np.argsort(colors @ bytes_of)  # [H, W], [C + 1]
    known = (colors @ bytes_of)[order]
    places = np.searchsorted(known, numbers).clip(max=len(known) - 1)
    strange = known[places] != numbers
    if strange.any():
        found = int(numbers[strange][0])
        names = ", ".join(
            f"{name} #{bytes(color).hex()}"
            for name, color in zip(classes.names, classes.palette, strict=True)
        )
        raise CamsegError(
            f"{path} has colour #{found:06x} on {np.count_nonzero(numbers == found)} pixels; the "
            f"classes are {names}"
        )
    class_ids: UInt8 = ids[order][places]
    return class_ids


def unknown_ids(ids: UInt8, label_format: LabelFormat, table: ClassTable, most: int = 5) -> str:
    """Say which ids of a file its table does not know, and how many pixels have them."""
    found = counts_of(ids, ~table.known)
    counts = [
        f"{unknown} ({pixels} pixel{'s' if pixels > 1 else ''})"
        for unknown, pixels in found.items()
    ]
    return (
        f"holds id {listed(counts, most)}; ids of {label_format.owner} label files are "
        f"0..{np.count_nonzero(table.known) - 2}, {UNLABELED}"
    )


def counts_of(ids: UInt8, wanted: NDArray[np.bool_]) -> dict[int, int]:
    """Count the pixels of each id that occurs in ``ids`` and is true in ``wanted`` [256]."""
    counts = np.bincount(ids.reshape(-1), minlength=256)
    return {int(found): int(counts[found]) for found in np.flatnonzero((counts > 0) & wanted)}


def _check_fits(label_format: LabelFormat, label_set: LabelSet) -> None:
    """Refuse a label set without a table for these files, or with one for others."""
    owner, ids = label_format.owner, f"0..{label_format.num_ids - 1}"
    outside = set(label_set.source_ids) - {*range(label_format.num_ids), -1, UNLABELED}
    if not label_set.source_ids:
        reason = f"has no source_ids for {owner} label files"
    elif any(
        (label_set.names, label_set.source_ids) == (known.names, known.source_ids)
        for known in (CITYSCAPES, CAMVID, COMMA10K)  # each has the ids of its own data set's files
    ):
        reason = f"is made for other label files than {owner}'s"
    elif outside:  # -1 is not: it is what Cityscapes calls a licence plate, and no file holds it
        reason = f"maps id {min(outside)}, which {owner} label files do not have"
    else:
        return
    raise CamsegError(
        f"label set {label_set.name!r} {reason}; write a YAML file whose source_ids map {owner}'s "
        f"ids ({ids}) to your classes"
    )


def _check_header(path: Path, content: bytes, label_format: LabelFormat) -> None:
    """Refuse other pixel types: PIL would scale 4-bit grey and cut 16-bit RGB without a word."""
    if len(content) < 33 or content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR":
        raise CamsegError(
            f"{path} is not a PNG file, which labels are (a format with loss would change ids)"
        )
    depth, color_type = content[24:26]
    wanted = GREY if label_format.channel == "grey" else RGB
    if (depth, color_type) == (8, wanted):
        return
    if label_format.channel == "color" and (depth, color_type) == (8, RGBA):
        return
    found = f"{depth}-bit {COLOR_TYPES.get(color_type, f'colour type {color_type}')}"
    if label_format.channel == "color":
        advice = "each class has a colour"
    elif wanted == RGB:
        advice = "R is the class id (only the original panoptic maps are read)"
    else:
        advice = f"the grey value is the id{ADVICE.get(color_type, NO_COLOR)}"
    raise CamsegError(
        f"{path} is {found}; label files of {label_format.owner} are 8-bit "
        f"{COLOR_TYPES[wanted]}: {advice}"
    )
