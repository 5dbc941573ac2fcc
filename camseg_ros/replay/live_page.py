# SPDX-License-Identifier: Apache-2.0
"""From a live replay to its page, figures, gates and exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from camseg_core.errors import BAD_INPUT, FAILED_CHECK
from camseg_ros.replay.gates import Gate, check_gates, write_junit
from camseg_ros.replay.live import LiveReplay
from camseg_ros.replay.live_result import LiveResult
from camseg_ros.replay.out_folder import JUNIT_FILE
from camseg_ros.replay.report import ReplayFacts, replay_notes, write_report
from camseg_ros.replay.summary_file import write_summary

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
