# SPDX-License-Identifier: Apache-2.0
"""One self-contained page of a replay. Accuracy and timing stand in separate tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camseg_core.evaluation.frames import KEPT_FRAMES, FrameScore, picture_path
from camseg_core.evaluation.report.page import data_uri, page_environment
from camseg_core.labels import LabelSet
from camseg_core.system.files import write_bytes
from camseg_ros.replay.results.accuracy import COLUMNS, METRIC_COLUMNS, DatasetAccuracy
from camseg_ros.replay.results.drives import DriveResult
from camseg_ros.replay.results.folder import PAGE_FILE, PICTURES_FOLDER
from camseg_ros.replay.results.gates import GateOutcome
from camseg_ros.replay.results.live_result import LiveResult

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class ReplayFacts:
    """What the bags were replayed with.

    Attributes:
        mode: offline or live.
        weights: the weights, without folders.
        weights_sha256: hash of the weights; None where nothing was trained.
        is_random: true if nothing was trained.
        label_set: the classes of the weights.
        sampling: how masks were sampled, in words.
        steps: number of diffusion steps.
    """

    mode: str
    weights: str
    weights_sha256: str | None
    is_random: bool
    label_set: LabelSet
    sampling: str
    steps: int


def write_report(
    out: Path,
    facts: ReplayFacts,
    drives: Sequence[DriveResult],
    accuracies: Sequence[DatasetAccuracy],
    outcomes: Sequence[GateOutcome] = (),
    live: LiveResult | None = None,
) -> Path:
    """Write ``replay.html`` below ``out``, and return its path.

    Raises:
        CamsegError: a library of the report is not installed, or the page cannot be written.
    """
    environment = page_environment(__package__, TEMPLATE)
    label_set = facts.label_set
    page = environment.get_template(TEMPLATE).render(
        facts=facts,
        drives=[_drive_view(out, drive, index) for index, drive in enumerate(drives)],
        accuracies=accuracies,
        columns=COLUMNS,
        live_columns=METRIC_COLUMNS,
        classes=list(zip(label_set.names, label_set.palette, strict=True)),
        worst=list(_worst_frames(out, drives, facts.steps)),
        outcomes=outcomes,
        live=live,
        notes=list(replay_notes(drives)),
    )
    path = out / PAGE_FILE
    write_bytes(path, page.encode("utf-8", "replace"))
    return path


def replay_notes(drives: Sequence[DriveResult]) -> Iterator[str]:
    """Return one sentence for each thing that a reader must know, such as damage or refusals."""
    for drive in drives:
        if drive.loss:
            yield f"{drive.name} is {drive.loss}."
        for count, text in (
            ("refused", "images could not be read"),
            ("repeated", "images have the stamp of an earlier one and are left out"),
            ("unordered", "images are older than one before them"),
            ("truth_refused", "truth images could not be used"),
            ("truth_repeated", "truth images have the stamp of an earlier one and are left out"),
            ("truth_without_image", "truth images belong to no image"),
        ):
            number = drive.total(count)
            if number:
                yield f"{drive.name}: {number} {text}."
        for reason in dict.fromkeys(
            reason for counts in drive.counts.values() for reason in counts.problems
        ):
            yield f"{drive.name}: {reason}."
        if not drive.total("with_truth"):
            yield f"{drive.name} has no ground truth: nothing of it is scored."


def _drive_view(out: Path, drive: DriveResult, index: int) -> dict[str, Any]:
    """Return a drive, a plot as SVG for each camera, and pictures as URIs."""
    from camseg_core.evaluation.report.plots import timeline

    timelines = []
    for place, camera in enumerate(drive.counts):
        frames = [frame for frame in drive.frames if frame.camera == camera]
        if not frames:
            continue
        start_ns = min(frame.stamp_ns for frame in frames)
        seconds = [(frame.stamp_ns - start_ns) / 1e9 for frame in frames]
        series = {
            "mean IoU": [
                (time, frame.mean_iou)
                for time, frame in zip(seconds, frames, strict=True)
                if frame.mean_iou is not None
            ],
            "mean confidence": [
                (time, frame.mean_confidence) for time, frame in zip(seconds, frames, strict=True)
            ],
            "changed pixels": [
                (time, frame.changed)
                for time, frame in zip(seconds, frames, strict=True)
                if frame.changed is not None
            ],
        }
        shown = {name: points for name, points in series.items() if points}
        timelines.append((camera, timeline(shown, f"drive-{index}-{place}")))
    pictures = tuple(_uri(out / PICTURES_FOLDER / name) for name in drive.pictures)
    return {"result": drive, "timelines": timelines, "pictures": list(filter(None, pictures))}


def _worst_frames(out: Path, drives: Sequence[DriveResult], steps: int) -> Iterator[dict[str, Any]]:
    """Return the frames with the least mean IoU, the worst first, with their pictures as URIs."""
    scored = sorted(
        (frame.mean_iou, f"{drive.name}/{frame.camera}/{frame.stamp_ns}", drive.run)
        for drive in drives
        for frame in drive.frames
        if frame.mean_iou is not None and drive.run
    )
    for score, name, run in scored[:KEPT_FRAMES]:
        kinds = ("image", "truth", "prediction", "confidence")
        paths = {
            kind: picture_path(out / run, FrameScore(score, name, steps), kind) for kind in kinds
        }
        pictures = tuple((kind, _uri(path)) for kind, path in paths.items())
        yield {"score": score, "name": name, "pictures": [p for p in pictures if p[1]]}


def _uri(path: Path) -> str:
    """Return a picture's file as URI; empty if it is not readable."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    return data_uri("png" if path.suffix == ".png" else "jpeg", content)
