# SPDX-License-Identifier: Apache-2.0
"""From the records of a run to its figures: sums per group, and the scores of those sums.

A group is what is scored by itself: one part of the data set, condition, corruption, level and
number of steps. All sums are of whole numbers, so that neither the order of lines nor the number of
shards matters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError
from camseg_core.evaluation.frames import FrameScore
from camseg_core.evaluation.metrics.calibration import (
    CalibrationScores,
    TemperatureScores,
    calibration_at,
    calibration_scores,
    fit_temperature,
    split_for_fit,
)
from camseg_core.evaluation.metrics.calibration_counts import CalibrationCounts
from camseg_core.evaluation.metrics.official import OfficialScores, official_scores
from camseg_core.evaluation.metrics.published import PublishedScores, published_scores
from camseg_core.evaluation.metrics.risk_coverage import RiskCoverage, risk_coverage
from camseg_core.evaluation.records import (
    NO_CORRUPTION,
    ImageRecord,
    Run,
    Session,
    iterate_records,
    read_run,
    read_sessions,
    record_files,
)

PLAUSIBLE = 1e9
"""No level, number of steps or time in seconds is as large as this."""


@dataclass(frozen=True, order=True)
class Group:
    """What is summed apart: see the module's text. ``fits`` marks the sequences of the fit."""

    part: str
    condition: str
    corruption: str
    level: float
    steps: int
    fits: bool


@dataclass
class Sums:
    """Sums over the images of one or more groups.

    Attributes:
        confusion: int64 [C, C + 1].
        calibration: the calibration counts.
        images: number of images.
        image_seconds: wall time of all stages, one entry an image.
    """

    confusion: NDArray[np.int64]
    calibration: CalibrationCounts
    images: int = 0
    image_seconds: list[float] = field(default_factory=list)

    @classmethod
    def zero(cls, num_classes: int) -> Sums:
        """Return the sums of no image."""
        return cls(
            np.zeros((num_classes, num_classes + 1), np.int64), CalibrationCounts.zero(num_classes)
        )

    def add(self, other: Sums) -> None:
        """Add other sums to these."""
        self.confusion = self.confusion + other.confusion
        self.calibration = self.calibration + other.calibration
        self.images += other.images
        self.image_seconds += other.image_seconds


@dataclass(frozen=True)
class Scores:
    """The figures of some groups together.

    Attributes:
        images: number of images.
        seconds_per_image: mean wall time of all stages.
        median_seconds_per_image: median of the same.
        confusion: int64 [C, C + 1].
        accuracy: by the run's protocol.
        calibration: as predicted.
        scaled: calibration after temperature scaling, on the images the temperature was not
            fitted on; None where nothing can be held out.
        temperature: what was fitted; None likewise.
        risk_coverage: does low confidence find the errors?
    """

    images: int
    seconds_per_image: float
    median_seconds_per_image: float
    confusion: NDArray[np.int64]
    accuracy: OfficialScores | PublishedScores
    calibration: CalibrationScores
    scaled: TemperatureScores | None
    temperature: float | None
    risk_coverage: RiskCoverage

    @property
    def headline(self) -> float:
        """The protocol's one number, 0..1: mean IoU, or the published mean precision."""
        if isinstance(self.accuracy, PublishedScores):
            return self.accuracy.mean_precision
        return self.accuracy.mean_iou


@dataclass(frozen=True)
class Summary:
    """All sums of one run.

    Attributes:
        folder: the run's.
        run: what decides its results.
        sessions: which processes made it.
        sums: per group.
        frame_scores: every image without corruption, per number of steps.
    """

    folder: Path
    run: Run
    sessions: list[Session]
    sums: dict[Group, Sums]
    frame_scores: list[FrameScore]

    def parts(self) -> list[str]:
        """List the parts of the data set, sorted."""
        return sorted({group.part for group in self.sums})

    def steps(self) -> list[int]:
        """List the numbers of diffusion steps, sorted."""
        return sorted({group.steps for group in self.sums})

    def conditions(self, part: str) -> list[str]:
        """List the conditions within a part, sorted."""
        return sorted({group.condition for group in self.sums if group.part == part})

    def corruptions(self) -> list[tuple[str, float]]:
        """List corruption and level of the groups, without ``none``, sorted."""
        return sorted(
            {
                (group.corruption, group.level)
                for group in self.sums
                if group.corruption != NO_CORRUPTION
            }
        )

    def scores(
        self,
        *,
        steps: int,
        part: str,
        condition: str | None = None,
        corruption: str = NO_CORRUPTION,
        level: float = 0.0,
    ) -> Scores | None:
        """Score the groups that agree in all that is given; None if there is none.

        Parts are never mixed: reference images never enter an adverse score.
        """

        def wanted(group: Group) -> bool:
            return (group.steps, group.part, group.corruption, group.level) == (
                steps, part, corruption, level,
            ) and condition in {None, group.condition}  # fmt: skip

        everything = self._sum(wanted)
        if everything.images == 0:
            return None
        calibration = everything.calibration
        fitted = self._sum(lambda group: wanted(group) and group.fits).calibration
        judged = self._sum(lambda group: wanted(group) and not group.fits).calibration
        temperature = None
        if fitted.temperature_count[0].any() and judged.temperature_count[0].any():
            temperature = fit_temperature(fitted)
        score = official_scores if self.run.protocol == "official" else published_scores
        return Scores(
            images=everything.images,
            seconds_per_image=sum(everything.image_seconds) / everything.images,
            median_seconds_per_image=median(everything.image_seconds),
            confusion=everything.confusion,
            accuracy=score(everything.confusion),
            calibration=calibration_scores(calibration),
            scaled=None if temperature is None else calibration_at(judged, temperature),
            temperature=temperature,
            risk_coverage=risk_coverage(
                calibration.confidence_count, calibration.confidence_correct
            ),
        )

    def _sum(self, wanted: Callable[[Group], bool]) -> Sums:
        total = Sums.zero(self.run.classes.num_classes)
        for group, sums in self.sums.items():
            if wanted(group):
                total.add(sums)
        return total


