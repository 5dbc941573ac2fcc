# SPDX-License-Identifier: Apache-2.0
"""``replay.json``: the figures of a replay, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from camseg_core.system.files import write_bytes
from camseg_ros.replay.results.accuracy import DatasetAccuracy
from camseg_ros.replay.results.drive_result import DriveResult
from camseg_ros.replay.results.gates import GateOutcome
from camseg_ros.replay.results.live_result import LiveResult
from camseg_ros.replay.results.out_folder import RESULT_FILE
from camseg_ros.replay.results.page import ReplayFacts


def write_summary(
    out: Path,
    facts: ReplayFacts,
    drives: Sequence[DriveResult],
    accuracies: Sequence[DatasetAccuracy],
    outcomes: Sequence[GateOutcome],
    live: LiveResult | None = None,
) -> Path:
    """Write ``replay.json`` below ``out``; gives its path.

    Raises:
        CamsegError: it cannot be written.
    """
    content: dict[str, Any] = {
        "mode": facts.mode,
        "weights": facts.weights,
        "weights_sha256": facts.weights_sha256,
        "is_random": facts.is_random,
        "label_set": facts.label_set.name,
        "sampling": facts.sampling,
        "accuracy": [asdict(accuracy) for accuracy in accuracies],
        "live": asdict(live) if live else None,
        "drives": [
            {
                "name": drive.name,
                "frames": len(drive.frames),
                "loss": drive.loss,
                "flicker": drive.flicker.share,
                "counts": drive.counts,
            }
            for drive in drives
        ],
        "gates": [
            {
                "subject": outcome.subject,
                "figure": outcome.gate.figure,
                "min": outcome.gate.least,
                "max": outcome.gate.most,
                "value": outcome.value,
                "passed": outcome.passed,
            }
            for outcome in outcomes
        ],
    }
    path = out / RESULT_FILE
    write_bytes(path, json.dumps(content, indent=1).encode() + b"\n")
    return path


def offline_figures(
    accuracies: Sequence[DatasetAccuracy],
) -> Mapping[str, Mapping[str, float | None]]:
    """Return what gates know of an offline replay, by data set and part."""
    figures: dict[str, dict[str, float | None]] = {}
    for accuracy in accuracies:
        row = accuracy.whole
        subject = f"{accuracy.dataset} {accuracy.part}".strip()
        figures[subject] = {
            "mean_iou": row.mean_iou,
            "pixel_accuracy": row.pixel_accuracy,
            "calibration_error": row.calibration_error,
            "flicker": row.flicker,
            **{f"class_iou.{label}": iou for label, iou in accuracy.class_iou.items()},
        }
    return figures
