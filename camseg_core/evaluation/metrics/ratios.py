# SPDX-License-Identifier: Apache-2.0
"""Ratios that may be undefined: not-a-number in memory, null in JSON."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Float64:
    """Divide two arrays of one shape as float64; NaN where the denominator is 0."""
    result = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=np.asarray(denominator) != 0)
    return result


def mean_of_defined(values: Float64) -> float:
    """Return the mean of what is not NaN; NaN if nothing is left."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def finite_or_none(value: float) -> float | None:
    """Return ``value`` as JSON can hold it: None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None


def plain_data(value: Any) -> Any:
    """Return a dataclass of scores, or a value in one, as JSON can hold it; undefined is None."""
    if is_dataclass(value):
        return {field.name: plain_data(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {f"{key:g}": plain_data(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [plain_data(entry) for entry in value]
    return finite_or_none(value) if isinstance(value, float) else value
