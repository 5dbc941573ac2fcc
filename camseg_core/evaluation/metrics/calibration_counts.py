# SPDX-License-Identifier: Apache-2.0
"""What calibration and risk-coverage need of one image, as integers that can be added.

Sums of probabilities are whole numbers of 2^-20, rounded once per image. Adding images is
therefore exact, and independent of the order and of how images were spread over processes.

Shapes: H, W = image size; C = classes; T = temperatures; N = labeled pixels. Bin k of n holds
k/n <= p < (k + 1)/n; 1 is in the last bin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import Int64, UInt8
from camseg_core.labels import UNLABELED

Float32 = NDArray[np.float32]

RELIABILITY_BINS = 15
"""As Guo et al. 2017."""

CONFIDENCE_BINS = 240
"""Sixteen in each reliability bin: a confidence is published as a byte, so that finer thresholds
would not exist."""

UNITS_PER_ONE = 2**20
"""Sums of probabilities and of nats are whole numbers of 1 / this."""

LEAST_PROBABILITY = 1e-12
"""The true class's probability counts as at least this in the log-likelihood."""

TEMPERATURES: tuple[float, ...] = tuple(2.0 ** (step / 4 - 2) for step in range(21))
"""Measured temperatures: 0.25 to 8, four to the octave, 1 among them."""

TEMPERATURE_STRIDE = 4
"""Temperatures are measured on every 4th row and column, for 21 of them cost 21 softmaxes."""

LEAST_VOID_SHARE = 1e-5
"""What float32 rounding leaves between a sum of probabilities and 1 is not void's share."""

TOLERANCE = 1e-2
"""How far above 1 a probability may be: what bfloat16 rounds it by, and more."""

_PARTS = {
    "confidence_correct": "confidence_count",
    "class_hits": "class_count",
    "temperature_correct": "temperature_count",
}


@dataclass(frozen=True, eq=False)
class CalibrationCounts:
    """Additive counts, int64 each; those that end in ``_units`` are sums in 2^-20.

    Attributes:
        num_classes: C.
        confidence_count: labeled pixels by their largest class probability, [240].
        confidence_correct: those of them with the right class.
        confidence_units: the sum of their confidences.
        class_count: labeled pixels by the probability of each class, [C, 15].
        class_hits: those of them that are of that class.
        class_probability_units: the sum of those probabilities.
        nll_units: negative log-likelihood in nats, summed over labeled pixels, [1].
        temperature_nll_units: the same at each temperature, on the coarse grid of pixels, [T].
        temperature_count: pixels of that grid by confidence at each temperature, [T, 15].
        temperature_correct: those of them with the right class.
        temperature_confidence_units: the sum of their confidences.
    """

    num_classes: int
    confidence_count: Int64
    confidence_correct: Int64
    confidence_units: Int64
    class_count: Int64
    class_hits: Int64
    class_probability_units: Int64
    nll_units: Int64
    temperature_nll_units: Int64
    temperature_count: Int64
    temperature_correct: Int64
    temperature_confidence_units: Int64

    @property
    def pixel_count(self) -> int:
        """Labeled pixels."""
        return int(self.confidence_count.sum())

    @classmethod
    def zero(cls, num_classes: int) -> CalibrationCounts:
        """Return the counts of no image, to start a sum from."""
        arrays = {name: np.zeros(shape, np.int64) for name, shape in _shapes(num_classes).items()}
        return cls(num_classes, **arrays)

    def __add__(self, other: CalibrationCounts) -> CalibrationCounts:
        """Add the counts of other images with the same classes."""
        arrays = {
            name: getattr(self, name) + getattr(other, name) for name in _shapes(self.num_classes)
        }
        return CalibrationCounts(self.num_classes, **arrays)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, `pack_counts` lists; `from_dict` reads it back exactly."""
        arrays = {name: pack_counts(getattr(self, name)) for name in _shapes(self.num_classes)}
        return {"num_classes": self.num_classes, **arrays}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> CalibrationCounts:
        """Build the counts from what `to_dict` gave.

        Raises:
            CamsegError: a field is missing, has another number of values, or counts more right
                pixels than pixels.
        """
        num_classes = content.get("num_classes")
        if type(num_classes) is not int:
            raise CamsegError(f"calibration counts have num_classes {num_classes!r}, no number")
        arrays = {
            name: unpack_counts(content.get(name), shape, f"calibration's {name}")
            for name, shape in _shapes(num_classes).items()
        }
        for part, whole in _PARTS.items():
            if (arrays[part] > arrays[whole]).any():
                raise CamsegError(f"calibration's {part} is larger than its {whole}")
        return cls(num_classes, **arrays)


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
        shape: shape of the array.
        what: its name, for the error.

    Raises:
        CamsegError: no list of whole numbers, or another number of values than ``shape`` has.
    """
    if not isinstance(packed, list) or not all(type(value) is int for value in packed):
        raise CamsegError(f"{what} is no list of whole numbers; the line is damaged")
    try:
        values = np.array(packed, np.int64)
    except OverflowError as error:
        raise CamsegError(f"{what} holds {max(packed)}, which is above 2^63 - 1") from error
    lengths = np.where(values < 0, -values, 1)
    if lengths.sum() != math.prod(shape) or not values.all():
        raise CamsegError(
            f"{what} holds {lengths.sum()} counts, {math.prod(shape)} are needed; it was written "
            "with another number of classes or bins, or is damaged"
        )
    return np.maximum(values, 0).repeat(lengths).reshape(shape)


