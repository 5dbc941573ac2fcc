# SPDX-License-Identifier: Apache-2.0
"""Check a data set's tree: everything that is wrong with it, and how many frames it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from camseg_core.data.datasets import DATASETS
from camseg_core.data.image_list import LIST, read_list
from camseg_core.data.known_layouts import LAYOUTS
from camseg_core.data.label_images import class_table, counts_of, read_ids, unknown_ids
from camseg_core.data.layout import (
    Layout,
    LayoutImage,
    OfficialCount,
    find_home,
    find_images,
    find_label_files,
    same_label,
)
from camseg_core.data.synthetic_manifest import MANIFEST, read_manifest
from camseg_core.errors import CamsegError, message_of, suggest
from camseg_core.images.reading import read_image
from camseg_core.labels import UNLABELED, LabelSet
from camseg_core.system.progress import progress_bar

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that a user of the tree should know.

    Attributes:
        severity: ``error`` if a file cannot be used; ``warning`` if it can, but the tree is not
            the published one; ``note`` if there is nothing to act on.
        path: the file or folder.
        message: what is the matter with the file or folder.
    """

    severity: Severity
    path: Path
    message: str

    def __str__(self) -> str:
        """Return one line for a terminal."""
        return message_of(f"{self.severity}: {self.path}: {self.message}")


class SplitCount(NamedTuple):
    """What a split, or one part and condition folder of it, holds.

    ``sequences`` are drives; ``labelled`` are the frames with a label, and ``official`` the number
    of them that was published, None if it is not known.
    """

    split: str
    part: str
    condition: str
    sequences: int
    frames: int
    labelled: int
    official: int | None


