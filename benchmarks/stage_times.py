# SPDX-License-Identifier: Apache-2.0
"""Print a table of milliseconds per stage and frame, medians over repeats, on any device.

Usage: python benchmarks/stage_times.py --weights random:base-768 --steps 1 10 --device cuda
"""

from __future__ import annotations

import argparse
import resource
import sys
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import torch

from camseg_core.errors import exit_status
from camseg_core.images.reading import read_image
from camseg_core.segmenter import STAGES, SamplingOptions, Segmenter
from camseg_core.system.devices import describe_device, describe_machine


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--weights", default="random:demo")
    parser.add_argument("--image", type=Path, help="image file; a gray image without it")
    parser.add_argument(
        "--size", type=int, nargs=2, default=[960, 540], metavar=("WIDTH", "HEIGHT"),
        help="size of the gray image",
    )  # fmt: skip
    parser.add_argument("--precision", nargs="+", default=["float32"], help="float32, bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--samplers", nargs="+", default=["ddpm"])
    parser.add_argument("--repeats", type=int, default=3)
    parsed = parser.parse_args()
    return exit_status("stage_times", lambda: run(parsed))


def run(parsed: argparse.Namespace) -> int:
    """Print one row per precision, number of steps and sampler."""
    gray = np.full((parsed.size[1], parsed.size[0], 3), 127, np.uint8)
    image = read_image(parsed.image) if parsed.image else gray
    segmenter = Segmenter.load(parsed.weights, device=parsed.device)
    device = segmenter.device
    cpu = f"{describe_machine()}, {torch.get_num_threads()} threads"
    machine = describe_device(device) if device.type == "cuda" else cpu
    print(
        "|",
        " | ".join(["machine", "precision", "sampler", "steps", *STAGES, "all", "peak GiB"]),
        "|",
    )
    print("|---" * (len(STAGES) + 6) + "|")
    for precision, steps, sampler in product(parsed.precision, parsed.steps, parsed.samplers):
        options = SamplingOptions(steps=steps, sampler=sampler, precision=precision)
        segmenter.segment(image, options)  # warm-up
        runs = [segmenter.segment(image, options).stage_seconds for _ in range(parsed.repeats)]
        seconds = [median(run[stage] for run in runs) for stage in STAGES]
        if device.type == "cuda":  # of torch's allocator; on the CPU, of the process
            peak_gib = torch.cuda.max_memory_allocated(device) / 2**30
        else:
            peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        cells = [f"{1000 * value:.0f}" for value in [*seconds, sum(seconds)]]
        row = [machine, precision, sampler, str(steps), *cells, f"{peak_gib:.2f}"]
        print("|", " | ".join(row), "|", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
