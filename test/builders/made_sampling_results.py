# SPDX-License-Identifier: Apache-2.0
"""Results of a made-up sampling benchmark, for tests of its page and figure."""

from __future__ import annotations

from typing import Any

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.evaluation.report.figures import Row
from camseg_core.evaluation.sampling_grid import Sweep, simplest
from camseg_core.evaluation.sampling_results import Entry, SamplingResults, WeightsFacts

DEFAULT = SamplingOptions(steps=1, sampler="ddim", initial_noise_scale=0.0, decoder="mask")
SWEEP = Sweep(
    steps=(1, 4),
    samplers=("ddpm", "dpm-solver++"),
    temperatures=(1.0,),
    samples=(1, 8),
    samples_steps=(4,),
)


def made_row(mean_iou: float | None, milliseconds: float, images: int = 10) -> Row:
    return Row(
        part="",
        steps=0,
        condition=None,
        corruption="none",
        level=0.0,
        images=images,
        score=mean_iou,
        relative_to_clean=None,
        pixel_accuracy=0.9,
        frequency_weighted_iou=0.8,
        expected_calibration_error=0.02,
        classwise_calibration_error=0.03,
        temperature=1.3,
        scaled_temperature=1.25,
        scaled_calibration_error=0.01,
        negative_log_likelihood=0.5,
        risk_at_coverage=0.06,
        risk_coverage_area=0.0123,
        milliseconds_per_image=milliseconds + 5.0,
        median_milliseconds_per_image=milliseconds,
    )


def made_entry(
    mean_iou: float | None,
    milliseconds: float,
    *,
    weights: str = "after",
    images: int = 10,
    common_mean_iou: float | None = None,
    **options: Any,
) -> Entry:
    chosen = simplest(SamplingOptions(**({"decoder": "mask"} | options)))
    row = made_row(mean_iou, milliseconds, images)
    common = mean_iou if common_mean_iou is None else common_mean_iou
    return Entry(weights, chosen, chosen == DEFAULT, row, common)


def made_weights(name: str = "after", **changes: Any) -> WeightsFacts:
    fields: dict[str, Any] = {
        "name": name,
        "file": f"{name}.safetensors",
        "sha256": "0123456789abcdef" * 4,
        "model": "demo",
        "is_random": False,
        "image_features": True,
        "prediction": "v",
        "default": DEFAULT,
        "left_out": (),
    }
    return WeightsFacts(**(fields | changes))


def made_results(entries: list[Entry], **changes: Any) -> SamplingResults:
    fields: dict[str, Any] = {
        "command": "camseg benchmark sampling --weights after=after.safetensors",
        "dataset": "cityscapes",
        "split": "val",
        "images": 10,
        "common_images": 10,
        "budget_ms": 80.0,
        "machines": ("Some Processor, 2 cores, 8 GiB; cpu, 2 threads",),
        "libraries": ("torch 2.0",),
        "started": ("2026-01-02T03:04:05+00:00",),
        "sweep": SWEEP,
        "weights": (made_weights(),),
        "entries": tuple(entries),
    }
    return SamplingResults(**(fields | changes))
