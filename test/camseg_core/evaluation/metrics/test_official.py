# SPDX-License-Identifier: Apache-2.0
"""The official protocol: by hand, by loops, and equal to cityscapesScripts on the same files."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from camseg_core.evaluation.metrics.confusion import confusion_counts, sum_confusions
from camseg_core.evaluation.metrics.official import mean_iou_per_image, official_scores
from camseg_core.labels import CITYSCAPES

Ids = np.ndarray[Any, Any]

LABEL_IDS = np.arange(34)
EVALUATED = np.array(sorted(CITYSCAPES.source_ids))
IGNORED = np.setdiff1d(LABEL_IDS, EVALUATED)


@pytest.fixture
def cityscapes_scripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The original evaluation, quiet, without instances and files of its own."""
    for name in ("CITYSCAPES_DATASET", "CITYSCAPES_RESULTS", "CITYSCAPES_EXPORT_DIR"):
        monkeypatch.delenv(name, raising=False)
    # Imported here, because it reads the environment when it is imported.
    original = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    for name, value in {"quiet": True, "JSONOutput": False, "evalInstLevelScore": False}.items():
        monkeypatch.setattr(original.args, name, value)
    return original


def blocky(rng: np.random.Generator, ids: Ids, shape: tuple[int, int] = (64, 96)) -> Ids:
    """A mask like a scene: patches of one id with ragged borders."""
    coarse = rng.choice(ids, (6, 9)).astype(np.uint8)
    rows = np.clip(np.arange(shape[0])[:, None] + rng.integers(-3, 4, shape), 0, shape[0] - 1)
    columns = np.clip(np.arange(shape[1])[None] + rng.integers(-3, 4, shape), 0, shape[1] - 1)
    return coarse[rows * 6 // shape[0], columns * 9 // shape[1]]


def altered(rng: np.random.Generator, truth: Ids, ids: Ids, share: float) -> Ids:
    """A prediction: the ground truth with another mask in some places."""
    return np.where(rng.random(truth.shape) < share, blocky(rng, ids, truth.shape), truth)


def drawn_pairs(name: str, rng: np.random.Generator) -> list[tuple[Ids, Ids]]:
    """Label ids (0..33) of ground truth and prediction, three images a case."""
    void, everywhere = np.array([0]), (40, 50)

    def draw() -> tuple[Ids, Ids]:
        if name == "noise":  # every id anywhere, ignored ones in the prediction too
            return rng.choice(LABEL_IDS, everywhere), rng.choice(LABEL_IDS, everywhere)
        if name == "scene":
            truth = blocky(rng, LABEL_IDS)
            return truth, altered(rng, truth, EVALUATED, 0.3)
        if name == "absent":  # 26 (car) and up never in the truth; 31 and up in neither
            truth = blocky(rng, LABEL_IDS[:26])
            return truth, altered(rng, truth, EVALUATED[EVALUATED < 31], 0.3)
        if name == "unlabeled prediction":
            truth = blocky(rng, EVALUATED)
            return truth, altered(rng, truth, void, 0.4)
        if name == "predicted under ignored truth only":
            truth = blocky(rng, np.array([0, 7, 11]))
            return truth, np.where(truth == 0, 24, truth)
        assert name == "nothing to score"
        return blocky(rng, IGNORED), blocky(rng, LABEL_IDS)

    return [
        (truth.astype(np.uint8), prediction.astype(np.uint8))
        for truth, prediction in (draw() for _ in range(3))
    ]


@pytest.mark.parametrize(
    "case",
    [
        *("noise", "scene", "absent", "unlabeled prediction"),
        *("predicted under ignored truth only", "nothing to score"),
    ],
)
def test_scores_equal_cityscapes_scripts_on_the_same_files(
    case: str,
    cityscapes_scripts: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs = drawn_pairs(case, np.random.default_rng(7))
    truths, predictions = [], []
    for index, (truth, prediction) in enumerate(pairs):
        truths.append(str(tmp_path / f"city_{index:06d}_000000_gtFine_labelIds.png"))
        predictions.append(str(tmp_path / f"city_{index:06d}_000000_prediction.png"))
        assert cv2.imwrite(truths[-1], truth)
        assert cv2.imwrite(predictions[-1], prediction)
    expected = cityscapes_scripts.evaluateImgLists(predictions, truths, cityscapes_scripts.args)
    assert capsys.readouterr().out == ""

    each = [confusion_counts(*map(CITYSCAPES.remap, pair), 19) for pair in pairs]
    scores = official_scores(sum_confusions(each, 19))
    iou = [expected["classScores"][name] for name in CITYSCAPES.names]
    np.testing.assert_allclose(scores.iou, iou, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores.mean_iou, expected["averageScoreClasses"], rtol=0, atol=1e-12)
    if case == "absent":  # the case is what it says: zeros that stay, and classes that leave
        assert 0.0 in scores.iou
        assert math.isnan(scores.iou[CITYSCAPES.names.index("train")])
    if case == "predicted under ignored truth only":
        assert math.isnan(scores.iou[CITYSCAPES.names.index("person")])
        assert scores.mean_iou == 1.0


def test_scores_by_hand() -> None:
    counts = np.array(
        [
            [6, 2, 0, 0, 2],  # class 0: 10 pixels, 2 of them unlabeled in the prediction
            [1, 4, 0, 0, 0],
            [0, 0, 0, 0, 0],  # in neither
            [0, 5, 0, 0, 0],  # never predicted
        ]
    )
    scores = official_scores(counts)
    np.testing.assert_allclose(scores.iou, [6 / 11, 4 / 12, np.nan, 0.0])
    np.testing.assert_allclose(scores.precision, [6 / 7, 4 / 11, np.nan, np.nan])
    np.testing.assert_allclose(scores.recall, [6 / 10, 4 / 5, np.nan, 0.0])
    assert scores.mean_iou == pytest.approx((6 / 11 + 4 / 12 + 0.0) / 3)
    assert scores.pixel_accuracy == pytest.approx(10 / 20)
    assert scores.frequency_weighted_iou == pytest.approx((10 * 6 / 11 + 5 * 4 / 12 + 5 * 0.0) / 20)


def random_counts(seed: int, num_classes: int = 5) -> Ids:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 50, (num_classes, num_classes + 1))
    return counts * (rng.random(counts.shape) < 0.5)


def test_each_images_mean_iou_is_that_of_its_own_counts() -> None:
    counts = np.stack([random_counts(seed) for seed in range(6)] + [np.zeros((5, 6), np.int64)])
    np.testing.assert_allclose(
        mean_iou_per_image(counts), [official_scores(each).mean_iou for each in counts], rtol=1e-12
    )
    assert math.isnan(mean_iou_per_image(counts)[-1])
    # Half of class 0 right, the rest called class 1, which the truth lacks: (1/2 + 0) / 2.
    assert mean_iou_per_image(np.array([[[2, 2, 0, 0], [0] * 4, [0] * 4]])).tolist() == [0.25]
    assert mean_iou_per_image(np.zeros((0, 5, 6), np.int64)).shape == (0,)
