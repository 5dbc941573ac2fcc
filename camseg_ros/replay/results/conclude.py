# SPDX-License-Identifier: Apache-2.0
"""From a live replay to its page, figures, gates and exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from camseg_core.errors import BAD_INPUT, FAILED_CHECK
from camseg_ros.replay.results.gates import Gate, check_gates, write_junit
from camseg_ros.replay.results.live_result import LiveReplay, LiveResult
from camseg_ros.replay.results.out_folder import JUNIT_FILE
from camseg_ros.replay.results.page import ReplayFacts, replay_notes, write_report
from camseg_ros.replay.results.summary_file import write_summary

if TYPE_CHECKING:
    from camseg_core.diffusion.options import SamplingOptions
    from camseg_core.weights.loading import LoadedModel
    from camseg_ros.replay.results.accuracy import DatasetAccuracy
    from camseg_ros.replay.results.drive_result import DriveResult
    from camseg_ros.replay.results.gates import Gate
    from camseg_ros.replay.results.page import ReplayFacts


RANDOM = "random:"


def conclude_live(
    out: Path, found: LiveReplay, weights: str, sampling: str, gates: Sequence[Gate]
) -> int:
    """Write page and figures below ``out``, say the main ones; gives the exit status.

    Args:
        out: the folder.
        found: what came of the replay.
        weights: as they were named.
        sampling: parameters of the node, in words.
        gates: to check, of classes that the node knows.

    Raises:
        CamsegError: a file cannot be written.
    """
    facts = ReplayFacts(
        mode="live",
        weights=weights if weights.startswith(RANDOM) else Path(weights).name,
        weights_sha256=found.weights_sha256 or None,
        is_random=not found.weights_sha256,
        label_set=found.label_set,
        sampling=sampling,
        steps=found.live.steps,
    )
    outcomes = check_gates(gates, found.live.figures())
    if outcomes:
        write_junit(outcomes, out / JUNIT_FILE)
    write_summary(out, facts, [found.drive], [], outcomes, found.live)
    report = write_report(out, facts, [found.drive], [], outcomes, found.live)
    for line in live_lines(found.live):
        print(line)
    for note in replay_notes([found.drive]):
        print(f"camseg: note: {note}", file=sys.stderr)
    for outcome in outcomes:
        print(outcome.line, file=sys.stdout if outcome.passed else sys.stderr)
    for problem in found.live.problems:
        print(f"camseg: {problem}", file=sys.stderr)
    print(report)
    if found.drive.loss:
        return BAD_INPUT
    is_fine = all(outcome.passed for outcome in outcomes) and not found.live.problems
    return 0 if is_fine else FAILED_CHECK


def live_lines(live: LiveResult) -> Iterator[str]:
    """Say per camera what came out, how well and how fast."""
    for name, camera in live.cameras.items():
        counts, latency = camera.counts, camera.latency_ms or live.node_ms.get("latency", {})
        played = f"played {camera.played}, " if camera.played else ""
        lost = f" ({camera.lost_in_dds} lost in DDS before it)" if camera.lost_in_dds else ""
        refused = f"{counts['refused']}{lost}"
        times = ", ".join(f"{key} {value:.0f} ms" for key, value in latency.items())
        yield (
            f"{name}: {played}in {counts['in']} = out {counts['out']} + dropped "
            f"{counts['dropped']} + refused {refused}; latency {times or 'not measured'}"
        )
        accuracy = camera.accuracy
        if accuracy.frames:
            is_all = accuracy.frames == camera.frames
            of = f"{accuracy.frames}" if is_all else f"{accuracy.frames} of the {camera.frames}"
            shares = (accuracy.mean_iou, accuracy.pixel_accuracy, accuracy.calibration_error)
            cells = ["-" if share is None else f"{100 * share:.2f}" for share in shares]
            yield (
                f"{name}: on {of} frames that came out: mIoU {cells[0]}, pixel "
                f"accuracy {cells[1]}, calibration error {cells[2]}"
            )


def _facts(mode: str, loaded: LoadedModel, options: SamplingOptions) -> ReplayFacts:
    from camseg_ros.replay.results.page import ReplayFacts

    return ReplayFacts(
        mode=mode,
        weights=" + ".join(Path(part).name for part in loaded.source.split(" + ")),
        weights_sha256=loaded.weights_sha256,
        is_random=loaded.is_random,
        label_set=loaded.label_set,
        sampling=", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in sorted(asdict(options).items())
        ),
        steps=options.steps,
    )


def _conclude(out: Path, facts: ReplayFacts, gates: Sequence[Gate]) -> int:
    """Score, write the page, say the main figures; gives the exit status."""
    from camseg_ros.replay.results.accuracy import score_drives
    from camseg_ros.replay.results.drive_result import read_drives
    from camseg_ros.replay.results.gates import check_gates, write_junit
    from camseg_ros.replay.results.out_folder import JUNIT_FILE
    from camseg_ros.replay.results.page import replay_notes, write_report
    from camseg_ros.replay.results.summary_file import offline_figures, write_summary

    drives = read_drives(out)
    accuracies = score_drives(out, drives)
    outcomes = check_gates(gates, offline_figures(accuracies))
    if outcomes:
        write_junit(outcomes, out / JUNIT_FILE)
    write_summary(out, facts, drives, accuracies, outcomes)
    report = write_report(out, facts, drives, accuracies, outcomes)
    for line in _lines(drives, accuracies):
        print(line)
    for note in replay_notes(drives):
        print(f"camseg: note: {note}", file=sys.stderr)
    for outcome in outcomes:
        print(outcome.line, file=sys.stdout if outcome.passed else sys.stderr)
    print(report)
    if any(drive.loss for drive in drives):
        return BAD_INPUT
    return 0 if all(outcome.passed for outcome in outcomes) else FAILED_CHECK


def _lines(drives: Sequence[DriveResult], accuracies: Sequence[DatasetAccuracy]) -> Iterator[str]:
    """Return a table of the scores."""
    frames = sum(len(drive.frames) for drive in drives)
    yield f"{len(drives)} bags, {frames} frames"
    if not accuracies:
        return
    yield f"{'frames of':<28} {'frames':>6} {'mIoU':>6} {'accuracy':>8} {'ECE':>6} {'flicker':>7}"
    for accuracy in accuracies:
        for row in accuracy.rows:
            name = row.sequence or row.condition or f"{row.dataset} {row.part}".strip()
            shares = (row.mean_iou, row.pixel_accuracy, row.calibration_error, row.flicker)
            cells = ["-" if share is None else f"{100 * share:.2f}" for share in shares]
            yield (
                f"{name:<28} {row.frames:>6} {cells[0]:>6} {cells[1]:>8} {cells[2]:>6} "
                f"{cells[3]:>7}"
            )
