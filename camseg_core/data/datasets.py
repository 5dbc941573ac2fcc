# SPDX-License-Identifier: Apache-2.0
"""Open a data set by its name: the layouts that are known, and what is taken of them."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from camseg_core.data.image_list import ListedImage, find_list, read_list
from camseg_core.data.label_images import LabelFormat, class_table, read_class_ids
from camseg_core.data.label_set_files import LABEL_SETS
from camseg_core.data.layouts import acdc, cadedgetune, camvid, cityscapes, folder_pair, kitti_step
from camseg_core.data.layouts.layout import (
    ALL_PARTS,
    PARTS,
    Layout,
    check_split,
    find_entries,
    find_home,
    home_candidates,
    same_label,
)
from camseg_core.data.sample import Dataset, FileDataset, SampleFiles, SampleMetadata
from camseg_core.errors import CamsegError, CamsegWarning
from camseg_core.labels import LabelSet

LIST = "list"

LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        cityscapes.LAYOUT,
        acdc.LAYOUT,
        kitti_step.LAYOUT,
        cadedgetune.LAYOUT,
        folder_pair.LAYOUT,  # in lists before camvid, whose names say less
        camvid.LAYOUT,
    )
}

DATASETS = (*LAYOUTS, LIST)
"""What `open_dataset` knows of its own."""

PLUGINS = "camseg.datasets"
"""Entry points of other packages: name of a data set -> function that opens it as `open_dataset`
does."""


class DatasetWarning(CamsegWarning):
    """Something about a data set that its user must know and that is no error."""


def open_dataset(
    name: str,
    root: str | Path,
    split: str,
    *,
    part: str = "",
    conditions: Sequence[str] = (),
    list_file: str | Path | None = None,
    label_set: LabelSet | None = None,
) -> Dataset:
    """Open one split of a data set: find its images and labels; pixels are read later.

    Args:
        name: one of `DATASETS`, or one that another package adds (see `PLUGINS`).
        root: the data set's own folder, or the folder above it, or the folder that holds
            ``dataset/`` as the original project has it.
        split: e.g. ``val``; a path that ends in ``.txt`` is taken as ``list_file``.
        part: of ACDC: ``adverse`` (what empty means), ``reference`` or ``both``.
        conditions: of ACDC: only images filed under these (fog, rain, snow, night); references of
            fog are filed under fog. Empty takes all.
        list_file: a text file of image paths; only these are taken, in its order. With the name
            ``list`` they may be of any layout.
        label_set: the classes to turn labels into, by its ``source_ids`` of the data set's own
            ids. None takes the data set's classes; ``folder`` has none.

    Returns:
        The samples, sorted by name, or in the order of the list. ``Dataset.root`` is the data
        set's own folder, and for a list ``root``.

    Raises:
        CamsegError: an unknown name, split, part or condition, nothing found, an image without a
            label, a line of the list that cannot be used, or a label set that does not fit.

    Warns:
        DatasetWarning: images were left out, or the split is one to be careful with.
    """
    root = Path(root)
    if name not in DATASETS:
        return _open_added(
            name,
            root,
            split,
            part=part,
            conditions=conditions,
            list_file=list_file,
            label_set=label_set,
        )
    if part not in ("", ALL_PARTS, *PARTS):
        raise CamsegError(f"unknown part {part!r}; {suggest(part, (*PARTS, ALL_PARTS))}")
    if list_file is None and (name == LIST or split.endswith(".txt")):
        list_file = split
    if list_file is not None:
        return _open_list(name, root, split, list_file, part, conditions, label_set)
    layout = LAYOUTS[name]
    home = find_home(layout, root)
    check_split(layout, home, split)
    found, _ = find_entries(layout, home, split)
    if not found:
        raise CamsegError(
            f"split {split!r} of {name} in {home} has no image; {layout.image_form} is looked for"
        )
    for first, second in same_label(found):
        raise CamsegError(
            f"{first.image} and {second.image} differ in their suffix only, so that they share "
            f"one label, {first.label}; remove one of them"
        )
    images = select([ListedImage(layout, entry) for entry in found], part, conditions)
    images = _labelled(images)
    _warn_of_overlap(images, split)
    classes = label_set or _own_classes(images)
    for label_format in set(map(_format_of, images)):
        class_table(label_format, classes)  # what does not fit is said before anything is read
    return FileDataset(
        name=name,
        root=home,
        split=split,
        label_set=classes,
        samples=_metadata(images, split),
        files=_files(images),
        read_labels=partial(read_class_ids, layout.label_format),
    )


def default_split(name: str) -> str:
    """Return the split that is meant when none is named."""
    return "val" if name in DATASETS and name != folder_pair.LAYOUT.name else "all"


def _open_added(name: str, root: Path, split: str, **options: Any) -> Dataset:
    """Open a data set that another package adds."""
    added = entry_points(group=PLUGINS)
    if name not in added.names:
        known = (*DATASETS, *sorted(added.names))
        raise CamsegError(f"unknown data set {name!r}; {suggest(name, known)}")
    dataset: Dataset = added[name].load()(name, root, split, **options)
    return dataset


def suggest(word: str, known: Sequence[str]) -> str:
    """Say what could have been meant instead of an unknown word."""
    close = get_close_matches(word, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known are {', '.join(known)}"


def list_layouts(name: str) -> tuple[Layout, ...]:
    """Return the layouts that the lines of a list may have when it is opened as ``name``."""
    return tuple(LAYOUTS.values()) if name == LIST else (LAYOUTS[name],)


def locate_list(name: str, root: Path, list_file: str | Path) -> Path:
    """Find a list: as given, below ``root``, or in the data set's own folder.

    Raises:
        CamsegError: it is in none of these places.
    """
    folders = [root]
    for layout in list_layouts(name):
        folders += [path for path in home_candidates(layout, root) if path not in folders]
    return find_list(list_file, folders)


def select(
    images: Sequence[ListedImage], part: str, conditions: Sequence[str]
) -> list[ListedImage]:
    """Take the images of a part and of some condition folders.

    Images that have no part stay. An empty ``part`` is ``adverse``: references are never taken
    unless asked for.

    Raises:
        CamsegError: a part or a condition that these images do not have, or none is left.
    """
    layouts = _layouts(images)
    names = ", ".join(layout.name for layout in layouts)
    known = [condition for layout in layouts for condition in layout.conditions]
    if part and not any(image.entry.part for image in images):
        raise CamsegError(f"part {part!r} is of no use with {names}, which has no parts")
    for condition in conditions:
        if condition not in known:
            rule = f"known are {', '.join(known)}" if known else "it has none"
            raise CamsegError(f"{names} has no images filed under {condition!r}; {rule}")
    wanted_parts = PARTS if part == ALL_PARTS else (part or PARTS[0],)
    taken = [
        image
        for image in images
        if image.entry.part in ("", *wanted_parts)
        and (not conditions or image.entry.filed_under in conditions)
    ]
    if not taken:
        raise CamsegError(
            f"none of {len(images)} images of {names} is of part {' or '.join(wanted_parts)}"
            + (f" and filed under {' or '.join(conditions)}" if conditions else "")
        )
    return taken


def _open_list(
    name: str,
    root: Path,
    split: str,
    list_file: str | Path,
    part: str,
    conditions: Sequence[str],
    label_set: LabelSet | None,
) -> Dataset:
    path = locate_list(name, root, list_file)
    found, problems = read_list(path, root, list_layouts(name))
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CamsegError(f"{path}, {problems[0]}{more}")
    images = select(found, part, conditions)
    if len(images) < len(found):
        _warn(
            f"{path}: {len(found) - len(images)} of {len(found)} images are left out by "
            f"part {part or PARTS[0]!r}"
            + (f" and conditions {', '.join(conditions)}" if conditions else "")
            + f"; part {ALL_PARTS!r} takes adverse and reference images"
        )
    own_split = path.stem if split.endswith(".txt") else split
    _warn_of_overlap(images, own_split.removesuffix("list"))
    classes = label_set or _own_classes(images)
    formats = {image.entry.label: _format_of(image) for image in images}
    for label_format in set(formats.values()):
        class_table(label_format, classes)
    return FileDataset(
        name=name,
        root=root,
        split=own_split,
        label_set=classes,
        samples=_metadata(images, own_split),
        files=_files(images),
        read_labels=partial(read_class_ids, partial(_look_up, formats)),
    )


def _look_up(formats: Mapping[Path, LabelFormat], label: Path) -> LabelFormat:
    return formats[label]


def _format_of(image: ListedImage) -> LabelFormat:
    return image.layout.label_format(image.entry.label)


def _layouts(images: Iterable[ListedImage]) -> list[Layout]:
    return list({image.layout.name: image.layout for image in images}.values())


def _labelled(images: Sequence[ListedImage]) -> list[ListedImage]:
    """Leave out images whose label the published data lacks; refuse others without a label."""
    lacking = [image for image in images if not os.path.isfile(image.entry.label)]
    refused = [image for image in lacking if image.entry.part not in image.layout.labels_may_lack]
    if refused:
        entry = refused[0].entry
        more = f" (and {len(refused) - 1} more of {len(images)})" if len(refused) > 1 else ""
        raise CamsegError(f"{entry.image} has no label{more}: no file {entry.label}")
    if len(lacking) == len(images):
        raise CamsegError(
            f"none of {len(images)} {images[0].entry.part} images has a label; "
            f"the first would be {images[0].entry.label}"
        )
    if lacking:
        _warn(
            f"{len(lacking)} {lacking[0].entry.part} images have no label and are left out, "
            f"such as {lacking[0].entry.image}"
        )
    return [image for image in images if os.path.isfile(image.entry.label)]


def _own_classes(images: Sequence[ListedImage]) -> LabelSet:
    """Return the classes that the layouts have of their own, if they are the same."""
    layouts = _layouts(images)
    owned = {layout.name: layout.classes for layout in layouts}
    first = layouts[0].classes
    if first is None or any(classes != first for classes in owned.values()):
        reason = "has no classes of its own" if len(owned) == 1 else "have different classes"
        raise CamsegError(
            f"data set {', '.join(owned)} {reason}: give a label set, a YAML file or one of "
            f"{', '.join(LABEL_SETS)}"
        )
    return first


def _metadata(images: Iterable[ListedImage], split: str) -> tuple[SampleMetadata, ...]:
    counted: Counter[str] = Counter()  # per sequence, for names that tell no frame
    samples = []
    for image in images:
        entry = image.entry
        index = counted[entry.sequence] if entry.frame_index is None else entry.frame_index
        counted[entry.sequence] += 1
        samples.append(
            SampleMetadata(
                name=entry.name,
                dataset=image.layout.name,
                split=split,
                part=entry.part,
                condition=entry.condition,
                sequence=entry.sequence,
                frame_index=index,
            )
        )
    return tuple(samples)


def _files(images: Iterable[ListedImage]) -> tuple[SampleFiles, ...]:
    return tuple(SampleFiles(image.entry.image, image.entry.label) for image in images)


def _warn_of_overlap(images: Sequence[ListedImage], split: str) -> None:
    """Say what is to be known of a split that holds frames of val."""
    for layout in _layouts(images):
        val = layout.official_sequences.get("val", frozenset())
        if split in layout.cautions and any(image.entry.sequence in val for image in images):
            _warn(f"{layout.name}, split {split}: {layout.cautions[split]}")


def _warn(text: str) -> None:
    warnings.warn(text, DatasetWarning, stacklevel=4)
