# SPDX-License-Identifier: Apache-2.0
"""The metrics by name."""

from __future__ import annotations

import numpy as np
import pytest

from camseg_core.evaluation.metrics import registry
from camseg_core.evaluation.metrics.calibration import reliability_of
from camseg_core.evaluation.metrics.calibration_counts import UNITS_PER_ONE, measure_calibration
from camseg_core.evaluation.metrics.registry import Measured, Metric, measure, metrics_of

CONFUSION = np.array([[3, 1, 0], [0, 4, 2]], np.int64)


def test_each_protocol_has_its_own_metrics() -> None:
    official, published = metrics_of("official"), metrics_of("published")
    assert {"mean_iou", "pixel_accuracy", "frequency_weighted_iou"} <= official.keys()
    assert "mean_precision" in published
    assert not {"mean_iou", "pixel_accuracy"} & published.keys()
    assert "calibration_error" in official.keys() & published.keys()


def test_what_is_not_known_is_none() -> None:
    values = measure(Measured(CONFUSION))
    assert values["mean_iou"] == pytest.approx((3 / 4 + 4 / 7) / 2)
    assert values["calibration_error"] is None
    assert values["risk_coverage_area"] is None
    bins = np.zeros(15, np.int64)
    bins[14] = 10
    reliability = reliability_of(bins, bins * 7 // 10, bins * UNITS_PER_ONE)
    live = measure(Measured(CONFUSION, known_reliability=reliability))
    assert live["calibration_error"] == pytest.approx(0.3)


def test_calibration_is_measured_from_its_counts() -> None:
    truth = np.array([[0, 1]], np.uint8)
    probabilities = np.array([[[0.75, 0.25]], [[0.25, 0.75]]], np.float32)
    values = measure(Measured(CONFUSION, measure_calibration(probabilities, truth, truth)))
    assert values["calibration_error"] == pytest.approx(0.25)
    assert values["risk_at_coverage"] == 0.0


def test_a_new_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Metric("worst IoU", "The smallest IoU of a class.", lambda m: min(m.official.iou))
    monkeypatch.setattr(registry, "METRICS", {**registry.METRICS, "worst_iou": new})
    assert measure(Measured(CONFUSION))["worst_iou"] == pytest.approx(4 / 7)
