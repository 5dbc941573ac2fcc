# SPDX-License-Identifier: Apache-2.0
"""Do stated probabilities come true? Calibration errors and temperature from summed counts.

Guo et al. 2017 (On calibration of modern neural networks): reliability bins, expected and maximum
calibration error, temperature scaling. Nixon et al. 2019 (Measuring calibration in deep learning):
the class-wise ("static") error. Shapes: C = classes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from camseg_core.evaluation.metrics.calibration_counts import (
    RELIABILITY_BINS,
    TEMPERATURES,
    UNITS_PER_ONE,
    CalibrationCounts,
)
from camseg_core.evaluation.metrics.ratios import mean_of_defined, ratio
from camseg_core.images.arrays import Int64


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram of 15 equal bins over the largest class probability, and its errors.

    Attributes:
        bin_count: labeled pixels per bin.
        bin_accuracy: their share with the right class; NaN in an empty bin.
        bin_confidence: their mean confidence; NaN in an empty bin.
        accuracy: share of all labeled pixels with the right class.
        mean_confidence: mean confidence of all labeled pixels.
        expected_calibration_error: mean of |accuracy - confidence| over bins, weighted by pixels.
        maximum_calibration_error: the largest |accuracy - confidence| of a bin.
    """

    bin_count: tuple[int, ...]
    bin_accuracy: tuple[float, ...]
    bin_confidence: tuple[float, ...]
    accuracy: float
    mean_confidence: float
    expected_calibration_error: float
    maximum_calibration_error: float


@dataclass(frozen=True)
class CalibrationScores:
    """Calibration as measured, at temperature 1.

    Attributes:
        reliability: reliability of the largest class probability.
        class_calibration_error: per class, over 15 bins of its own probability on all labeled
            pixels; NaN for a class that the ground truth lacks.
        classwise_calibration_error: mean over the classes of the ground truth.
        negative_log_likelihood: mean over labeled pixels, nats.
    """

    reliability: Reliability
    class_calibration_error: tuple[float, ...]
    classwise_calibration_error: float
    negative_log_likelihood: float


@dataclass(frozen=True)
class TemperatureScores:
    """Calibration after scaling, measured on every 4th row and column.

    Attributes:
        temperature: the measured temperature that these scores belong to.
        reliability: reliability at that temperature.
        negative_log_likelihood: mean at it, nats.
        pixel_count: labeled pixels of that coarse grid.
    """

    temperature: float
    reliability: Reliability
    negative_log_likelihood: float
    pixel_count: int


def calibration_scores(counts: CalibrationCounts) -> CalibrationScores:
    """Score summed counts; every score is NaN where there is no labeled pixel."""
    bins = (counts.confidence_count, counts.confidence_correct, counts.confidence_units)
    gaps = np.abs(counts.class_hits - counts.class_probability_units / UNITS_PER_ONE)  # [C, 15]
    per_class = ratio(gaps.sum(axis=1), counts.class_count.sum(axis=1))  # [C]
    per_class[counts.class_hits.sum(axis=1) == 0] = np.nan
    return CalibrationScores(
        reliability=reliability_of(
            *(each.reshape(RELIABILITY_BINS, -1).sum(axis=1) for each in bins)
        ),
        class_calibration_error=tuple(per_class.tolist()),
        classwise_calibration_error=mean_of_defined(per_class),
        negative_log_likelihood=_mean(counts.nll_units[0], counts.pixel_count),
    )


def fit_temperature(counts: CalibrationCounts) -> float:
    """Find the temperature of the least negative log-likelihood (Guo et al. 2017, section 4.2).

    The best measured temperature, refined by a parabola through it and its two neighbours in log T.
    Probabilities become softmax(log p / T): above 1 the model was too confident, below 1 too timid.
    A result at either end of the measured range, 0.25 or 8, may lie beyond it.

    Args:
        counts: counts of labeled pixels of the held-out part only; report `calibration_at` on the
            rest.
    """
    nll = counts.temperature_nll_units
    best = int(nll.argmin())
    if best in {0, len(TEMPERATURES) - 1}:
        return TEMPERATURES[best]
    before, least, after = (int(value) for value in nll[best - 1 : best + 2])
    curvature = before - 2 * least + after
    offset = 0.5 * (before - after) / curvature if curvature else 0.0  # -0.5..0.5 of a step
    step = math.log(TEMPERATURES[1] / TEMPERATURES[0])
    return TEMPERATURES[best] * math.exp(offset * step)


def calibration_at(counts: CalibrationCounts, temperature: float) -> TemperatureScores:
    """Score summed counts at the measured temperature nearest to ``temperature`` in log T.

    Nothing is interpolated: all scores are exact at the temperature that the result states,
    which is at most a factor of 2^(1/8), 9 %, away from one that `fit_temperature` returned.
    """
    index = int(np.abs(np.log(np.array(TEMPERATURES) / temperature)).argmin())
    pixel_count = int(counts.temperature_count[index].sum())
    return TemperatureScores(
        temperature=TEMPERATURES[index],
        reliability=reliability_of(
            counts.temperature_count[index],
            counts.temperature_correct[index],
            counts.temperature_confidence_units[index],
        ),
        negative_log_likelihood=_mean(counts.temperature_nll_units[index], pixel_count),
        pixel_count=pixel_count,
    )


def split_for_fit(sequences: Iterable[str]) -> frozenset[str]:
    """Choose the sequences that a temperature is fitted on: every second one, by their hash.

    Whole sequences, because neighbouring frames are nearly the same image. The choice depends on
    the set of names only. It alternates through the set instead of drawing each name by itself:
    Cityscapes' val has three cities, which would all fall on one side in one of four draws.

    Args:
        sequences: the sequence of each sample, repeated as often as wanted; where a data set has
            none, the sample's name.

    Returns:
        Half of the different names, rounded down: none of a single sequence, which cannot be
        split; the rest is what the fit is judged on.
    """
    ordered = sorted(
        set(sequences),
        key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest(),
    )
    return frozenset(ordered[1::2])


def reliability_of(count: Int64, correct: Int64, confidence_units: Int64) -> Reliability:
    """Make a diagram of counts per bin, int64 [15] each, and of summed confidences in 2^-20."""
    confidence_sum = confidence_units / UNITS_PER_ONE  # [15]
    pixel_count = int(count.sum())
    accuracy, confidence = ratio(correct, count), ratio(confidence_sum, count)
    gaps = np.abs(accuracy - confidence)[count > 0]
    return Reliability(
        bin_count=tuple(count.tolist()),
        bin_accuracy=tuple(accuracy.tolist()),
        bin_confidence=tuple(confidence.tolist()),
        accuracy=int(correct.sum()) / pixel_count if pixel_count else math.nan,
        mean_confidence=_mean(confidence_units.sum(), pixel_count),
        expected_calibration_error=(
            float(np.abs(correct - confidence_sum).sum()) / pixel_count if pixel_count else math.nan
        ),
        maximum_calibration_error=float(gaps.max()) if pixel_count else math.nan,
    )


def _mean(units: np.int64, pixel_count: int) -> float:
    return int(units) / UNITS_PER_ONE / pixel_count if pixel_count else math.nan