def measure_calibration(
    probabilities: Float32, truth: UInt8, prediction: UInt8
) -> CalibrationCounts:
    """Measure one image, whose ids `confusion_counts` accepts.

    Args:
        probabilities: per class and pixel, float32 [C, H, W], 0..1; what is missing to 1 is void's.
        truth: ground truth, class ids uint8 [H, W]; pixels of 255, unlabeled, are left out.
        prediction: class ids uint8 [H, W]; 255 = unlabeled counts as wrong. Confidence is the
            largest class probability in either case.

    Raises:
        CamsegError: probabilities out of range or not-a-number.
    """
    num_classes = len(probabilities)
    least, most = probabilities.min(initial=0.0), probabilities.max(initial=0.0)
    if not (least >= 0.0 and most <= 1.0 + TOLERANCE):  # not-a-number is neither
        raise CamsegError(
            f"probabilities lie in {least:.6g}..{most:.6g}; 0..1 is needed: apply a softmax to "
            "logits, divide bytes by 255"
        )
    planes, classes, correct = _labeled(probabilities, truth, prediction)
    confidence = planes.max(axis=0)  # [N]
    of_truth = planes[classes, np.arange(classes.size)]  # [N]
    count, correct_count, units = _histogram(confidence, correct, CONFIDENCE_BINS)
    clamped = np.clip(of_truth, LEAST_PROBABILITY, 1.0, dtype=np.float64)
    class_count, class_units = _class_histograms(planes)
    # Widened first: numpy 1 keeps bytes times a number bytes, and they wrap around.
    hit_bins = classes.astype(np.intp) * RELIABILITY_BINS + _bins(of_truth, RELIABILITY_BINS)
    hits = np.bincount(hit_bins, minlength=num_classes * RELIABILITY_BINS)

    step = slice(None, None, TEMPERATURE_STRIDE)
    coarse = _labeled(probabilities[:, step, step], truth[step, step], prediction[step, step])
    return CalibrationCounts(
        num_classes,
        confidence_count=count,
        confidence_correct=correct_count,
        confidence_units=units,
        class_count=class_count,
        class_hits=hits.reshape(num_classes, RELIABILITY_BINS),
        class_probability_units=class_units,
        nll_units=_units(np.array([-np.log(clamped).sum()])),
        **_temperature_curve(*coarse),
    )


