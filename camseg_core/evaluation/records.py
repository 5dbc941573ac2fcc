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
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import TracebackType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.calibration_counts import CalibrationCounts
from camseg_core.evaluation.metrics.confusion import confusion_from_json
from camseg_core.evaluation.metrics.official import mean_iou_per_image
from camseg_core.evaluation.metrics.published import Protocol
from camseg_core.labels import LabelSet
from camseg_core.system.files import write_bytes

RUN_FILE = "run.json"
RECORDS_VERSION = 1
NO_CORRUPTION = "none"

Content = TypeVar("Content", "Run", "Key", "ImageRecord", "Session")


@dataclass(frozen=True)
class Run:
    """What decides the results of a run; two runs that agree in it can be merged.

    Attributes:
        dataset, split: what was read.
        images_sha256: of the names of all images and the content of the first, which tells data
            sets of one name apart.
        protocol: how it is prepared and scored.
        label_set: the classes, as `LabelSet.to_dict` gives them.
        weights_sha256: of the weights; None where nothing was trained.
        is_random: true if nothing was trained.
        model: the model's configuration.
        sampling: sampler, temperature, seed and what else decides a result, but for the steps.
        corruption_seed: of the corruptions' noise.
        records_version: of the record format.
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
    records_version: int = RECORDS_VERSION

    @property
    def classes(self) -> LabelSet:
        """The label set."""
        return LabelSet.from_dict(self.label_set)

    @property
    def folder_name(self) -> str:
        """Name of the run's folder: readable, and unique by a hash over everything."""
        name = f"{self.dataset}-{Path(self.split).stem}-{self.protocol}"
        # A data set's name may come from a bag of others.
        return f"{re.sub(r'[^-.a-zA-Z0-9_]', '_', name)}-{_digest(asdict(self))[:8]}"


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

    Attributes:
        sample, corruption, level, steps: the record's `Key`.
        part, condition, sequence, frame_index: from the sample's metadata.
        height, width: of the truth that was compared with, in pixels.
        counts: confusion counts [C][C + 1], see `confusion`.
        calibration: as `CalibrationCounts.to_dict` gives it.
        stage_seconds: wall time per stage; the one entry that differs from run to run.
    """

    sample: str
    corruption: str
    level: float
    steps: int
    part: str
    condition: str
    sequence: str
    frame_index: int
    height: int
    width: int
    counts: list[list[int]]
    calibration: dict[str, Any]
    stage_seconds: dict[str, float] = field(compare=False)

    def __post_init__(self) -> None:
        """Check what a damaged file could hold instead."""
        confusion_from_json(self.counts, self.calibration_counts.num_classes)

    @property
    def key(self) -> Key:
        """What the record is of."""
        return Key(self.sample, self.corruption, self.level, self.steps)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """The confusion counts as int64 [C, C + 1]."""
        return confusion_from_json(self.counts, self.calibration_counts.num_classes)

    @cached_property
    def calibration_counts(self) -> CalibrationCounts:
        """The calibration counts."""
        return CalibrationCounts.from_dict(self.calibration)

    @cached_property
    def mean_iou(self) -> float:
        """The image's own mean IoU, 0..1; not-a-number without a labeled pixel."""
        return float(mean_iou_per_image(self.confusion[None])[0])


@dataclass(frozen=True)
class Session:
    """One process at work on a run.

    Attributes:
        weights: what was loaded, without folders.
        machine: processor and memory, in words.
        device: of torch, by name.
        threads: of torch.
        libraries: version by name.
        started_at: date and time, ISO 8601, UTC.
    """

    weights: str
    machine: str
    device: str
    threads: int
    libraries: dict[str, str]
    started_at: str


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
        whole = _whole_length(self.path.read_bytes())
        self._file.truncate(whole)

    def __enter__(self) -> RecordWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Bring the lines to the disk and free the file for others."""
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, content: ImageRecord | Session) -> None:
        """Append one line and hand it to the operating system.

        Raises:
            CamsegError: the disk is full.
        """
        kind = "image" if isinstance(content, ImageRecord) else "session"
        line = json.dumps({"kind": kind, **asdict(content)}, separators=(",", ":"))
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise CamsegError(f"cannot write {self.path}: {error.strerror or error}") from error


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
        CamsegError: absent, unreadable, or of a newer format.
    """
    path = folder / RUN_FILE
    try:
        return _parse(Run, json.loads(path.read_bytes()), str(path))
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CamsegError(f"{path} is not readable: {error}") from error


