# SPDX-License-Identifier: Apache-2.0
"""Open a data set by its name, and choose which of its images are taken."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

from camseg_core.data.image_list import LIST, read_list
from camseg_core.data.known_layouts import FOLDER_PAIR, LAYOUTS
from camseg_core.data.label_images import LabelFormat, class_table, read_class_ids
from camseg_core.data.label_set_files import LABEL_SETS
from camseg_core.data.layout import (
    ADVERSE,
    ALL_PARTS,
    PARTS,
    Layout,
    LayoutImage,
    find_home,
    find_images,
    same_label,
)
from camseg_core.data.sample import Dataset, FileDataset, SampleFiles, SampleMetadata
from camseg_core.data.synthetic_manifest import SYNTHETIC, synthetic_conditions
from camseg_core.errors import CamsegError, CamsegWarning, suggest
from camseg_core.images.arrays import UInt8
from camseg_core.labels import LabelSet

DATASETS = (*LAYOUTS, LIST)
"""The names that `open_dataset` knows of its own."""

PLUGINS = "camseg.datasets"
"""Entry points of other packages: name of a data set -> function that opens it as `open_dataset`
does."""

PAPER_DATASETS = {"cityscapes": "val", "kitti-step": "val", "acdc": "val", "cadedgetune": "all"}
"""Data set -> split. Trained on the first, tested on all (arXiv 2503.15617)."""

NOISE_STUDY_DATASET = "cityscapes"
"""The one whose images are corrupted."""


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
        part: part of ACDC: ``adverse`` (what empty means), ``reference`` or ``both``.
        conditions: condition folders of ACDC (fog, rain, snow, night) whose images are taken;
            references of fog are filed under fog. Empty takes all.
        list_file: a text file of image paths; only these are taken, in its order. With the name
            ``list`` they may have any layout.
        label_set: the classes to turn labels into; its ``source_ids`` are the data set's own ids.
            None takes the data set's classes; ``folder`` has none.

    Returns:
        The samples, sorted by name, or in the order of the list. ``Dataset.root`` is the data
        set's own folder, and for a list ``root``. ``Dataset.name`` is `SYNTHETIC` where all images
        are of synthetic drives, in whatever layout, and else ``name``.

    Raises:
        CamsegError: a name, split, part or condition is unknown, nothing is found, an image has
            no label, a line of the list cannot be used, or the label set does not fit.

    Warns:
        DatasetWarning: images were left out, or the split is one to be careful with.
    """
    root = Path(root)
    if name not in DATASETS:
        added = entry_points(group=PLUGINS)
        if name not in added.names:
            known = (*DATASETS, *sorted(added.names))
            raise CamsegError(f"unknown data set {name!r}; {suggest(name, known)}")
        options = {"part": part, "conditions": conditions, "list_file": list_file}
        dataset: Dataset = added[name].load()(name, root, split, **options, label_set=label_set)
        return dataset
    if part not in ("", ALL_PARTS, *PARTS):
        raise CamsegError(f"unknown part {part!r}; {suggest(part, (*PARTS, ALL_PARTS))}")
    if list_file is None and (name == LIST or split.endswith(".txt")):
        list_file = split
    notes: list[str] = []
    if list_file is None:
        root, found = _images_of_split(LAYOUTS[name], root, split)
        images = _labelled(_select(found, part, conditions), notes)
    else:
        path, found, problems = read_list(name, root, list_file)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise CamsegError(f"{path}, {problems[0]}{more}")
        images = _select(found, part, conditions)
        if len(images) < len(found):
            chosen = f" and conditions {', '.join(conditions)}" if conditions else ""
            notes.append(
                f"{path}: {len(found) - len(images)} of {len(found)} images are left out by part "
                f"{part or ADVERSE!r}{chosen}; part {ALL_PARTS!r} takes adverse and reference "
                "images"
            )
        split = path.stem if split.endswith(".txt") else split
    notes += _overlaps(images, split.removesuffix("list"))
    for note in notes:
        warnings.warn(note, DatasetWarning, stacklevel=2)
    classes = label_set or _own_classes(images)
    formats = {image.label: image.label_format for image in images}
    for label_format in dict.fromkeys(formats.values()):
        class_table(label_format, classes)  # what does not fit is said before anything is read
    samples = _metadata(images, root, split)
    return FileDataset(
        name=SYNTHETIC if {sample.dataset for sample in samples} == {SYNTHETIC} else name,
        root=root,
        split=split,
        label_set=classes,
        samples=samples,
        files=tuple(SampleFiles(image.image, image.label) for image in images),
        read_labels=partial(_read_labels, formats),
    )


def default_split(name: str) -> str:
    """Return the split that is meant when none is named."""
    return "val" if name in DATASETS and name != FOLDER_PAIR.name else "all"


