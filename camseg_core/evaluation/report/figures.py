# SPDX-License-Identifier: Apache-2.0
"""Every number of the report as plain data, computed from the sums of the runs.

The page and its plots read nothing else (but for the frames' pictures), and `figures_to_json`
writes the same numbers beside the page. Scores are shares, 0..1; undefined values are None.
Shapes: C = classes. A row of confusion is a true class, its last column unlabeled predictions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from camseg_core.errors import CamsegError

LISTED_CONFUSIONS = 10
"""How many of the largest confusions are listed."""

UNLABELED_NAME = "unlabeled"


@dataclass(frozen=True)
class Row:
    """The scores of one set of images, a row of a table.

    Attributes:
        part, corruption, level, steps: what was scored.
        condition: likewise; None for all conditions of the part.
        images: number of images.
        score: the protocol's one number.
        relative_to_clean: ``score`` by that of the same images without corruption.
        metrics: every metric of the protocol by name, see `registry.METRICS`.
        temperature: fitted on one half of the sequences; None where none is left out.
        scaled_calibration_error: on the other half, at the measured ``scaled_temperature`` that
            is nearest to the fitted one.
        milliseconds_per_image: mean wall time of all stages.
        median_milliseconds_per_image: median of the same.
    """

    part: str
    steps: int
    condition: str | None
    corruption: str
    level: float
    images: int
    score: float | None
    relative_to_clean: float | None
    metrics: dict[str, float | None]
    temperature: float | None
    scaled_temperature: float | None
    scaled_calibration_error: float | None
    milliseconds_per_image: float
    median_milliseconds_per_image: float


@dataclass(frozen=True)
class ClassRow:
    """The scores of one class.

    Attributes:
        name, color: of the label set; RGB, 0..255.
        pixels: labeled pixels of the class.
        share_of_pixels: of all labeled pixels.
        iou, recall: None by the published protocol.
        precision: by either protocol, each by its own rule.
        calibration_error: of the class's own probability.
        score_by_condition: IoU, or published precision, per condition where there are several.
    """

    name: str
    color: tuple[int, int, int]
    pixels: int
    share_of_pixels: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    calibration_error: float | None
    score_by_condition: dict[str, float | None]


@dataclass(frozen=True)
class Confusion:
    """One true class taken for another: ``share`` is of the true class's pixels."""

    truth: str
    prediction: str
    pixels: int
    share: float


@dataclass(frozen=True)
class Curve:
    """One corruption: its rows of one part and number of steps, by rising level.

    Attributes:
        corruption: its name.
        meaning: of a level, with its unit; empty for a name that is not known here.
        identity: the level that changes nothing, if there is one.
        rows: one per level.
        mean_relative: mean of ``relative_to_clean`` over the levels.
    """

    corruption: str
    meaning: str
    identity: float | None
    rows: tuple[Row, ...]
    mean_relative: float | None


@dataclass(frozen=True)
class PartFigures:
    """One part of the data set, at the largest number of steps and without corruption.

    Attributes:
        part: its name, or empty.
        classes: one entry a class.
        confusion: pixels, [C][C + 1].
        confusion_shares: by the true class's pixels; a row of None where there are none.
        largest_confusions: most pixels first.
        reliability: as `calibration.Reliability.to_dict` gives it.
        scaled: as `calibration.TemperatureScores.to_dict`, of the held-out half; or None.
        risk_coverage: as `risk_coverage.RiskCoverage.to_dict`.
        curves: one per corruption, sorted by name.
    """

    part: str
    classes: tuple[ClassRow, ...]
    confusion: list[list[int]]
    confusion_shares: list[list[float | None]]
    largest_confusions: tuple[Confusion, ...]
    reliability: dict[str, Any]
    scaled: dict[str, Any] | None
    risk_coverage: dict[str, Any]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class FrameFigures:
    """One image: ``score`` is its own mean IoU by either protocol, and only ranks."""

    sample: str
    steps: int
    score: float


@dataclass(frozen=True)
class RunFigures:
    """One run.

    Attributes:
        name: of its folder.
        dataset, split, protocol, label_set, corruption_seed, sampling: as in its `records.Run`.
        score_name: of the protocol's one number.
        model: name of the model's configuration.
        weights: names of the files that were loaded.
        weights_sha256: None where nothing was trained.
        is_random: true if nothing was trained.
        machines: what worked on it, in words.
        libraries: name and version.
        started: first and last date of a process, ISO 8601; empty if that is not recorded.
        images: number of images.
        steps: numbers of diffusion steps, rising.
        rows: without corruption: each part and number of steps, then its conditions.
        corrupted_rows: each part, number of steps, corruption and level.
        parts: details at the largest number of steps.
        worst, best: frames at the largest number of steps.
    """

    name: str
    dataset: str
    split: str
    protocol: str
    score_name: str
    label_set: str
    model: str
    weights: tuple[str, ...]
    weights_sha256: str | None
    is_random: bool
    sampling: dict[str, Any]
    corruption_seed: int
    machines: tuple[str, ...]
    libraries: tuple[str, ...]
    started: tuple[str, ...]
    images: int
    steps: tuple[int, ...]
    rows: tuple[Row, ...]
    corrupted_rows: tuple[Row, ...]
    parts: tuple[PartFigures, ...]
    worst: tuple[FrameFigures, ...]
    best: tuple[FrameFigures, ...]


def figures_to_json(runs: Sequence[RunFigures]) -> bytes:
    """Return the figures of some runs as JSON: ``{"runs": [...]}``; undefined values are null.

    Raises:
        CamsegError: the settings in a damaged ``run.json`` hold a number that JSON cannot.
    """
    content = {"runs": [asdict(run) for run in runs]}
    try:
        return json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"
    except ValueError as error:
        raise CamsegError(f"run.json holds a setting that is no number: {error}") from error
