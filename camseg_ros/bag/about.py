# SPDX-License-Identifier: Apache-2.0
"""What a bag's truth means and where its frames come from, as JSON in a latched topic."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet


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

    def to_json(self) -> str:
        """Give JSON, which `from_json` reads."""
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


def check_classes(about: AboutDrive, ours: LabelSet, bag: Path) -> None:
    """Refuse to compare ids that mean different classes; truth that says nothing is trusted.

    Raises:
        CamsegError: the truth's class names are not those of the weights.
    """
    theirs = about.label_set
    if theirs is not None and theirs.names != ours.names:
        raise CamsegError(
            f"the weights know the {ours.num_classes} classes of {ours.name!r}, but the truth in "
            f"{bag} is of the {theirs.num_classes} classes of {theirs.name!r}; "
            "make the bag with `camseg bag make --label-set`, or take other weights"
        )
