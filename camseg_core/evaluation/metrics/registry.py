# SPDX-License-Identifier: Apache-2.0
"""The scalar metrics by name: tables, reports and gates show and check what stands here.

A new metric is one entry of `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from camseg_core.evaluation.metrics.calibration import (
    CalibrationScores,
    Reliability,
    calibration_scores,
)
from camseg_core.evaluation.metrics.calibration_counts import CalibrationCounts
from camseg_core.evaluation.metrics.official import OfficialScores, official_scores
from camseg_core.evaluation.metrics.published import (
    PROTOCOLS,
    Protocol,
    PublishedScores,
    published_scores,
)
from camseg_core.evaluation.metrics.ratios import finite_or_none
from camseg_core.evaluation.metrics.risk_coverage import RiskCoverage, risk_coverage
from camseg_core.images.arrays import Int64

REPORTED_COVERAGE = 0.95
"""The coverage whose risk is a metric."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What metrics are computed from: sums over some images, and what follows from them.

    Attributes:
        confusion: confusion counts, int64 [C, C + 1].
        calibration_counts: summed calibration counts; None where only masks and confidence are
            known, not probabilities.
        known_reliability: reliability of the confidence, where there are no calibration counts.
    """

    confusion: Int64
    calibration_counts: CalibrationCounts | None = None
    known_reliability: Reliability | None = None

    @cached_property
    def official(self) -> OfficialScores:
        """Scores by the official protocol."""
        return official_scores(self.confusion)

    @cached_property
    def published(self) -> PublishedScores:
        """Scores by the published protocol."""
        return published_scores(self.confusion)

    @cached_property
    def calibration(self) -> CalibrationScores:
        """Calibration as predicted; not-a-number without calibration counts."""
        return calibration_scores(self._counts)

    @cached_property
    def reliability(self) -> Reliability:
        """Reliability of the confidence; not-a-number where nothing is known of it."""
        return self.known_reliability or self.calibration.reliability

    @cached_property
    def risk_coverage(self) -> RiskCoverage:
        """The risk-coverage curve; not-a-number without calibration counts."""
        return risk_coverage(self._counts.confidence_count, self._counts.confidence_correct)

    @property
    def _counts(self) -> CalibrationCounts:
        return self.calibration_counts or CalibrationCounts.zero(len(self.confusion))


@dataclass(frozen=True)
class Metric:
    """One scalar score of some images.

    Attributes:
        label: heading of its column.
        meaning: what it is, in one sentence.
        measure: function that computes it; not-a-number where it is undefined.
        is_share: true for a share, 0..1, which tables show in percent.
        is_brief: true if it also stands in the short tables of the command line.
        protocols: the protocols under which it means something.
    """

    label: str
    meaning: str
    measure: Callable[[Measured], float]
    is_share: bool = True
    is_brief: bool = False
    protocols: tuple[Protocol, ...] = PROTOCOLS


OFFICIAL: tuple[Protocol, ...] = ("official",)

METRICS: Mapping[str, Metric] = {
    "mean_iou": Metric(
        "mIoU",
        "Mean over classes of TP / (TP + FP + FN), from one confusion matrix over all images; "
        "classes in neither ground truth nor prediction are left out.",
        lambda m: m.official.mean_iou,
        is_brief=True,
        protocols=OFFICIAL,
    ),
    "mean_precision": Metric(
        "mean precision",
        "Mean over all classes of TP / (TP + FP), pixels without a prediction left out, images and "
        "masks squashed to a square, as CAM-Seg's own table has it.",
        lambda m: m.published.mean_precision,
        is_brief=True,
        protocols=("published",),
    ),
    "pixel_accuracy": Metric(
        "pixel accuracy",
        "Share of the labeled pixels with the right class.",
        lambda m: m.official.pixel_accuracy,
        is_brief=True,
        protocols=OFFICIAL,
    ),
    "frequency_weighted_iou": Metric(
        "fwIoU",
        "IoU weighted by the class's share of the labeled pixels.",
        lambda m: m.official.frequency_weighted_iou,
        protocols=OFFICIAL,
    ),
    "calibration_error": Metric(
        "ECE",
        "Expected calibration error: the mean difference of confidence and accuracy over 15 bins "
        "of the largest class probability.",
        lambda m: m.reliability.expected_calibration_error,
        is_brief=True,
    ),
    "classwise_calibration_error": Metric(
        "class ECE",
        "Expected calibration error of each class's own probability, mean over classes.",
        lambda m: m.calibration.classwise_calibration_error,
    ),
    "negative_log_likelihood": Metric(
        "NLL",
        "Negative log-likelihood of the true class in nats, mean over pixels.",
        lambda m: m.calibration.negative_log_likelihood,
        is_share=False,
    ),
    "risk_at_coverage": Metric(
        f"risk at {100 * REPORTED_COVERAGE:g} %",
        f"Share of errors among the {100 * REPORTED_COVERAGE:g} % most confident pixels.",
        lambda m: m.risk_coverage.risk_at_coverage[REPORTED_COVERAGE],
    ),
    "risk_coverage_area": Metric(
        "AURC",
        "Area under the risk-coverage curve: the mean share of errors over all shares of accepted "
        "pixels; low if low confidence finds the errors.",
        lambda m: m.risk_coverage.area,
    ),
}
"""Name -> metric, in the order of the columns."""

MAIN_METRIC: Mapping[Protocol, str] = {"official": "mean_iou", "published": "mean_precision"}
"""The one number of each protocol."""


def metrics_of(protocol: Protocol) -> dict[str, Metric]:
    """Return the metrics of a protocol by name."""
    return {name: metric for name, metric in METRICS.items() if protocol in metric.protocols}


def measure(measured: Measured, protocol: Protocol = "official") -> dict[str, float | None]:
    """Return every metric of a protocol by name; None where it is undefined or unknown."""
    metrics = metrics_of(protocol)
    return {name: finite_or_none(metric.measure(measured)) for name, metric in metrics.items()}
