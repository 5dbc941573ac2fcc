# SPDX-License-Identifier: Apache-2.0
"""From the results of a replay, offline or live, to its page, figures, gates and exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from camseg_core.errors import BAD_INPUT, FAILED_CHECK, message_of
from camseg_core.system.files import write_bytes
from camseg_ros.replay.results.accuracy import (
    METRIC_COLUMNS,
    DatasetAccuracy,
    accuracy_lines,
    score_drives,
    shown,
)
from camseg_ros.replay.results.drives import DriveResult, read_drives
from camseg_ros.replay.results.folder import JUNIT_FILE, RESULT_FILE
from camseg_ros.replay.results.gates import Gate, GateOutcome, check_gates, write_junit
from camseg_ros.replay.results.live_result import LiveResult
from camseg_ros.replay.results.page import ReplayFacts, replay_notes, write_report


def conclude(
    out: Path, facts: ReplayFacts, gates: Sequence[Gate] = (), live: LiveResult | None = None
) -> int:
    """Score, check gates, write page and figures, print the main ones; return the exit status.

    Args:
        out: folder that holds the results of the bags.
        facts: what they were replayed with.
        gates: gates to check, of classes that the weights know.
        live: what a live replay measured; None for an offline one.

    Raises:
        CamsegError: a result is damaged, or a file cannot be written.
    """
    drives = read_drives(out)
    accuracies = score_drives(out, drives)
    if live is None:
        figures = {accuracy.subject: accuracy.figures() for accuracy in accuracies}
        lines, problems = accuracy_lines(drives, accuracies), list[str]()
    else:
        figures, lines, problems = live.figures(), live_lines(live), live.problems
    problems = [*problems, *unscored(drives)]
    outcomes = check_gates(gates, figures)
    if outcomes:
        write_junit(outcomes, out / JUNIT_FILE)
    write_summary(out, facts, drives, accuracies, outcomes, live)
    report = write_report(out, facts, drives, accuracies, outcomes, live)
    for line in lines:
        print(line)
    for note in replay_notes(drives, live):
        print(f"camseg: note: {message_of(note)}", file=sys.stderr)
    for outcome in outcomes:
        print(outcome.line, file=sys.stdout if outcome.passed else sys.stderr)
    for problem in problems:
        print(f"camseg: {message_of(problem)}", file=sys.stderr)
    print(report)
    if any(drive.loss for drive in drives):
        return BAD_INPUT
    return 0 if all(outcome.passed for outcome in outcomes) and not problems else FAILED_CHECK


def unscored(drives: Sequence[DriveResult]) -> Iterator[str]:
    """Yield a line for each drive without a frame, or with ground truth that scored none."""
    for drive in drives:
        truth = drive.total("truth") + drive.total("truth_refused")
        if not drive.frames:
            yield f"{drive.name}: no frame came out"
        elif truth and not drive.total("with_truth"):
            yield f"{drive.name}: it holds ground truth ({truth} images), and no frame was scored"


def write_summary(
    out: Path,
    facts: ReplayFacts,
    drives: Sequence[DriveResult],
    accuracies: Sequence[DatasetAccuracy] = (),
    outcomes: Sequence[GateOutcome] = (),
    live: LiveResult | None = None,
) -> Path:
    """Write the figures for programs to ``replay.json`` below ``out``, and return its path.

    Raises:
        CamsegError: the file cannot be written.
    """
    content: dict[str, Any] = {
        **{name: value for name, value in vars(facts).items() if name != "steps"},
        "label_set": facts.label_set.name,
        "accuracy": [asdict(accuracy) for accuracy in accuracies],
        "live": asdict(live) if live else None,
        "drives": [
            {
                "name": drive.name,
                "frames": len(drive.frames),
                "loss": drive.loss,
                "flicker": drive.flicker.share,
                "counts": {name: asdict(counts) for name, counts in drive.counts.items()},
            }
            for drive in drives
        ],
        "gates": [
            {
                "subject": outcome.subject,
                "figure": outcome.gate.figure,
                **asdict(outcome.gate.bounds),
                "value": outcome.value,
                "passed": outcome.passed,
            }
            for outcome in outcomes
        ],
    }
    path = out / RESULT_FILE
    write_bytes(path, json.dumps(content, indent=1).encode() + b"\n")
    return path


def live_lines(live: LiveResult) -> Iterator[str]:
    """Return lines that say for each camera what came out, how well and how fast."""
    for camera_name, camera in live.cameras.items():
        counts = camera.counts
        played = f"played {camera.played}, " if camera.played else ""
        lost = f" ({camera.lost_in_dds} lost in DDS before it)" if camera.lost_in_dds else ""
        latency_ms = live.latency_ms(camera_name).items()
        times = ", ".join(f"{key} {value:.0f} ms" for key, value in latency_ms)
        yield (
            f"{camera_name}: {played}in {counts['in']} = out {counts['out']} + dropped "
            f"{counts['dropped']} + refused {counts['refused']}{lost}; latency "
            f"{times or 'not measured'}"
        )
        scored = camera.accuracy["frames"]
        if scored:
            of_all = "" if scored == camera.frames else f" of the {camera.frames}"
            cells = [
                f"{heading} {shown(camera.accuracy.get(name))}"
                for name, (heading, _, _) in METRIC_COLUMNS.items()
            ]
            yield f"{camera_name}: on {scored}{of_all} frames that came out: {', '.join(cells)}"
