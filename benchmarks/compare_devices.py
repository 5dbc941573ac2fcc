# SPDX-License-Identifier: Apache-2.0
"""Compare class ids and probabilities of a device with those of the CPU in float32.

    python benchmarks/compare_devices.py --device cuda --weights demo --out output/cuda

One synthetic frame, one step from zero noise. Exit status 1 if in float32 fewer than 99.9 % of the
pixels have the same class.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from results import write_results

from camseg_core.diffusion.options import ONE_STEP, Precision
from camseg_core.errors import FAILED_CHECK, exit_status
from camseg_core.segmenter import Segmenter
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.system.devices import describe_device, find_device

LEAST_EQUAL_SHARE = 0.999


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", required=True)
    parser.add_argument("--weights", default="demo")
    parser.add_argument("--out", type=Path, default=Path("output/devices"))
    parsed = parser.parse_args()
    return exit_status("compare_devices", lambda: run(parsed))


def run(parsed: argparse.Namespace) -> int:
    """Compare, write the numbers and check them."""
    device = find_device(parsed.device)
    image = SyntheticDrive(seed=9000, width=512, height=256).frame(0).image
    expected = Segmenter.load(parsed.weights).segment(image, replace(ONE_STEP, precision="float32"))
    segmenter = Segmenter.load(parsed.weights, device=parsed.device)
    equal, difference = {}, {}
    for precision in get_args(Precision):
        found = segmenter.segment(image, replace(ONE_STEP, precision=precision))
        equal[precision] = float(np.mean(found.class_ids == expected.class_ids))
        probabilities = (one.class_probabilities for one in (found, expected))
        difference[precision] = float(np.abs(np.subtract(*probabilities)).max())
    table = ["", "| precision | pixels of the same class | largest difference of a probability |"]
    table += ["|---|---|---|"]
    table += [f"| {p} | {100 * equal[p]:.3f} % | {difference[p]:.2g} |" for p in equal]
    content = {"device": describe_device(device), "equal": equal, "difference": difference}
    write_results(parsed.out, "devices", torch.get_num_threads(), content, table)
    return 0 if equal["float32"] >= LEAST_EQUAL_SHARE else FAILED_CHECK


if __name__ == "__main__":
    sys.exit(main())
