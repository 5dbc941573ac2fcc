# SPDX-License-Identifier: Apache-2.0
"""Arrays of counts as short JSON lists: a run of n zeros becomes the one number -n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError

Int64 = NDArray[np.int64]


def pack_counts(counts: Int64) -> list[int]:
    """Flatten counts (0 or more, any shape, row by row) and shorten their runs of zeros.

    ``[5, 0, 0, 0, 7, 0]`` becomes ``[5, -3, 7, -1]``.
    """
    packed: list[int] = []
    for value, run in groupby(counts.ravel().tolist()):
        length = sum(1 for _ in run)
        packed.extend([-length] if value == 0 else [value] * length)
    return packed


def unpack_counts(packed: object, shape: Sequence[int], what: str) -> Int64:
    """Read back what `pack_counts` gave as int64 of ``shape``.

    Args:
        packed: the list from JSON.
        shape: of the array.
        what: its name, for the error.

    Raises:
        CamsegError: no list of whole numbers, or another number of values than ``shape`` has.
    """
    if not isinstance(packed, list) or not all(type(value) is int for value in packed):
        raise CamsegError(f"{what} is no list of whole numbers; the line is damaged")
    size = math.prod(shape)
    stated = sum(-value if value < 0 else 1 for value in packed)
    if stated != size or 0 in packed:
        raise CamsegError(
            f"{what} holds {stated} counts, {size} are needed; it was written with another "
            "number of classes or bins, or is damaged"
        )
    values: list[int] = []
    for value in packed:
        values.extend([0] * -value if value < 0 else [value])
    try:
        return np.array(values, np.int64).reshape(shape)
    except OverflowError as error:
        raise CamsegError(f"{what} holds {max(values)}, which is above 2^63 - 1") from error