@dataclass(frozen=True)
class TreeReport:
    """What `check_tree` found.

    Attributes:
        counts: what the splits hold, by part and condition.
        findings: without repetition: on names and numbers, split by split, then on files.
    """

    counts: list[SplitCount]
    findings: list[Finding]

    def count(self, severity: Severity) -> int:
        """Return the number of findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def lines(self) -> Iterator[str]:
        """Yield the report: a table of the counts, header first, the findings and their number."""
        cells = [
            ["-" if value in ("", None) else message_of(str(value)) for value in row]
            for row in (SplitCount._fields, *self.counts)
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            columns = enumerate(zip(row, widths, strict=True))
            yield "  ".join(
                text.ljust(width) if index < 3 else text.rjust(width)
                for index, (text, width) in columns
            )
        yield from map(str, self.findings)
        yield f"{self.count('error')} errors, {self.count('warning')} warnings"


def check_tree(
    name: str,
    root: str | Path,
    split: str | None = None,
    *,
    list_file: str | Path | None = None,
    label_set: LabelSet | None = None,
    read_files: bool = True,
) -> TreeReport:
    """Count the frames of a data set, and find all that is wrong with its names and files.

    Args:
        name: one of `camseg_core.data.datasets.DATASETS`.
        root: the root as `open_dataset` takes it.
        split: one of the splits that are there; None checks all of them.
        list_file: check the lines of this list instead.
        label_set: the classes that labels are to become; None takes the data set's own, and where
            it has none ids are not checked.
        read_files: whether to decode every image and every label; if not, only names are checked.

    Raises:
        CamsegError: there is nothing to check: no such data set, folder, split or list, or a
            label set that does not fit the data set.
    """
    root = Path(root)
    if name not in DATASETS:
        raise CamsegError(f"unknown data set {name!r}; {suggest(name, DATASETS)}")
    if list_file is None and split is not None and (name == LIST or split.endswith(".txt")):
        list_file = split
    counts: list[SplitCount] = []
    if list_file is not None:
        path, images, problems = read_list(name, root, list_file)
        findings = [Finding("error", path, problem) for problem in problems]
        counts += _count(path.stem, images, ())
    elif name == LIST:
        raise CamsegError("data set 'list' needs a list: a text file with one image path a line")
    else:
        layout = LAYOUTS[name]
        home = find_home(layout, root, split)
        splits = layout.splits(home) if split is None else (split,)
        is_synthetic = (home / MANIFEST).is_file()
        official = () if is_synthetic else layout.official
        findings = [
            Finding("note", home, f"split {one.split!r} is not there; it has {one.frames} frames")
            for one in official
            if split is None and not one.part and one.split not in splits
        ]
        if is_synthetic:
            findings += [
                Finding(
                    "note", home, f"is synthetic: {drive.condition}, split {drive.split!r}, seed "
                    f"{drive.seed}, {drive.frames} frames",
                )
                for drive in read_manifest(home / MANIFEST).drives
            ]  # fmt: skip
        images = []
        for one in splits:
            found, strangers = find_images(layout, home, one)
            findings += _check_names(layout, home, one, found, strangers)
            findings += [] if is_synthetic else _check_numbers(layout, home, one, found)
            counts += _count(one, found, official)
            images += found
    if read_files:
        unique = {image.image: image for image in images}
        findings += _check_files(list(unique.values()), label_set)
    return TreeReport(counts, list(dict.fromkeys(findings)))


def _count(
    split: str, images: Sequence[LayoutImage], official: Sequence[OfficialCount]
) -> Iterator[SplitCount]:
    """Count the images of a split by part and condition."""
    published = {(one.split, one.part, one.filed_under): one.frames for one in official}
    for part, condition in sorted({(image.part, image.filed_under) for image in images}):
        group = [one for one in images if (one.part, one.filed_under) == (part, condition)]
        yield SplitCount(
            split=split,
            part=part,
            condition=condition,
            sequences=len({image.sequence for image in group} - {""}),
            frames=len(group),
            labelled=sum(image.has_label for image in group),
            official=published.get((split, part, condition)),
        )


def _check_names(
    layout: Layout,
    home: Path,
    split: str,
    images: Sequence[LayoutImage],
    strangers: Sequence[Path],
) -> Iterator[Finding]:
    labels, label_strangers = find_label_files(layout, home, split)
    lacking = [image for image in images if not image.has_label]
    for image in lacking:
        if not image.may_lack_label:
            yield Finding("error", image.image, f"has no label: no file {image.label}")
    excused = [image for image in lacking if image.may_lack_label]
    if excused:
        text = (
            f"{len(excused)} {excused[0].part} images such as this have no label and are not used"
        )
        yield Finding("note", excused[0].image, text)
    for first, second in same_label(images):
        text = f"shares its label with {first.image}; they differ in the suffix only"
        yield Finding("error", second.image, text)
    owned = {image.label for image in images}
    for label in labels:
        if label not in owned:
            text = f"is a label without an image ({layout.image_form})"
            yield Finding("warning", label, text)
    for path in (*strangers, *label_strangers):
        if path not in owned:
            yield Finding("note", path, "has no name of this layout and is not read")


def _check_numbers(
    layout: Layout, home: Path, split: str, images: Sequence[LayoutImage]
) -> Iterator[Finding]:
    labelled = [image for image in images if image.has_label]
    if not images:
        text = f"split {split!r} has no image; {layout.image_form} is looked for"
        yield Finding("warning", home, text)
        return
    for count in layout.official:
        frames = sum(count.covers(image) for image in labelled)
        if count.split != split or frames == count.frames:
            continue
        what = " ".join(filter(None, (count.part, count.filed_under, "frames with a label")))
        text = f"split {split!r} has {frames} {what}; {count.frames} were published"
        yield Finding("warning" if frames else "note", home, text)
    expected = layout.official_sequences.get(split)
    if expected is not None:
        sequences = {image.sequence for image in images}
        for text, names in (
            ("has sequences that were not published in it", sequences - expected),
            ("lacks sequences", expected - sequences),
        ):
            if names:
                listed = ", ".join(sorted(names))
                yield Finding("warning", home, f"split {split!r} {text}: {listed}")
    if split in layout.cautions:
        yield Finding("warning", home, f"split {split!r}: {layout.cautions[split]}")


def _check_files(images: Sequence[LayoutImage], label_set: LabelSet | None) -> Iterator[Finding]:
    blank: list[Path] = []
    with progress_bar(len(images), "frame", "check") as bar:
        for image in images:
            yield from _check_image(image, label_set, blank)
            bar.update()
    if blank:
        text = f"has no pixel of any class; {len(blank)} labels are so"
        yield Finding("warning", blank[0], text)


def _check_image(
    image: LayoutImage, label_set: LabelSet | None, blank: list[Path]
) -> Iterator[Finding]:
    label, label_format = image.label, image.label_format
    classes = label_set or label_format.classes
    table = class_table(label_format, classes) if classes else None
    size: tuple[int, ...] | None = None
    try:
        size = read_image(image.image).shape[:2]
    except CamsegError as error:
        yield _from_error(image.image, error)
    if not image.has_label:
        return
    try:
        ids = read_ids(label, label_format)
    except CamsegError as error:
        yield _from_error(label, error)
        return
    if size is not None and size != ids.shape:
        text = f"is {ids.shape[1]} x {ids.shape[0]} but its image is {size[1]} x {size[0]}"
        yield Finding("error", label, text)
    if table is None:
        return
    if not table.known[ids].all():
        yield Finding("error", label, unknown_ids(ids, label_format, table))
    if unlisted := counts_of(ids, table.known & ~table.listed):
        listed = ", ".join(f"{found} ({pixels} pixels)" for found, pixels in unlisted.items())
        text = f"ids {listed} stand in no source_ids and become unlabeled"
        yield Finding("warning", label, text)
    if (table.class_ids[ids] == UNLABELED).all():
        blank.append(label)


def _from_error(path: Path, error: CamsegError) -> Finding:
    return Finding("error", path, str(error).removeprefix(f"{path} "))