def open_paper_suite(root: Path, label_set: LabelSet | None = None) -> list[Dataset]:
    """Open the four published data sets below ``root``.

    The validation splits; ACDC with both of its parts, which are scored apart; all of CADEdgeTune,
    whose train and validation lists overlap.

    Raises:
        CamsegError: one of them is missing; the text names each that is.
    """
    datasets, problems = [], []
    for name, split in PAPER_DATASETS.items():
        part = "both" if name == "acdc" else ""
        try:
            datasets.append(open_dataset(name, root, split, part=part, label_set=label_set))
        except CamsegError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise CamsegError(
            "the paper's suite needs all of "
            f"{', '.join(PAPER_DATASETS)} below {root}; {'; '.join(problems)}"
        )
    return datasets


def _images_of_split(layout: Layout, root: Path, split: str) -> tuple[Path, list[LayoutImage]]:
    """Return a data set's own folder, and the images of a split."""
    home = find_home(layout, root, split)
    found, _ = find_images(layout, home, split)
    if not found:
        raise CamsegError(
            f"split {split!r} of {layout.name} in {home} has no image; {layout.image_form} is "
            "looked for"
        )
    for first, second in same_label(found):
        raise CamsegError(
            f"{first.image} and {second.image} differ in their suffix only, so that they share "
            f"one label, {first.label}; remove one of them"
        )
    return home, found


def _select(
    images: Sequence[LayoutImage], part: str, conditions: Sequence[str]
) -> list[LayoutImage]:
    """Return the images of a part and of some condition folders.

    Images that have no part stay. An empty ``part`` is ``adverse``: references are never taken
    unless asked for.
    """
    layouts = _layouts(images)
    names = ", ".join(layout.name for layout in layouts)
    known = [condition for layout in layouts for condition in layout.conditions]
    if part and not any(image.part for image in images):
        raise CamsegError(f"part {part!r} is of no use with {names}, which has no parts")
    for condition in conditions:
        if condition not in known:
            rule = f"known are {', '.join(known)}" if known else "it has none"
            raise CamsegError(f"{names} has no images filed under {condition!r}; {rule}")
    wanted_parts = PARTS if part == ALL_PARTS else (part or ADVERSE,)
    taken = [
        image
        for image in images
        if image.part in ("", *wanted_parts) and (not conditions or image.filed_under in conditions)
    ]
    if not taken:
        raise CamsegError(
            f"none of {len(images)} images of {names} is of part {' or '.join(wanted_parts)}"
            + (f" and filed under {' or '.join(conditions)}" if conditions else "")
        )
    return taken


def _read_labels(formats: Mapping[Path, LabelFormat], label: Path, label_set: LabelSet) -> UInt8:
    return read_class_ids(formats[label], label, label_set)


def _layouts(images: Iterable[LayoutImage]) -> list[Layout]:
    return list({image.layout.name: image.layout for image in images}.values())


def _labelled(images: Sequence[LayoutImage], notes: list[str]) -> list[LayoutImage]:
    """Leave out images whose label the published data lacks; refuse others without a label."""
    lacking = [image for image in images if not image.has_label]
    refused = [image for image in lacking if not image.may_lack_label]
    if refused:
        more = f" (and {len(refused) - 1} more of {len(images)})" if len(refused) > 1 else ""
        raise CamsegError(f"{refused[0].image} has no label{more}: no file {refused[0].label}")
    if len(lacking) == len(images):
        raise CamsegError(
            f"none of {len(images)} {images[0].part} images has a label; "
            f"the first would be {images[0].label}"
        )
    if lacking:
        notes.append(
            f"{len(lacking)} {lacking[0].part} images have no label and are left out, "
            f"such as {lacking[0].image}"
        )
    return [image for image in images if image.has_label]


def _own_classes(images: Sequence[LayoutImage]) -> LabelSet:
    """Return the layouts' own classes, which must be the same."""
    layouts = _layouts(images)
    owned = {layout.name: layout.labels.classes for layout in layouts}
    first = layouts[0].labels.classes
    if first is None or any(classes != first for classes in owned.values()):
        reason = "has no classes of its own" if len(owned) == 1 else "have different classes"
        raise CamsegError(
            f"data set {', '.join(owned)} {reason}: give a label set, a YAML file or one of "
            f"{', '.join(LABEL_SETS)}"
        )
    return first


def _metadata(images: Sequence[LayoutImage], root: Path, split: str) -> tuple[SampleMetadata, ...]:
    counted: Counter[str] = Counter()  # per sequence, for names that tell no frame
    samples = []
    synthetic = synthetic_conditions([image.image for image in images], root)
    for image, condition in zip(images, synthetic, strict=True):
        index = image.frame_index
        samples.append(
            SampleMetadata(
                name=image.name,
                dataset=image.layout.name if condition is None else SYNTHETIC,
                split=split,
                part=image.part,
                condition=image.condition if condition is None else condition,
                sequence=image.sequence,
                frame_index=counted[image.sequence] if index is None else index,
            )
        )
        counted[image.sequence] += 1
    return tuple(samples)


def _overlaps(images: Sequence[LayoutImage], split: str) -> Iterator[str]:
    """Tell of a split that holds frames of val."""
    for layout in _layouts(images):
        val = layout.official_sequences.get("val", frozenset())
        if split in layout.cautions and any(image.sequence in val for image in images):
            yield f"{layout.name}, split {split}: {layout.cautions[split]}"
