# SPDX-License-Identifier: Apache-2.0
"""Ratios that may be undefined: not-a-number in memory, null in JSON."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


class PlainData:
    """A dataclass of scores that can be written as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, the ``protocol`` of the scores first; undefined is None."""
        protocol = getattr(type(self), "protocol", None)
        content: dict[str, Any] = _plain(self)
        return content if protocol is None else {"protocol": protocol, **content}


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


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {f"{key:g}": _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return finite_or_none(value) if isinstance(value, float) else value
