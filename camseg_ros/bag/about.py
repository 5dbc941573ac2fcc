# SPDX-License-Identifier: Apache-2.0
"""The meaning of a bag's ground truth and the origin of its frames: JSON in a latched topic."""

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


@dataclass(frozen=True)
class AboutDrive:
    """Description of one drive.

    Attributes:
        label_set: Classes that the ids of the ground truth stand for; None without ground truth.
        dataset, split, part, condition, sequence: Texts as in `SampleMetadata`; empty if unknown.
    """

    label_set: LabelSet | None = None
    dataset: str = ""
    split: str = ""
    part: str = ""
    condition: str = ""
    sequence: str = ""

    @property
    def data(self) -> str:
        """Return a text that is the same for all drives that are scored together."""
        parts = (self.dataset, self.split, self.part, self.condition)
        return " ".join(part for part in parts if part) or "an unnamed data set"

    def to_json(self) -> str:
        """Return JSON, which `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> AboutDrive:
        """Read what `to_json` returned.

        Raises:
            CamsegError: The text is not a description of a drive.
        """
        return parse_json(cls, text, "the bag's description of its ground truth is not readable")


def read_about(bag: Bag, camera: CameraTopics) -> AboutDrive | None:
    """Read a bag's description of a camera's ground truth; None if there is none.

    Raises:
        CamsegError: The description is not readable.
    """
    first = next(bag.messages([camera.about]), None) if camera.about else None
    if first is None:
        return None
    try:
        return AboutDrive.from_json(first.decode().data)
    except UnreadableMessageError as error:
        raise CamsegError(f"{bag.path}, {camera.about}: {error}") from error


def read_abouts(bag: Bag, cameras: Sequence[CameraTopics]) -> list[AboutDrive]:
    """Read a bag's descriptions of cameras that are scored together.

    Returns:
        One description for each camera, those with ground truth first.

    Raises:
        CamsegError: A description is not readable, or the ground truth of two cameras comes from
            different data.
    """
    ordered = sorted(cameras, key=lambda camera: camera.truth is None)
    abouts = [read_about(bag, camera) or AboutDrive() for camera in ordered]
    for camera, about in zip(ordered, abouts, strict=True):
        if camera.truth is not None and about.data != abouts[0].data:
            raise CamsegError(
                f"{bag.path}: the ground truth of {ordered[0].name} is from {abouts[0].data}, that "
                f"of {camera.name} from {about.data}, and their scores are not mixed; replay them "
                "one by one with --image-topic"
            )
    return abouts


def check_classes(about: AboutDrive, ours: LabelSet, source: object) -> None:
    """Refuse to compare ids of different classes; ground truth without a description is trusted.

    Args:
        about: Description of the ground truth.
        ours: Classes of the weights.
        source: Path or topic of the ground truth, for the message.

    Raises:
        CamsegError: The class names of the ground truth are not those of the weights.
    """
    theirs = about.label_set
    if theirs is not None and theirs.names != ours.names:
        raise CamsegError(
            f"the weights know the {ours.num_classes} classes of {ours.name!r}, but the "
            f"ground truth in {source} has the {theirs.num_classes} classes of {theirs.name!r}; "
            "--merge scores the weights on them, `camseg bag make --label-set` makes a bag of the "
            "weights' classes"
        )
