# SPDX-License-Identifier: Apache-2.0
"""One self-contained page of a replay. Accuracy and timing stand in separate tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camseg_core.evaluation.frames import KEPT_FRAMES, PICTURES, FrameScore, picture_path
from camseg_core.evaluation.report.page import data_uri, number, page_environment, percent
from camseg_core.labels import LabelSet
from camseg_core.system.files import write_bytes
from camseg_ros.node.health import PERCENTILES
from camseg_ros.replay.results.accuracy import COLUMNS, METRIC_COLUMNS, DatasetAccuracy
from camseg_ros.replay.results.drives import DriveResult
from camseg_ros.replay.results.folder import PAGE_FILE, PICTURES_FOLDER
from camseg_ros.replay.results.gates import GateOutcome
from camseg_ros.replay.results.live_result import LiveResult

TEMPLATE = "page.html.j2"
SERIES = {
    "mean IoU": "mean_iou", "mean confidence": "mean_confidence", "changed pixels": "changed",
}  # fmt: skip
"""Lines of a drive's plot: name -> attribute of `FrameResult`."""


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
    environment.filters |= {
        "heads": lambda names, unit="": [(name, unit, "") for name in names],
        "shares": lambda metrics, names: [percent(metrics.get(name)) for name in names],
        "times": lambda values: [number(values.get(f"p{p}"), 1) for p in PERCENTILES],
    }
    page = environment.get_template(TEMPLATE).render(
        facts=facts,
        drives=[_drive_view(out, drive, index) for index, drive in enumerate(drives)],
        accuracies=accuracies,
        columns=COLUMNS,
        live_columns=METRIC_COLUMNS,
        classes=zip(facts.label_set.names, facts.label_set.palette, strict=True),
        worst=list(_worst_frames(out, drives, facts.steps)),
        outcomes=outcomes,
        live=live,
        cameras=live.cameras if live else {},
        notes=list(replay_notes(drives, live)),
    )
    path = out / PAGE_FILE
    write_bytes(path, page.encode("utf-8", "replace"))
    return path


def replay_notes(drives: Sequence[DriveResult], live: LiveResult | None = None) -> Iterator[str]:
    """Return one sentence for each thing that a reader must know, such as damage or refusals."""
    if live is not None and live.shortfall:
        yield f"{live.shortfall[:1].upper()}{live.shortfall[1:]}."
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
            if number_of := drive.total(count):
                yield f"{drive.name}: {number_of} {text}."
        problems = [reason for counts in drive.counts.values() for reason in counts.problems]
        for reason in dict.fromkeys(problems):
            yield f"{drive.name}: {reason}."
        if not drive.total("with_truth"):
            yield f"{drive.name} has no ground truth: nothing of it is scored."


def _drive_view(out: Path, drive: DriveResult, index: int) -> dict[str, Any]:
    """Return a drive, a plot as SVG for each camera, and pictures as URIs."""
    from camseg_core.evaluation.report.plots import timeline

    timelines = []
    for place, camera in enumerate(drive.counts):
        frames = [frame for frame in drive.frames if frame.camera == camera]
        start_ns = min((frame.stamp_ns for frame in frames), default=0)
        series = {
            name: [
                ((frame.stamp_ns - start_ns) / 1e9, share)
                for frame in frames
                if (share := getattr(frame, attribute)) is not None
            ]
            for name, attribute in SERIES.items()
        }
        shown = {name: points for name, points in series.items() if points}
        if shown:
            timelines.append((camera, timeline(shown, f"drive-{index}-{place}")))
    pictures = [_uri(out / PICTURES_FOLDER / name) for name in drive.pictures]
    return {"result": drive, "timelines": timelines, "pictures": [*filter(None, pictures)]}


def _worst_frames(out: Path, drives: Sequence[DriveResult], steps: int) -> Iterator[dict[str, Any]]:
    """Return the frames with the least mean IoU, the worst first, with their pictures as URIs."""
    scored = sorted(
        (frame.mean_iou, f"{drive.name}/{frame.camera}/{frame.stamp_ns}", drive.run)
        for drive in drives
        for frame in drive.frames
        if frame.mean_iou is not None and drive.run
    )
    for score, name, run in scored[:KEPT_FRAMES]:
        found = FrameScore(score, name, steps)
        uris = {kind: _uri(picture_path(out / run, found, kind)) for kind in PICTURES}
        yield {"score": found, "pictures": {kind: uri for kind, uri in uris.items() if uri}}


def _uri(path: Path) -> str:
    """Return a picture's file as URI; empty if it is not readable."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    return data_uri("png" if path.suffix == ".png" else "jpeg", content)
