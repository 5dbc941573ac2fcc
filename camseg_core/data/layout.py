# SPDX-License-Identifier: Apache-2.0
"""What a data set's layout on disk is: where its files lie and what their names say.

`camseg_core.data.known_layouts` holds the `Layout` of each data set. Whatever walks a tree, reads a
list or checks a tree is written once, for all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from camseg_core.data.label_images import LabelFormat
from camseg_core.errors import CamsegError, suggest
from camseg_core.system.folders import files_below, natural_key, subfolders

PARTS = ADVERSE, REFERENCE = "adverse", "reference"
"""The parts of ACDC; the first is what is read unless asked otherwise."""
ALL_PARTS = "both"


@dataclass(frozen=True)
class LayoutImage:
    """One image that a layout knows by its name, and where its label belongs.

    Whether a file is there is asked with `os.path`, since pathlib's functions raise on names that
    are too long and in folders that are closed.

    Attributes:
        layout: the layout whose names it has.
        name: the image's path below the data set's folder, with ``/``.
        image: the image file.
        label: the label file, whether it is there or not.
        part, sequence: as in `SampleMetadata`.
        filed_under: the condition folder it lies in: a clear-weather reference of fog is filed
            under fog. Empty where a layout has no such folders.
        frame_index: its place in the sequence as its name says; None if it says nothing.
    """

    layout: Layout
    name: str
    image: Path
    label: Path
    part: str = ""
    filed_under: str = ""
    sequence: str = ""
    frame_index: int | None = None

    @property
    def condition(self) -> str:
        """The condition of this very image; empty where its layout does not say."""
        return "clear" if self.part == REFERENCE else self.filed_under

    @property
    def has_label(self) -> bool:
        """Whether the label file is there."""
        return os.path.isfile(self.label)

    @property
    def may_lack_label(self) -> bool:
        """Whether the published data has no label for some images of its part."""
        return self.part == REFERENCE

    @property
    def label_format(self) -> LabelFormat:
        """How its label file holds classes, as the file's name tells."""
        for ending, label_format in self.layout.other_labels.items():
            if self.label.name.endswith(ending):
                return label_format
        return self.layout.labels


class OfficialCount(NamedTuple):
    """How many labelled frames a published split has, or one part and condition folder of it."""

    split: str
    frames: int
    part: str = ""
    filed_under: str = ""

    def covers(self, image: LayoutImage) -> bool:
        """Return whether ``image`` is one of those that are counted."""
        return self.part in ("", image.part) and self.filed_under in ("", image.filed_under)


@dataclass(frozen=True)
class Layout:
    """One data set's layout; paths in its functions are below ``home``, the data set's own folder.

    Attributes:
        name: what `open_dataset` calls it.
        folders: names of its own folder below the root, lower case.
        home_pattern: a glob that finds something in its own folder only.
        image_form: the form of image paths, for messages.
        label_form: the form of label paths, for messages.
        image: what image paths below home look like, with ``/``. Its named groups are what `label`
            needs, and whatever the names tell of these: ``sequence``, ``frame`` (a number),
            ``city`` (the sequence where the name tells no other), ``condition`` (a folder), and
            ``reference`` (empty in images of the adverse part).
        label: (home, named groups of the image, split or empty) -> label file.
        splits: (home) -> the splits that are there.
        image_folders: (home, split) -> folders that hold its images.
        label_folders: (home, split) -> folders that hold its labels.
        in_split: (split, name of an image or label file) -> whether it is of the split, where
            splits share folders.
        labels: how its label files hold classes.
        other_labels: ending of a label file's name -> how files with that ending hold classes.
        label_endings: how the names of its label files end.
        companion_endings: how the names of its files end that nothing here reads.
        conditions: names of its condition folders.
        official: published numbers of frames.
        official_sequences: split -> names of its published sequences.
        cautions: split -> what a user of that split must know.
    """

    name: str
    folders: tuple[str, ...]
    home_pattern: str
    image_form: str
    label_form: str
    image: re.Pattern[str]
    label: Callable[[Path, Mapping[str, str], str], Path]
    splits: Callable[[Path], tuple[str, ...]]
    image_folders: Callable[[Path, str], list[Path]]
    label_folders: Callable[[Path, str], list[Path]]
    labels: LabelFormat
    in_split: Callable[[str, str], bool] = lambda split, name: True
    other_labels: Mapping[str, LabelFormat] = field(default_factory=dict)
    label_endings: tuple[str, ...] = (".png",)
    companion_endings: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    official: tuple[OfficialCount, ...] = ()
    official_sequences: Mapping[str, frozenset[str]] = field(default_factory=dict)
    cautions: Mapping[str, str] = field(default_factory=dict)

    def recognize(self, home: Path, name: str, split: str = "") -> LayoutImage | None:
        """Return the image of a path below ``home``, with ``/``; None if it has another form."""
        found = self.image.fullmatch(name)
        if found is None:
            return None
        said = found.groupdict(default="")
        part = ""
        if "reference" in said:
            part = REFERENCE if said["reference"] else ADVERSE
        return LayoutImage(
            layout=self,
            name=name,
            image=home / name,
            label=self.label(home, said, split),
            part=part,
            filed_under=said.get("condition", ""),
            sequence=said.get("sequence") or said.get("city", ""),
            frame_index=int(said["frame"]) if said.get("frame") else None,
        )


