# SPDX-License-Identifier: Apache-2.0
"""What a replay found in one bag, as a JSON file; everything in the report comes from these."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.flicker import FlickerCounts
from camseg_core.system.files import write_bytes

DRIVES_FOLDER = "drives"


@dataclass(frozen=True)
class FrameResult:
    """One frame.

    Attributes:
        camera: its name.
        stamp_ns: of the image.
        mean_confidence: over all pixels, 0..1.
        mean_iou: of this frame alone, 0..1; None without a labeled pixel.
        changed: share of pixels with another class than in the frame before; None where no frame
            is shortly before.
        stable, flickered: see `FlickerCounts`; zeros where no frame with truth is shortly before.
    """

    camera: str
    stamp_ns: int
    mean_confidence: float
    mean_iou: float | None
    changed: float | None
    stable: int = 0
    flickered: int = 0


@dataclass(frozen=True)
class DriveResult:
    """One bag.

    Attributes:
        name: of the bag.
        dataset, split, part, condition, sequence: as the bag says; empty where it says nothing.
        run: folder of the records of its frames with truth; empty without truth.
        loss: what of the bag is damaged, one line; empty for a whole one.
        counts: per camera, what became of its messages: the fields of `CameraCounts`.
        frames: in the order of the bag.
        pictures: names of the pictures of some frames, see `Snapshots`.
    """

    name: str
    dataset: str
    split: str
    part: str
    condition: str
    sequence: str
    run: str
    loss: str
    counts: dict[str, dict[str, Any]]
    frames: list[FrameResult] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)

    @property
    def flicker(self) -> FlickerCounts:
        """Sum over the frames."""
        return FlickerCounts(
            sum(frame.stable for frame in self.frames),
            sum(frame.flickered for frame in self.frames),
        )

    def total(self, name: str) -> int:
        """Sum a count over the cameras."""
        return sum(int(counts[name]) for counts in self.counts.values())

    def write(self, out: Path) -> Path:
        """Write the file below ``out``; gives its path.

        Raises:
            CamsegError: it cannot be written.
        """
        path = out / DRIVES_FOLDER / f"{self.name}.json"
        write_bytes(path, json.dumps(asdict(self), indent=1).encode() + b"\n")
        return path


def read_drives(out: Path) -> list[DriveResult]:
    """Read all files below ``out``, sorted by name.

    Raises:
        CamsegError: one is damaged.
    """
    return [_read(path) for path in sorted((out / DRIVES_FOLDER).glob("*.json"))]


def _read(path: Path) -> DriveResult:
    try:
        content = json.loads(path.read_bytes())
        frames = [FrameResult(**frame) for frame in content.pop("frames")]
        return DriveResult(**content, frames=frames)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CamsegError(f"{path} is not readable: {error}") from error
