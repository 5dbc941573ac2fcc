# SPDX-License-Identifier: Apache-2.0
"""The numbers of ``camseg benchmark latent`` and their file, which the report shows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from camseg_core.system.files import read_bytes, write_bytes
from camseg_core.system.validation import parse_json

LATENT_FILE = "latent.json"
"""Name by which the report finds the numbers, in its folder or one folder below."""


@dataclass(frozen=True)
class LatentScores:
    """How much of the result goes through the latent; mean IoU by the official protocol.

    Attributes:
        weights: name of the weights' file.
        weights_sha256: its hash; null for random weights.
        dataset, split: what was scored.
        images: how many images were scored.
        autoencoder_mean_iou: of true masks, encoded and decoded.
        latent_sd_ratio: standard deviation of predicted latents over that of true ones; None where
            the latter do not vary or a latent is not finite.
        mean_iou: of the segmentation.
        pixel_accuracy: of the segmentation.
        latent_only_mean_iou: of predicted latents, decoded with nothing else. It equals
            ``mean_iou``, since no decoder of this release reads image features.
        swapped_latents_mean_iou: of each image's ground truth against the decoded latent of
            another image.
    """

    weights: str
    weights_sha256: str | None
    dataset: str
    split: str
    images: int
    autoencoder_mean_iou: float
    latent_sd_ratio: float | None
    mean_iou: float
    pixel_accuracy: float
    latent_only_mean_iou: float
    swapped_latents_mean_iou: float


def write_latent_scores(path: Path, scores: LatentScores) -> None:
    """Write the numbers as JSON.

    Raises:
        CamsegError: the file cannot be written.
    """
    write_bytes(path, json.dumps(asdict(scores), indent=1).encode() + b"\n")


def read_latent_scores(folder: Path) -> list[LatentScores]:
    """Read every file `LATENT_FILE` in a folder and one folder below it, sorted by path.

    Raises:
        CamsegError: a file is unreadable or holds something else.
    """
    found = sorted([*folder.glob(LATENT_FILE), *folder.glob(f"*/{LATENT_FILE}")])
    return [parse_json(LatentScores, read_bytes(path), str(path)) for path in found]
