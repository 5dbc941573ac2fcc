# SPDX-License-Identifier: Apache-2.0
"""Milliseconds per stage and frame, median over repeats, on any device; JSON lines on request.

Usage: python benchmarks/stage_times.py --weights random:base-768 --steps 1 10 --device cuda
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from camseg_core.errors import exit_status
from camseg_core.images.reading import read_image
from camseg_core.segmenter import STAGES, SamplingOptions, Segmenter
from camseg_core.system.devices import describe_device, describe_machine


def machine(device: torch.device) -> str:
    """Say what the figures were taken on."""
    if device.type == "cuda":
        return describe_device(device)
    return f"{describe_machine()}, {torch.get_num_threads()} threads"


def peak_gib(device: torch.device) -> float:
    """Peak memory: of the process on the CPU, of torch's allocator on CUDA."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(
    segmenter: Segmenter, image: np.ndarray, parsed: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Return one row per precision, step count and sampler."""
    for precision, steps, name in product(parsed.precision, parsed.steps, parsed.samplers):
        options = SamplingOptions(steps=steps, sampler=name, precision=precision)
        segmenter.segment(image, options)  # warm-up
        runs = [segmenter.segment(image, options).stage_seconds for _ in range(parsed.repeats)]
        stages = {stage: 1000 * median(run[stage] for run in runs) for stage in STAGES}
        yield {
            "weights": parsed.weights,
            "machine": machine(segmenter.device),
            "image": list(image.shape[:2]),
            "precision": precision,
            "sampler": name,
            "steps": steps,
            "milliseconds": stages,
            "milliseconds_all": sum(stages.values()),
            "peak_gib": peak_gib(segmenter.device),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--weights", default="random:demo")
    parser.add_argument("--image", type=Path, help="a picture; a gray one without it")
    parser.add_argument(
        "--size", type=int, nargs=2, default=[960, 540], metavar=("WIDTH", "HEIGHT"),
        help="of the gray picture",
    )  # fmt: skip
    parser.add_argument("--precision", nargs="+", default=["float32"], help="float32, bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--samplers", nargs="+", default=["ddpm"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, no table")
    parsed = parser.parse_args(arguments)
    return exit_status("stage_times", lambda: run(parsed))


def run(parsed: argparse.Namespace) -> int:
    """Measure, and print a table or JSON."""
    gray = np.full((parsed.size[1], parsed.size[0], 3), 127, np.uint8)
    image = read_image(parsed.image) if parsed.image else gray
    segmenter = Segmenter.load(parsed.weights, device=parsed.device)
    rows = measure(segmenter, image, parsed)
    if not parsed.json:
        print(
            "| machine | precision | sampler | steps | "
            + " | ".join(STAGES)
            + " | all | peak GiB |"
        )
        print("|---" * (len(STAGES) + 6) + "|")
    for row in rows:
        if parsed.json:
            print(json.dumps(row), flush=True)
            continue
        cells = [f"{row['milliseconds'][stage]:.0f}" for stage in STAGES]
        cells = [
            row["machine"], row["precision"], row["sampler"], str(row["steps"]), *cells,
        ]  # fmt: skip
        cells += [f"{row['milliseconds_all']:.0f}", f"{row['peak_gib']:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
