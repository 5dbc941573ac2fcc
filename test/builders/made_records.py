# SPDX-License-Identifier: Apache-2.0
"""Records of made-up images, for tests that read files but run no model."""

from __future__ import annotations

from typing import Any

import numpy as np

from camseg_core.evaluation.metrics.calibration_counts import measure_calibration
from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.evaluation.records import ImageRecord, Run, Session
from camseg_core.labels import LabelSet

CLASSES = LabelSet(
    name="three", names=("road", "car", "sky"), palette=((1, 0, 0), (0, 1, 0), (0, 0, 1))
)


def made_run(**changes: Any) -> Run:
    fields: dict[str, Any] = {
        "dataset": "made",
        "split": "val",
        "images_sha256": "0" * 64,
        "protocol": "official",
        "label_set": CLASSES.to_dict(),
        "weights_sha256": "1" * 64,
        "is_random": False,
        "model": {"name": "tiny"},
        "sampling": {"sampler": "ddpm", "seed": 0},
        "corruption_seed": 0,
    }
    return Run(**(fields | changes))


def made_record(seed: int = 0, *, right: float = 0.7, **changes: Any) -> ImageRecord:
    """A record of an 8 x 6 image: each pixel is right by chance, and confident by chance."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), (6, 8))
    prediction = rng.choice(np.array([0, 1, 2, 255], np.uint8), (6, 8))
    prediction = np.where(rng.random((6, 8)) < right, truth, prediction)
    probabilities = rng.dirichlet((1, 1, 1, 0.2), (6, 8))[..., :3].transpose(2, 0, 1)
    fields: dict[str, Any] = {
        "sample": f"frame_{seed}.png",
        "corruption": "none",
        "level": 0.0,
        "steps": 4,
        "part": "",
        "condition": "clear",
        "sequence": f"sequence {seed % 4}",
        "frame_index": seed,
        "height": 6,
        "width": 8,
        "counts": confusion_counts(truth, prediction, 3).tolist(),
        "calibration": measure_calibration(
            probabilities.astype(np.float32), truth, prediction
        ).to_dict(),
        "stage_seconds": {"denoiser": 0.5 + seed, "decoder": 0.25},
    }
    return ImageRecord(**(fields | changes))


def made_session(**changes: Any) -> Session:
    fields: dict[str, Any] = {
        "weights": "model.safetensors",
        "machine": "a processor, 2 cores, 24 GiB",
        "device": "cpu",
        "threads": 1,
        "libraries": {"torch": "2.13.0"},
        "started_at": "2026-01-01T00:00:00+00:00",
    }
    return Session(**(fields | changes))
