# SPDX-License-Identifier: Apache-2.0
"""Score weights of Cityscapes' classes on CamVid: mIoU of merged classes.

    python benchmarks/score_camvid.py --weights demo --root /data/CamVid

Each of the 19 predicted classes counts as the CamVid class (SegNet's 11) that holds the same
things. Official protocol.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from camseg_core.data.datasets import open_dataset
from camseg_core.diffusion.options import DEFAULT_PROFILE, find_profile
from camseg_core.errors import CamsegError, exit_status
from camseg_core.evaluation.metrics.confusion import confusion_counts, sum_confusions
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.labels import CITYSCAPES, UNLABELED
from camseg_core.segmenter import Segmenter
from camseg_core.system.progress import progress_bar

CAMVID_OF = {
    "road": "road", "sidewalk": "pavement", "building": "building", "wall": "building",
    "fence": "fence", "pole": "pole", "traffic light": "sign", "traffic sign": "sign",
    "vegetation": "tree", "terrain": "tree", "sky": "sky", "person": "pedestrian",
    "rider": "bicyclist", "bicycle": "bicyclist", "car": "car", "truck": "car", "bus": "car",
    "train": "car", "motorcycle": "bicyclist",
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True)
    parser.add_argument("--root", type=Path, required=True, help="CamVid, SegNet's version")
    parser.add_argument("--split", default="val")
    parser.add_argument("--profile", default=DEFAULT_PROFILE)
    parser.add_argument("--threads", type=int, default=2)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    return exit_status("score_camvid", lambda: run(parsed))


def run(parsed: argparse.Namespace) -> int:
    """Score and print."""
    segmenter = Segmenter.load(parsed.weights)
    if segmenter.label_set.names != CITYSCAPES.names:
        raise CamsegError(f"{parsed.weights} does not know the 19 classes of Cityscapes")
    dataset = open_dataset("camvid", parsed.root, parsed.split)
    options = find_profile(segmenter.loaded.profiles, parsed.profile)
    names = dataset.label_set.names
    table = np.full(256, UNLABELED, np.uint8)
    for index, name in enumerate(segmenter.label_set.names):
        table[index] = names.index(CAMVID_OF[name])
    counts = []
    with progress_bar(len(dataset), "image", "CamVid") as bar:
        for index in range(len(dataset)):
            sample = dataset.read(index)
            predicted = table[segmenter.segment(sample.image, options).class_ids]
            counts.append(confusion_counts(sample.ground_truth, predicted, len(names)))
            bar.update()
    scores = official_scores(sum_confusions(counts, len(names)))
    print(f"{len(dataset)} images: mIoU {100 * scores.mean_iou:.1f}, ", end="")
    print(f"pixel accuracy {100 * scores.pixel_accuracy:.1f}")
    print(", ".join(f"{name} {100 * iou:.0f}" for name, iou in zip(names, scores.iou, strict=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
