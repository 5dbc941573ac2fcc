# SPDX-License-Identifier: Apache-2.0
"""What an evaluation writes: one folder a run, one JSON line an image, corruption and step count.

    OUT/<dataset>-<split>-<protocol>-<id>/run.json                 what decides the results
                                          records-00-of-02.jsonl   one file a shard
                                          frames/                  pictures, see `frames`

Everything else is recomputed from these lines: merging shards, resuming after a kill and
re-scoring are reading files. Lines are whole or ignored: one that a kill cut off has no newline.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from camseg_core.data.class_merges import MergeFile
from camseg_core.errors import CamsegError
from camseg_core.evaluation.frames import FrameScore
from camseg_core.evaluation.metrics.calibration_counts import CalibrationCounts
from camseg_core.evaluation.metrics.confusion import confusion_from_json
from camseg_core.evaluation.metrics.flicker import FlickerCounts
from camseg_core.evaluation.metrics.official import mean_iou_per_image
from camseg_core.evaluation.metrics.published import Protocol
from camseg_core.labels import LabelSet
from camseg_core.system.files import read_bytes, write_bytes
from camseg_core.system.validation import parse_json

RUN_FILE = "run.json"
NO_CORRUPTION = "none"

_PLAUSIBLE: Any = Field(gt=-1e9, lt=1e9)
"""No level, number of steps or time in seconds is as large, nor is it not-a-number."""


@dataclass(frozen=True)
class Run:
    """What decides the results of a run; two runs that agree in it can be merged.

    Attributes:
        dataset, split: what was read.
        images_sha256: hash of the names of all images and the content of the first, which tells
            data sets of one name apart.
        protocol: how it is prepared and scored.
        label_set: the classes, as `LabelSet.to_dict` returns them.
        weights_sha256: hash of the weights; None where nothing was trained.
        is_random: true if nothing was trained.
        model: the model's configuration.
        sampling: sampler, temperature, seed and what else decides a result, but for the steps.
        corruption_seed: seed of the corruptions' noise.
        merge: content of the merge file by which predicted classes became those of the label set;
            None where they are the same.
        records_version: version of the record format.
    """

    dataset: str
    split: str
    images_sha256: str
    protocol: Protocol
    label_set: dict[str, Any]
    weights_sha256: str | None
    is_random: bool
    model: dict[str, Any]
    sampling: dict[str, Any]
    corruption_seed: int
    merge: MergeFile | None = None
    records_version: Literal[1] = 1

    @property
    def classes(self) -> LabelSet:
        """The label set."""
        return LabelSet.from_dict(self.label_set)

    @property
    def folder_name(self) -> str:
        """Name of the run's folder: readable, and unique by a hash over everything."""
        name = f"{self.dataset}-{Path(self.split).stem}-{self.protocol}"
        decides = asdict(self)
        if self.merge is None:  # as in folders of earlier releases
            del decides["merge"]
        # A data set's name may come from a bag of others.
        return f"{re.sub(r'[^-.a-zA-Z0-9_]', '_', name)}-{_digest(decides)[:8]}"


@dataclass(frozen=True, order=True)
class Key:
    """What a record is of. Keys are unique in a run, and sort in one way.

    Attributes:
        sample: name of the image in its data set.
        corruption: name, or ``none``.
        level: strength of the corruption, 0 for none.
        steps: diffusion steps.
    """

    sample: str
    corruption: str
    level: float
    steps: int


