# SPDX-License-Identifier: Apache-2.0
"""Which kinds of things a sequence shows near the camera, so that rare classes are not rare here.

Sequences come in blocks of five; within a block each kind is shown in a fixed number of them, in an
order that the seed draws. Whatever the seed, ten sequences in a row show each kind often.
"""

from __future__ import annotations

from camseg_core.synthetic.randomness import Draw

BLOCK = 5
SHOWN = {
    "person": 5,
    "rider": 4,
    "motorcyclist": 3,
    "bicycle": 4,
    "motorcycle": 3,
    "car": 5,
    "truck": 3,
    "bus": 3,
    "train": 3,
    "wall": 3,
    "fence": 3,
    "traffic light": 3,
    "traffic sign": 5,
    "pole": 5,
    "terrain": 4,
    "vegetation": 5,
    "building": 4,
    "sidewalk": 4,
}
"""In how many of five sequences a kind is placed on purpose."""


def make_cast(seed: int, sequence: int) -> frozenset[str]:
    """Return the kinds of things that this sequence has to show."""
    block, place = divmod(sequence, BLOCK)
    return frozenset(
        kind
        for kind, count in SHOWN.items()
        if Draw(seed, "cast", block, kind).order(BLOCK)[place] < count
    )
