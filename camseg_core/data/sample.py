# SPDX-License-Identifier: Apache-2.0
"""The contract that every data set fulfils, be it a folder of files or a bag; and that of files.

Shapes: H, W = image size. Class ids are uint8, 0..C-1; 255 is unlabeled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.images.reading import read_image
from camseg_core.labels import LabelSet
from camseg_core.system.files import sha256_of_file

ReadLabels = Callable[[Path, LabelSet], UInt8]

CONDITIONS = ("clear", "fog", "rain", "snow", "night")
"""What the weather and the light can be."""


class UnusableSampleError(CamsegError):
    """One image of a data set cannot be used; an evaluation leaves it out and goes on."""


@dataclass(frozen=True)
class SampleMetadata:
    """Where one image comes from.

    Attributes:
        name: the image's name, unique in the data set and the same on every machine: for a file
            its path below the data set's root, with ``/``.
        dataset: the data set, e.g. ``acdc``; ``synthetic`` in whatever layout.
        split: e.g. ``val``.
        part: a portion that is scored apart, e.g. ``adverse`` or ``reference`` of ACDC, or empty.
        condition: one of `CONDITIONS`, of this very image: a clear-weather reference is ``clear``.
            Empty where the data does not say.
        sequence: the drive, city or bag that it belongs to, or empty.
        frame_index: its place in the sequence, as its file name says, else counted from 0.
        camera: the camera that took it, where a data set names its cameras; or empty.
        stamp_ns: when it was taken, in nanoseconds; None where that is not known.
    """

    name: str
    dataset: str
    split: str
    part: str = ""
    condition: str = ""
    sequence: str = ""
    frame_index: int = 0
    camera: str = ""
    stamp_ns: int | None = None


@dataclass(frozen=True)
class Sample:
    """One image with its ground truth, where it has one.

    Attributes:
        image: RGB uint8 [H, W, 3].
        class_ids: ground truth, uint8 [H, W], 255 = unlabeled; None without ground truth.
        metadata: where it comes from.
    """

    image: UInt8
    class_ids: UInt8 | None
    metadata: SampleMetadata

    @property
    def ground_truth(self) -> UInt8:
        """The ground truth, uint8 [H, W], for callers that cannot do without.

        Raises:
            CamsegError: the image has none.
        """
        if self.class_ids is None:
            raise CamsegError(
                f"{self.metadata.name} of {self.metadata.dataset} has no ground truth, which is "
                "needed here; choose a data set whose images are all labelled"
            )
        return self.class_ids


class Dataset(Protocol):
    """The samples of one split, in a fixed order; pixels are read on demand.

    Reading in the order of the index is always fast; a bag may have to start anew otherwise.
    """

    @property
    def name(self) -> str:
        """The data set, e.g. ``cityscapes``."""

    @property
    def root(self) -> Path:
        """The folder or file that it was found in."""

    @property
    def split(self) -> str:
        """The split, e.g. ``val``."""

    @property
    def label_set(self) -> LabelSet:
        """The classes of the ground truth."""

    @property
    def samples(self) -> Sequence[SampleMetadata]:
        """What is known of each sample before its pixels are read."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def read(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            UnusableSampleError: this sample can be left out.
            CamsegError: the data set cannot be read.
        """

    def fingerprint(self) -> str:
        """Return 64 hexadecimal digits that tell data sets of one name apart.

        Raises:
            CamsegError: the data set cannot be read.
        """


class SampleFiles(NamedTuple):
    """The two files of a sample."""

    image: Path
    label: Path


@dataclass(frozen=True)
class FileDataset:
    """A `Dataset` of image and label files.

    Attributes:
        name, root, split, label_set, samples: those of a `Dataset`.
        files: image and label file of each sample.
        read_labels: function that turns a label file into class ids uint8 [H, W] of a label set.
    """

    name: str
    root: Path
    split: str
    label_set: LabelSet
    samples: tuple[SampleMetadata, ...]
    files: tuple[SampleFiles, ...]
    read_labels: ReadLabels

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def read(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            CamsegError: a file is unreadable or breaks its layout's rules, or image and label
                differ in size.
        """
        files = self.files[index]
        image = read_image(files.image)
        class_ids = self.read_labels(files.label, self.label_set)
        if image.shape[:2] != class_ids.shape:
            raise CamsegError(
                f"{files.label} is {class_ids.shape[1]} x {class_ids.shape[0]} but its "
                f"image {files.image} is {image.shape[1]} x {image.shape[0]}; "
                "an image and its label are of one size"
            )
        return Sample(image, class_ids, self.samples[index])

    def fingerprint(self) -> str:
        """Return a hash over the names of all images and the content of the first."""
        names = "\n".join(metadata.name for metadata in self.samples)
        first = sha256_of_file(self.files[0].image)
        return hashlib.sha256(f"{names}\n{first}".encode("utf-8", "surrogatepass")).hexdigest()


def spread_indices(count: int, most: int) -> list[int]:
    """Return the indices of at most ``most`` of ``count`` samples, at equal distances."""
    most = min(count, most)
    return [number * count // most for number in range(most)]