@dataclass(frozen=True)
class ImageRecord:
    """The scores of one image under one corruption with one number of steps.

    What has its default is not written.

    Attributes:
        sample, corruption, level, steps: the record's `Key`.
        part, condition, sequence, frame_index: facts from the sample's metadata.
        height, width: size of the ground truth that was compared with, or of the image, in pixels.
        counts: confusion counts [C][C + 1], see `confusion`; None without ground truth.
        calibration: counts as `CalibrationCounts.to_dict` returns them; None without ground truth.
        stage_seconds: wall time per stage, which differs from run to run; empty where an
            evaluation records no times.
        camera, stamp_ns: facts from the sample's metadata.
        mean_confidence: mean confidence of the pixels, 0..1, of an image with a stamp.
        changed: share of pixels whose class is not that of the camera's frame before; None
            without such a frame.
        stable, flickered: counts of pixels, see `FlickerCounts`.
        kind: tells a record from a `Session`.
    """

    sample: str
    corruption: str
    level: Annotated[float, _PLAUSIBLE]
    steps: Annotated[int, _PLAUSIBLE]
    part: str
    condition: str
    sequence: str
    frame_index: int
    height: int
    width: int
    counts: list[list[int]] | None
    calibration: dict[str, Any] | None
    stage_seconds: dict[str, Annotated[float, _PLAUSIBLE]] = field(compare=False)
    camera: str = ""
    stamp_ns: int | None = None
    mean_confidence: float | None = None
    changed: float | None = None
    stable: int = 0
    flickered: int = 0
    kind: Literal["image"] = "image"

    def __post_init__(self) -> None:
        """Check what a damaged file could hold instead."""
        if (self.counts is None) != (self.calibration is None):
            raise CamsegError("counts and calibration are given together, or neither is")
        if self.calibration_counts is not None:
            confusion_from_json(self.counts, self.calibration_counts.num_classes)

    @property
    def key(self) -> Key:
        """What the record is of."""
        return Key(self.sample, self.corruption, self.level, self.steps)

    @cached_property
    def confusion(self) -> NDArray[np.int64] | None:
        """The confusion counts as int64 [C, C + 1]; None without ground truth."""
        return None if self.counts is None else np.array(self.counts, np.int64)

    @cached_property
    def calibration_counts(self) -> CalibrationCounts | None:
        """The calibration counts; None without ground truth."""
        return None if self.calibration is None else CalibrationCounts.from_dict(self.calibration)

    @property
    def flicker(self) -> FlickerCounts:
        """The flicker against the camera's frame before."""
        return FlickerCounts(self.stable, self.flickered)

    @cached_property
    def mean_iou(self) -> float:
        """The image's own mean IoU, 0..1; not-a-number without a labeled pixel."""
        if self.confusion is None:
            return math.nan
        return float(mean_iou_per_image(self.confusion[None])[0])

    @property
    def frame_score(self) -> FrameScore | None:
        """How the image ranks among the worst and best; None if corrupted or not scored."""
        if self.corruption != NO_CORRUPTION or self.counts is None:
            return None
        return FrameScore(self.mean_iou, self.sample, self.steps)


@dataclass(frozen=True)
class Session:
    """One process at work on a run.

    Attributes:
        weights: the files that were loaded, without folders.
        machine: processor and memory, in words.
        device: torch's device, by name.
        threads: number of torch's threads.
        libraries: version by name.
        started_at: date and time, ISO 8601, UTC.
        default_sampling: how these weights are sampled unless told otherwise, their profile
            `DEFAULT_PROFILE`; None in records of earlier releases.
        kind: tells a session from an `ImageRecord`.
    """

    weights: str
    machine: str
    device: str
    threads: int
    libraries: dict[str, str]
    started_at: str
    default_sampling: dict[str, Any] | None = None
    kind: Literal["session"] = "session"


Line = ImageRecord | Session

_LINE: Any = Annotated[Line, Field(discriminator="kind")]