def iterate_records(paths: Iterable[Path]) -> Iterator[ImageRecord]:
    """Return the records of some shards' files of one run, one at a time, each `Key` once.

    A key occurs twice where a run was resumed with another number of shards; the results are the
    same, and the first is given. Order is that of files and lines: all sums are of whole numbers,
    so that no figure depends on it.

    Raises:
        CamsegError: a line is no record, or two records of one key differ.
    """
    seen: dict[Key, str] = {}
    for place, content in _lines(paths, "image"):
        record = _parse(ImageRecord, content, place)
        digest = _digest({**content, "stage_seconds": None})
        if record.key not in seen:
            seen[record.key] = digest
            yield record
        elif seen[record.key] != digest:
            raise CamsegError(
                f"{place}: {record.sample} has other scores than an earlier line of the same "
                "image, corruption and steps; remove one of them"
            )


def read_keys(paths: Iterable[Path]) -> set[Key]:
    """Read the keys of the records in some shards' files; cheaper than the records.

    Raises:
        CamsegError: a line is no record.
    """
    return {_parse(Key, content, place) for place, content in _lines(paths, "image")}


def read_sessions(paths: Iterable[Path]) -> list[Session]:
    """Read which processes worked on a run, in the order of files and lines.

    Raises:
        CamsegError: a line is no record.
    """
    return [_parse(Session, content, place) for place, content in _lines(paths, "session")]


def record_files(folder: Path) -> list[Path]:
    """List the shards' files of a run, sorted."""
    return sorted(folder.glob("records-*.jsonl"))


def _lines(paths: Iterable[Path], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return place and content of each whole line of one kind."""
    for path in paths:
        for number, line in enumerate(_whole_lines(path), start=1):
            place = f"{path}, line {number}"
            try:
                content = json.loads(line)
            except ValueError as error:
                raise CamsegError(f"{place} is not JSON: {error}; remove the line") from error
            if not isinstance(content, dict):
                raise CamsegError(f"{place} is no record: a JSON object is needed")
            if content.get("kind") == kind:
                yield place, content


def _whole_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error


def _whole_length(content: bytes) -> int:
    """Return the length of the whole lines at the start of ``content``."""
    return content.rfind(b"\n") + 1


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _parse(kind: type[Content], content: dict[str, Any], place: str) -> Content:
    """Build a record from its JSON object."""
    if not isinstance(content, dict):
        raise CamsegError(f"{place} is no {kind.__name__} record: a JSON object is needed")
    hints = get_type_hints(kind)
    names = {entry.name for entry in fields(kind)}
    missing = sorted(names - set(content))
    if missing:
        raise CamsegError(f"{place} is no {kind.__name__} record: it lacks {', '.join(missing)}")
    for name in sorted(names):
        if not _is_of(content[name], hints[name]):
            raise CamsegError(
                f"{place} is no {kind.__name__} record: {name} is {content[name]!r:.80}"
            )
    try:
        return kind(**{name: content[name] for name in names})
    except CamsegError as error:
        raise CamsegError(f"{place} is no {kind.__name__} record: {error}") from error


def _is_of(value: object, hint: Any) -> bool:
    """Compare a JSON value with a field's type; of containers, only the outermost."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    kinds = get_args(hint) if isinstance(hint, UnionType) else (get_origin(hint) or hint,)
    return type(value) in kinds or (float in kinds and type(value) is int)
