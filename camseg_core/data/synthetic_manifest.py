# SPDX-License-Identifier: Apache-2.0
"""``synthetic.json``: what tells the reader of a folder that its images are not of a real camera.

`camseg_core.synthetic.write` writes it beside the data. Nothing is guessed from names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from camseg_core.system.files import read_bytes
from camseg_core.system.validation import parse_json

MANIFEST = "synthetic.json"

SYNTHETIC = "synthetic"
"""The data set that synthetic images belong to, whatever layout they lie in."""


@dataclass(frozen=True)
class WrittenDrive:
    """One drive of a folder, as `MANIFEST` lists it.

    Attributes:
        generator_version: version of the generator; other versions have other labels.
        seed, condition, split, width, height, frames, frames_per_sequence: settings of the drive.
        labels_sha256: hash of the class ids, see `camseg_core.synthetic.write.labels_sha256`.
        image_folders: folders of its images, below the manifest's, with ``/``; empty in folders
            that earlier releases wrote.
    """

    generator_version: int
    seed: int
    condition: str
    split: str
    width: int
    height: int
    frames: int
    frames_per_sequence: int
    labels_sha256: str
    image_folders: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Manifest:
    """Content of `MANIFEST`: the layout of the folder, and its drives."""

    layout: str
    drives: list[WrittenDrive]

    def condition_of(self, folder: str) -> str | None:
        """Return the condition of the images in a folder below the manifest's.

        Empty where an earlier release did not say which of several drives lie in it; None if they
        are of no drive.
        """
        named = {drive.condition for drive in self.drives if folder in drive.image_folders}
        found = named or {drive.condition for drive in self.drives if not drive.image_folders}
        return (found.pop() if len(found) == 1 else "") if found else None


def read_manifest(path: Path) -> Manifest:
    """Read a `MANIFEST`.

    Raises:
        CamsegError: unreadable, or not such a file.
    """
    return parse_json(Manifest, read_bytes(path), str(path))


def synthetic_conditions(images: Sequence[Path], root: Path) -> list[str | None]:
    """Return for each image the condition of the synthetic drive it is of; None for real images.

    Args:
        images: image files below ``root``.
        root: folder below which manifests are looked for, itself included.

    Raises:
        CamsegError: a manifest is damaged.
    """

    @cache
    def manifest_above(folder: Path) -> tuple[Path, Manifest] | None:
        path = folder / MANIFEST
        if path.is_file():
            return folder, read_manifest(path)
        return None if folder in (root, folder.parent) else manifest_above(folder.parent)

    @cache
    def condition_in(folder: Path) -> str | None:
        found = manifest_above(folder)
        return found[1].condition_of(folder.relative_to(found[0]).as_posix()) if found else None

    return [condition_in(image.parent) for image in images]