class RecordWriter:
    """Appends to one shard's file; a context manager.

    A line that an earlier process could not finish is cut off first. One process at a time: a
    second one on the same file is refused.
    """

    def __init__(self, folder: Path, shard: int, shards: int) -> None:
        """Open ``records-<shard>-of-<shards>.jsonl`` in the run's ``folder``.

        Raises:
            CamsegError: the file cannot be written, or another process writes it.
        """
        self.path = folder / f"records-{shard:02d}-of-{shards:02d}.jsonl"
        try:
            self._file = self.path.open("ab")
        except OSError as error:
            raise CamsegError(f"cannot write {self.path}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise CamsegError(
                f"{self.path} is being written by another evaluation; wait for it, or give "
                "another --out"
            ) from error
        self._file.truncate(self.path.read_bytes().rfind(b"\n") + 1)

    def __enter__(self) -> RecordWriter:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Bring the lines to the disk and free the file for others."""
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, line: Line) -> None:
        """Append one line and hand it to the operating system.

        Raises:
            CamsegError: the disk is full.
        """
        try:
            text = json.dumps(line_content(line), separators=(",", ":"))
            self._file.write(text.encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise CamsegError(f"cannot write {self.path}: {error.strerror or error}") from error


def line_content(line: Line) -> dict[str, Any]:
    """Return a line as plain data for JSON: its kind first, and without what has its default."""
    written = {
        entry.name: getattr(line, entry.name)
        for entry in fields(line)
        if getattr(line, entry.name) != entry.default
    }
    return {"kind": line.kind, **written}


def open_run(out: Path, run: Run) -> Path:
    """Return the folder of ``run`` below ``out``, made with its ``run.json`` where it is new.

    Raises:
        CamsegError: it cannot be written, or holds another run's file.
    """
    folder = out / run.folder_name
    path = folder / RUN_FILE
    if path.exists():
        if read_run(folder) != run:
            raise CamsegError(f"{path} is of another run; remove it or give another --out")
    else:
        write_bytes(path, json.dumps(asdict(run), indent=1, sort_keys=True).encode() + b"\n")
    return folder


def find_runs(out: Path) -> list[Path]:
    """List the folders of runs in ``out``, or ``out`` itself where it is one, sorted.

    Raises:
        CamsegError: there is none.
    """
    if (out / RUN_FILE).is_file():
        return [out]
    folders = sorted(path.parent for path in out.glob(f"*/{RUN_FILE}"))
    if not folders:
        raise CamsegError(
            f"{out} holds no evaluation: no {RUN_FILE} in it or one folder below; "
            "`camseg evaluate --out FOLDER` makes one"
        )
    return folders


def read_run(folder: Path) -> Run:
    """Read ``run.json``.

    Raises:
        CamsegError: absent, unreadable, or of another format.
    """
    path = folder / RUN_FILE
    return parse_json(Run, read_bytes(path), str(path))


def read_lines(paths: Iterable[Path]) -> Iterator[Line]:
    """Return what some shards' files of one run hold, one line at a time, each `Key` once.

    A key occurs twice where a run was resumed with another number of shards; the results are the
    same, and the first is given. The order is that of files and lines: all sums are of whole
    numbers, so that no score depends on it.

    Raises:
        CamsegError: a line is neither a record nor a session, or two records of one key differ.
    """
    seen: dict[Key, str] = {}
    for path in paths:
        for number, line in enumerate(_whole_lines(path), start=1):
            where = f"{path}, line {number}"
            content: Line = parse_json(_LINE, line, where)
            if not isinstance(content, ImageRecord):
                yield content
                continue
            digest = _digest(line_content(content) | {"stage_seconds": None})
            if content.key not in seen:
                seen[content.key] = digest
                yield content
            elif seen[content.key] != digest:
                raise CamsegError(
                    f"{where}: {content.sample} has other scores than an earlier line of the same "
                    "image, corruption and steps; remove one of them"
                )


def iterate_records(paths: Iterable[Path]) -> Iterator[ImageRecord]:
    """Return the records among `read_lines`."""
    return (line for line in read_lines(paths) if isinstance(line, ImageRecord))


def record_files(folder: Path) -> list[Path]:
    """List the shards' files of a run, sorted."""
    return sorted(folder.glob("records-*.jsonl"))


def _whole_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
