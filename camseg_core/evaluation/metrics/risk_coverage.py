# SPDX-License-Identifier: Apache-2.0
"""Does low confidence find the errors? Risk against coverage, from a histogram of confidence.

Geifman and El-Yaniv 2017 (Selective classification for deep neural networks): accept the pixels
above a threshold; coverage is their share, risk the share of errors among them. Geifman et al. 2019
(Bias-reduced uncertainty estimation for deep neural classifiers): the area under that curve, and
its excess over the best possible ordering.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from camseg_core.evaluation.metrics.ratios import Float64, ratio
from camseg_core.images.arrays import Int64

COVERAGES = (0.8, 0.9, 0.95, 1.0)
"""Coverages whose risk is reported."""


@dataclass(frozen=True)
class RiskCoverage:
    """The risk-coverage curve; every score is NaN without a labeled pixel.

    Attributes:
        threshold: the least accepted confidence, 0..1, ascending.
        coverage: share of labeled pixels at or above it.
        risk: share of errors among those; NaN where nothing is accepted.
        area: area under the curve (AURC): mean risk over all coverages.
        oracle_area: the least possible: every error after every right pixel.
        random_area: what an ordering by chance has: the share of errors.
        excess_area: ``area - oracle_area`` (E-AURC).
        ordering_score: (random - area) / (random - oracle): 1 if low confidence finds every error
            first, 0 if it is no better than chance; NaN if there is no error or nothing else.
        risk_at_coverage: risk when this share of the pixels is accepted.
    """

    threshold: tuple[float, ...]
    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float
    oracle_area: float
    random_area: float
    excess_area: float
    ordering_score: float
    risk_at_coverage: dict[float, float]


def risk_coverage(count: Int64, correct: Int64) -> RiskCoverage:
    """Draw the curve of a confidence histogram.

    Within a bin the order is unknown; pixels there are accepted as if by chance. Areas are the
    integral over coverage, the limit for many pixels.

    Args:
        count: labeled pixels per equal bin over [0, 1], lowest first, e.g.
            ``CalibrationCounts.confidence_count``.
        correct: those of them with the right class.
    """
    # Most confident first; what is accepted once a bin is in, and the errors among it.
    size = count[::-1].astype(np.float64)
    errors = (count - correct)[::-1].astype(np.float64)
    accepted, wrong = size.cumsum(), errors.cumsum()
    total, error_count = float(accepted[-1]), float(wrong[-1])
    area = _area(size, errors)
    oracle = _area(np.array([total - error_count, error_count]), np.array([0.0, error_count]))
    chance = error_count / total if total else math.nan
    return RiskCoverage(
        threshold=tuple((np.arange(count.size) / count.size).tolist()),
        coverage=tuple(ratio(accepted, np.full_like(accepted, total))[::-1].tolist()),
        risk=tuple(ratio(wrong, accepted)[::-1].tolist()),
        area=area,
        oracle_area=oracle,
        random_area=chance,
        excess_area=area - oracle,
        ordering_score=(chance - area) / (chance - oracle) if 0.0 < chance < 1.0 else math.nan,
        risk_at_coverage={
            # Errors grow evenly within a bin, so they lie on straight lines between its ends.
            coverage: float(np.interp(coverage * total, [0.0, *accepted], [0.0, *wrong]))
            / (coverage * total)
            if total
            else math.nan
            for coverage in COVERAGES
        },
    )


def _area(size: Float64, errors: Float64) -> float:
    """Integrate risk over coverage for bins, most confident first, of sizes and errors given.

    With n pixels and e errors accepted, and a bin of m pixels with error rate r to come, risk is
    (e + r t) / (n + t) for t from 0 to m; its integral is r m + (e - r n) ln((n + m) / n).
    """
    filled = size > 0
    size, errors = size[filled], errors[filled]
    if not size.size:
        return math.nan
    rate = errors / size
    before, errors_before = size.cumsum() - size, errors.cumsum() - errors
    growth = np.zeros_like(size)  # the first bin has none before it: its risk is its error rate
    growth[1:] = np.log1p(size[1:] / before[1:])
    return float((errors + (errors_before - rate * before) * growth).sum() / size.sum())
