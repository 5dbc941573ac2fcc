# SPDX-License-Identifier: Apache-2.0
"""What a replay found in one bag, as a JSON file; everything in the report comes from these."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from camseg_core.evaluation.metrics.flicker import FlickerCounts
from camseg_core.evaluation.metrics.ratios import finite_or_none
from camseg_core.evaluation.records import ImageRecord
from camseg_core.system.files import read_bytes, write_bytes
from camseg_core.system.validation import parse_json
from camseg_ros.bag.dataset import CameraCounts

DRIVES_FOLDER = "drives"


@dataclass(frozen=True)
class FrameResult:
    """One frame.

    Attributes:
        camera: name of the camera.
        stamp_ns: stamp of the image.
        mean_confidence: mean confidence of all pixels, 0..1.
        mean_iou: mean IoU of this frame alone, 0..1; None without a labeled pixel.
        changed: share of pixels whose class is not that of the frame before; None where no frame
            is shortly before.
        stable, flickered: see `FlickerCounts`; zeros where no frame with ground truth is shortly
            before.
    """

    camera: str
    stamp_ns: int
    mean_confidence: float
    mean_iou: float | None
    changed: float | None
    stable: int = 0
    flickered: int = 0

    @classmethod
    def of_record(cls, record: ImageRecord) -> FrameResult:
        """Return what a record says of a frame of a bag."""
        return cls(
            camera=record.camera,
            stamp_ns=record.stamp_ns or 0,
            mean_confidence=record.mean_confidence or 0.0,
            mean_iou=finite_or_none(record.mean_iou),
            changed=record.changed,
            stable=record.stable,
            flickered=record.flickered,
        )


@dataclass(frozen=True)
class DriveResult:
    """One bag.

    Attributes:
        name: name of the bag.
        dataset, split, part, condition, sequence: what the bag says; empty where it says nothing.
        run: folder of the records of its frames; empty for a live replay.
        loss: what of the bag is damaged, in one line; empty for a whole bag.
        counts: what became of each camera's messages.
        frames: frames in the order of the bag.
        pictures: file names of the pictures of some frames, see `write_picture`.
    """

    name: str
    dataset: str
    split: str
    part: str
    condition: str
    sequence: str
    run: str
    loss: str
    counts: dict[str, CameraCounts]
    frames: list[FrameResult]
    pictures: list[str] = field(default_factory=list)

    @property
    def flicker(self) -> FlickerCounts:
        """The flicker of all frames."""
        return FlickerCounts(
            sum(frame.stable for frame in self.frames),
            sum(frame.flickered for frame in self.frames),
        )

    def total(self, name: str) -> int:
        """Return the sum of one of the counts over the cameras."""
        return sum(getattr(counts, name) for counts in self.counts.values())

    def write(self, out: Path) -> Path:
        """Write the file below ``out``, and return its path.

        Raises:
            CamsegError: the file cannot be written.
        """
        path = out / DRIVES_FOLDER / f"{self.name}.json"
        write_bytes(path, json.dumps(asdict(self), indent=1).encode() + b"\n")
        return path


def read_drives(out: Path) -> list[DriveResult]:
    """Read all files below ``out``, sorted by name.

    Raises:
        CamsegError: a file is damaged.
    """
    paths = sorted((out / DRIVES_FOLDER).glob("*.json"))
    return [parse_json(DriveResult, read_bytes(path), str(path)) for path in paths]
