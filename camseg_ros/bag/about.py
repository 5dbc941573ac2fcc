# SPDX-License-Identifier: Apache-2.0
"""What a bag's truth means and where its frames come from, as JSON in a latched topic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_ros.bag.camera_topics import CameraTopics
from camseg_ros.bag.reader import Bag
from camseg_ros.bag.serialization import UnreadableMessageError

NO_DATA = "no data set that is named"


@dataclass(frozen=True)
class AboutDrive:
    """One drive.

    Attributes:
        label_set: what class ids of the truth mean; None where there is no truth.
        dataset, split, part, condition, sequence: as `SampleMetadata` has them; empty where not
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
        """What is scored together, in words."""
        parts = (self.dataset, self.split, self.part, self.condition)
        return " ".join(part for part in parts if part)

    def to_json(self) -> str:
        """Return JSON, which `from_json` reads."""
        content: dict[str, Any] = asdict(self)
        content["label_set"] = self.label_set.to_dict() if self.label_set else None
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> AboutDrive:
        """Read what `to_json` gave.

        Raises:
            CamsegError: it is something else.
        """
        try:
            content = json.loads(text)
            label_set = content.pop("label_set")
            classes = LabelSet.from_dict(label_set) if label_set else None
            return cls(classes, **{str(key): str(value) for key, value in content.items()})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CamsegError(
                f"what the bag says about its truth is not readable: {error!r}"
            ) from error


def read_about(bag: Bag, camera: CameraTopics) -> AboutDrive | None:
    """Read what a bag says about a camera's truth; None where it says nothing.

    Raises:
        CamsegError: it says something that is not readable.
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
    """Read what a bag says about its cameras, which are scored together, those with truth first.

    Raises:
        CamsegError: it is not readable, or two cameras' truth is of different data.
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
    """Refuse to compare ids that mean different classes; truth that says nothing is trusted.

    Args:
        about: of the truth.
        ours: the weights' classes.
        source: where the truth is, for the message.

    Raises:
        CamsegError: the truth's class names are not those of the weights.
    """
    theirs = about.label_set
    if theirs is not None and theirs.names != ours.names:
        raise CamsegError(
            f"the weights know the {ours.num_classes} classes of {ours.name!r}, but the truth in "
            f"{source} is of the {theirs.num_classes} classes of {theirs.name!r}; "
            "make the bag with `camseg bag make --label-set`, or take other weights"
        )