def home_candidates(layout: Layout, root: Path) -> list[Path]:
    """Return where the data set's own folder may be: ``root``, in it, or in ``root/dataset``."""
    return [
        root,
        *(
            folder
            for parent in (root, root / "dataset")
            for folder in subfolders(parent)
            if folder.name.lower() in layout.folders
        ),
    ]


def find_home(layout: Layout, root: Path, split: str | None = None) -> Path:
    """Find the data set's own folder, which must have ``split`` if one is given.

    Raises:
        CamsegError: the folder is not there, no place holds what the layout needs, or the split is
            not there; the message names those that are.
    """
    if not os.path.isdir(root):
        raise CamsegError(f"no such folder: {root}; the folder that holds {layout.name} is needed")
    candidates = home_candidates(layout, root)
    home = next((one for one in candidates if any(one.glob(layout.home_pattern))), None)
    if home is None:
        raise CamsegError(
            f"no {layout.name} data in {', '.join(map(str, candidates))}: {layout.home_pattern} is "
            f"looked for (images are {layout.image_form}, labels {layout.label_form})"
        )
    if split is not None and split not in (splits := layout.splits(home)):
        raise CamsegError(
            f"{layout.name} in {home} has no split {split!r}; {suggest(split, splits)}"
        )
    return home


def find_images(layout: Layout, home: Path, split: str) -> tuple[list[LayoutImage], list[Path]]:
    """Return the images of a split, sorted by name, and the other files that lie among them.

    Raises:
        CamsegError: a folder cannot be read.
    """
    images, strangers = [], []
    for path in _files(layout.image_folders(home, split)):
        image = layout.recognize(home, path.relative_to(home).as_posix(), split)
        if image is None:
            strangers.append(path)
        elif layout.in_split(split, path.name):
            images.append(image)
    images.sort(key=lambda image: (natural_key(image.name), image.name))
    return images, sorted(strangers)


def find_label_files(layout: Layout, home: Path, split: str) -> tuple[list[Path], list[Path]]:
    """Return the label files of a split, and the files beside them that are no part of the layout.

    Raises:
        CamsegError: a folder cannot be read.
    """
    labels, strangers = [], []
    for path in sorted(_files(layout.label_folders(home, split))):
        if path.name.endswith(layout.label_endings):
            labels += [path] if layout.in_split(split, path.name) else []
        elif not path.name.endswith(layout.companion_endings):
            strangers.append(path)
    return labels, strangers


def same_label(images: Iterable[LayoutImage]) -> list[tuple[LayoutImage, LayoutImage]]:
    """Return pairs of images that share one label since their names differ in the suffix only."""
    owners: dict[Path, LayoutImage] = {}
    return [
        (owner, image)
        for image in images
        if (owner := owners.setdefault(image.label, image)) is not image
    ]


def _files(folders: Iterable[Path]) -> list[Path]:
    """Return the files in and below folders.

    Raises:
        CamsegError: a folder cannot be read.
    """
    return [path for folder in folders for path in files_below(folder)]