def _shapes(num_classes: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array, in the order of the fields."""
    top, classes = (CONFIDENCE_BINS,), (num_classes, RELIABILITY_BINS)
    curve = (len(TEMPERATURES), RELIABILITY_BINS)
    return {
        "confidence_count": top,
        "confidence_correct": top,
        "confidence_units": top,
        "class_count": classes,
        "class_hits": classes,
        "class_probability_units": classes,
        "nll_units": (1,),
        "temperature_nll_units": (len(TEMPERATURES),),
        "temperature_count": curve,
        "temperature_correct": curve,
        "temperature_confidence_units": curve,
    }


def _labeled(
    probabilities: Float32, truth: UInt8, prediction: UInt8
) -> tuple[Float32, UInt8, NDArray[np.bool_]]:
    """Flatten to the labeled pixels: probabilities [C, N], classes [N], rightly predicted [N]."""
    planes = probabilities.reshape(len(probabilities), -1)
    classes = truth.ravel()
    correct = classes == prediction.ravel()
    labeled = np.flatnonzero(classes != UNLABELED)
    if labeled.size == classes.size:
        return planes, classes, correct
    return planes.take(labeled, axis=1), classes[labeled], correct[labeled]


def _bins(values: Float32, bin_count: int) -> NDArray[np.intp]:
    """Return the bin 0..bin_count-1 of each value in 0..1."""
    bins = (values * np.float32(bin_count)).astype(np.intp)
    return np.minimum(bins, bin_count - 1, out=bins)


def _histogram(
    confidence: Float32, correct: NDArray[np.bool_], bin_count: int
) -> tuple[Int64, Int64, Int64]:
    """Count, count of the correct and summed confidence in units per bin, int64 [bins] each."""
    bins = _bins(confidence, bin_count)
    count = np.bincount(bins, minlength=bin_count)
    correct_count = np.bincount(bins[correct], minlength=bin_count)
    return count, correct_count, _units(np.bincount(bins, confidence, bin_count))


def _class_histograms(planes: Float32) -> tuple[Int64, Int64]:
    """Count and summed probability in units per class and bin, int64 [C, 15] each.

    Most probabilities of most classes are in the first bin, so only the others are sorted into
    bins, and the first one is what is left.
    """
    counts = np.zeros((len(planes), RELIABILITY_BINS), np.int64)
    sums = np.zeros((len(planes), RELIABILITY_BINS))
    for plane, count, total in zip(planes, counts, sums, strict=True):
        above = plane[plane * np.float32(RELIABILITY_BINS) >= 1.0]
        bins = _bins(above, RELIABILITY_BINS)
        count[:] = np.bincount(bins, minlength=RELIABILITY_BINS)
        total[:] = np.bincount(bins, above, RELIABILITY_BINS)
        count[0] = plane.size - above.size
        total[0] = max(0.0, float(plane.sum(dtype=np.float64)) - total.sum())
    return counts, _units(sums)


def _temperature_curve(
    planes: Float32, classes: UInt8, correct: NDArray[np.bool_]
) -> dict[str, Int64]:
    """Log-likelihood and reliability of softmax(log p / T) for each T, on labeled pixels [C, N].

    Void's share is one more class, so that scaling keeps a distribution.
    """
    void = 1.0 - planes.sum(axis=0, keepdims=True)  # [1, N]
    void[void < LEAST_VOID_SHARE] = 0.0
    shares = np.concatenate([planes, void])  # [C + 1, N]
    logits = np.log(np.maximum(shares, np.finfo(np.float32).tiny))
    logits -= logits.max(axis=0)
    of_top = logits[:-1].max(axis=0)  # [N]
    of_truth = logits[classes, np.arange(classes.size)]  # [N]
    rows = []
    scaled = np.empty_like(logits)
    for temperature in TEMPERATURES:
        inverse = np.float32(1.0 / temperature)
        np.exp(np.multiply(logits, inverse, out=scaled), out=scaled)
        normalizer = scaled.sum(axis=0)  # [N]
        nll = np.log(normalizer) - of_truth * inverse
        np.clip(nll, 0.0, -math.log(LEAST_PROBABILITY), out=nll)
        confidence = np.exp(of_top * inverse) / normalizer
        units = _units(nll.sum(dtype=np.float64))
        rows.append((units, *_histogram(confidence, correct, RELIABILITY_BINS)))
    names = [name for name in _shapes(len(planes)) if name.startswith("temperature_")]
    return dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))


def _units(values: Any) -> Int64:
    """Round sums to whole units."""
    units: Int64 = np.rint(np.asarray(values) * UNITS_PER_ONE).astype(np.int64)
    return units