def summarize(folder: Path, samples: Collection[str] | None = None) -> Summary:
    """Read a run's folder.

    Args:
        folder: the run's.
        samples: names of the images to take; all that are recorded without.

    Raises:
        CamsegError: no record, or one that is unreadable or of another number of classes.
    """
    run, files = read_run(folder), record_files(folder)

    def records() -> Iterator[ImageRecord]:
        everything = iterate_records(files)
        return (one for one in everything if samples is None or one.sample in samples)

    fits = _sequences_to_fit(records())
    num_classes = run.classes.num_classes
    sums: dict[Group, Sums] = {}
    frame_scores = []
    for record in records():
        _check(record, num_classes, folder)
        group = Group(
            record.part,
            record.condition,
            record.corruption,
            record.level,
            record.steps,
            (record.part, record.condition, _sequence(record)) in fits,
        )
        sums.setdefault(group, Sums.zero(num_classes)).add(
            Sums(
                record.confusion,
                record.calibration_counts,
                images=1,
                image_seconds=[sum(record.stage_seconds.values())],
            )
        )
        if record.corruption == NO_CORRUPTION:
            frame_scores.append(FrameScore(record.mean_iou, record.sample, record.steps))
    if not sums:
        raise CamsegError(f"{folder} holds no record yet; `camseg evaluate` was stopped too early")
    return Summary(folder, run, read_sessions(files), sums, sorted(frame_scores))


def _check(record: ImageRecord, num_classes: int, folder: Path) -> None:
    """Refuse what only a damaged file, or one of another run, holds."""
    found = record.calibration_counts.num_classes
    if found != num_classes:
        raise CamsegError(
            f"{folder}: {record.sample} is scored with {found} classes, the run has {num_classes}"
        )
    for name, value in (
        ("level", record.level),
        ("steps", record.steps),
        *((f"stage_seconds of {stage}", value) for stage, value in record.stage_seconds.items()),
    ):
        if type(value) not in {int, float} or not abs(value) < PLAUSIBLE:  # nor not-a-number
            raise CamsegError(
                f"{folder}: {record.sample} has {name} {value!r:.40}; a number is needed, "
                "the line is damaged: remove it"
            )


def _sequences_to_fit(records: Iterable[ImageRecord]) -> set[tuple[str, str, str]]:
    """Choose part, condition and sequence of the images that temperatures are fitted on.

    Half of the sequences of each part and condition, so that both halves look alike.
    """
    sequences: dict[tuple[str, str], set[str]] = {}
    for record in records:
        sequences.setdefault((record.part, record.condition), set()).add(_sequence(record))
    return {
        (part, condition, name)
        for (part, condition), names in sequences.items()
        for name in split_for_fit(names)
    }


def _sequence(record: ImageRecord) -> str:
    """Name what an image must not be split from."""
    return record.sequence or record.sample


def headline_lines(summary: Summary) -> Iterator[str]:
    """Return a table: one row per part, number of steps, condition and corruption.

    Scores in percent, ECE = expected calibration error of the largest probability.
    """
    run = summary.run
    yield f"{summary.folder} ({run.protocol} protocol, {run.dataset} {run.split})"
    if run.is_random:
        yield "the weights are RANDOM: these scores mean nothing"
    name = "mIoU" if run.protocol == "official" else "precision"
    columns = f"{'images':>6} {name:>9} {'accuracy':>8} {'ECE':>6}"
    yield f"{'part':<10} {'steps':>5} {'what':<24} {columns}"
    for part in summary.parts():
        for steps in summary.steps():
            clean = summary.scores(part=part, steps=steps)
            if clean is not None:
                yield _row(part, steps, "all", clean)
            conditions = summary.conditions(part)
            for condition in conditions if len(conditions) > 1 else ():
                scores = summary.scores(part=part, steps=steps, condition=condition)
                if scores is not None:
                    yield _row(part, steps, condition, scores)
            for corruption, level in summary.corruptions():
                scores = summary.scores(part=part, steps=steps, corruption=corruption, level=level)
                if scores is not None:
                    yield _row(part, steps, f"{corruption}:{level:g}", scores)


def _row(part: str, steps: int, what: str, scores: Scores) -> str:
    accuracy = scores.accuracy
    shown = "" if isinstance(accuracy, PublishedScores) else f"{100 * accuracy.pixel_accuracy:.2f}"
    error = scores.calibration.reliability.expected_calibration_error
    return (
        f"{part or '-':<10} {steps:>5} {what:<24} {scores.images:>6} "
        f"{100 * scores.headline:>9.2f} {shown:>8} {error:>6.3f}"
    )
