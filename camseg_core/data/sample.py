# SPDX-License-Identifier: Apache-2.0
"""The one contract of every data set: what a sample is, and what a reader gives.

Shapes: H, W = image size. Class ids are uint8, 0..C-1; 255 is unlabeled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.images.reading import read_image
from camseg_core.labels import LabelSet

ReadLabels = Callable[[Path, LabelSet], UInt8]

CONDITIONS = ("clear", "fog", "rain", "snow", "night")
"""What the weather and the light can be."""


@dataclass(frozen=True)
class SampleMetadata:
    """Where one labelled image comes from.

    Attributes:
        name: the image's path below the data set's root, with ``/``; unique in the data set and
            the same on every machine.
        image_path: the image file.
        label_path: the label file.
        dataset: the data set, e.g. ``acdc``.
        split: e.g. ``val``.
        part: a portion that is scored apart, e.g. ``adverse`` or ``reference`` of ACDC, or empty.
        condition: one of `CONDITIONS`, of this very image: a clear-weather reference is ``clear``.
        sequence: the drive or city that it belongs to, or empty.
        frame_index: its place in the sequence, as its file name says, else counted from 0.
    """

    name: str
    image_path: Path
    label_path: Path
    dataset: str
    split: str
    part: str = ""
    condition: str = "clear"
    sequence: str = ""
    frame_index: int = 0


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        image: RGB uint8 [H, W, 3].
        class_ids: uint8 [H, W], 255 = unlabeled.
        metadata: where it comes from.
    """

    image: UInt8
    class_ids: UInt8
    metadata: SampleMetadata


@dataclass(frozen=True)
class Dataset:
    """The samples of one split, in a fixed order; pixels are read on demand.

    Attributes:
        name: the data set, e.g. ``cityscapes``.
        root: the folder it was found in.
        split: e.g. ``val``.
        label_set: the classes that labels are turned into.
        samples: one entry an image.
        read_labels: turns a label file into class ids uint8 [H, W] of a label set.
    """

    name: str
    root: Path
    split: str
    label_set: LabelSet
    samples: tuple[SampleMetadata, ...]
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
        metadata = self.samples[index]
        image = read_image(metadata.image_path)
        class_ids = self.read_labels(metadata.label_path, self.label_set)
        if image.shape[:2] != class_ids.shape:
            raise CamsegError(
                f"{metadata.label_path} is {class_ids.shape[1]} x {class_ids.shape[0]} but its "
                f"image {metadata.image_path} is {image.shape[1]} x {image.shape[0]}; "
                "an image and its label are of one size"
            )
        return Sample(image, class_ids, metadata)
