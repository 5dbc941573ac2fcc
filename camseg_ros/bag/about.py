# SPDX-License-Identifier: Apache-2.0
"""What a bag's ground truth means and where its frames come from: JSON in a latched topic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_core.system.validation import parse_json
from camseg_ros.bag.camera_topics import CameraTopics
from camseg_ros.bag.reader import Bag
from camseg_ros.bag.serialization import UnreadableMessageError

NO_DATA = "no data set that is named"
"""Words for the data set of ground truth that says nothing."""


@dataclass(frozen=True)
class AboutDrive:
    """Description of one drive.

    Attributes:
        label_set: Classes that the ids of the ground truth stand for; None without ground truth.
        dataset, split, part, condition, sequence: Texts as in `SampleMetadata`; empty where not
            known.
    """

    label_set: LabelSet | None = None
    dataset: str = ""
    split: str = ""
    part: str = ""
    condition: str = ""
    sequence: str = ""

    @property
    def data(self) -> str:
        """Return words that are equal for drives that are scored together."""
        parts = (self.dataset, self.split, self.part, self.condition)
        return " ".join(part for part in parts if part)

    def to_json(self) -> str:
        """Return JSON, which `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> AboutDrive:
        """Read what `to_json` returned.

        Raises:
            CamsegError: The text is something else.
        """
        return parse_json(cls, text, "what the bag says about its ground truth is not readable")


def read_about(bag: Bag, camera: CameraTopics) -> AboutDrive | None:
    """Read what a bag says about a camera's ground truth; None where it says nothing.

    Raises:
        CamsegError: The bag says something that is not readable.
    """
    if camera.about is None:
        return None
    first = next(bag.messages([camera.about]), None)
    if first is None:
        return None
    try:
        return AboutDrive.from_json(first.decode().data)
    except UnreadableMessageError as error:
        raise CamsegError(f"{bag.path}, {camera.about}: {error}") from error


def read_abouts(bag: Bag, cameras: Sequence[CameraTopics]) -> list[AboutDrive]:
    """Read what a bag says about its cameras, which are scored together.

    Returns:
        One description a camera, of those with ground truth first.

    Raises:
        CamsegError: A description is not readable, or the ground truth of two cameras is of
            different data.
    """
    ordered = sorted(cameras, key=lambda camera: camera.truth is None)
    abouts = [read_about(bag, camera) or AboutDrive() for camera in ordered]
    for camera, about in zip(ordered, abouts, strict=True):
        if camera.truth is not None and about.data != abouts[0].data:
            raise CamsegError(
                f"{bag.path}: the truth of {ordered[0].name} is of {abouts[0].data or NO_DATA}, "
                f"that of {camera.name} of {about.data or NO_DATA}, and their scores are not "
                "mixed; replay them one by one with --image-topic"
            )
    return abouts


def check_classes(about: AboutDrive, ours: LabelSet, source: object) -> None:
    """Refuse to compare ids of different classes; ground truth that says nothing is trusted.

    Args:
        about: Description of the ground truth.
        ours: Classes of the weights.
        source: Place of the ground truth, for the message.

    Raises:
        CamsegError: The class names of the ground truth are not those of the weights.
    """
    theirs = about.label_set
    if theirs is not None and theirs.names != ours.names:
        raise CamsegError(
            f"the weights know the {ours.num_classes} classes of {ours.name!r}, but the truth in "
            f"{source} is of the {theirs.num_classes} classes of {theirs.name!r}; "
            "make the bag with `camseg bag make --label-set`, or take other weights"
        )
