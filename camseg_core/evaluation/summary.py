# SPDX-License-Identifier: Apache-2.0
"""From the records of a run to its scores: sums per group, and the scores of those sums.

Each record is read once. All sums are of whole numbers, so that neither the order of lines nor the
number of shards matters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camseg_core.diffusion.options import DEFAULT_PROFILE, SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.frames import FrameScore
from camseg_core.evaluation.grid import simplest
from camseg_core.evaluation.metrics.calibration import (
    TemperatureScores,
    calibration_at,
    fit_temperature,
    split_for_fit,
)
from camseg_core.evaluation.metrics.calibration_counts import CalibrationCounts
from camseg_core.evaluation.metrics.flicker import FlickerCounts
from camseg_core.evaluation.metrics.published import Protocol
from camseg_core.evaluation.metrics.registry import MAIN_METRIC, Measured, measure, metrics_of
from camseg_core.evaluation.records import (
    NO_CORRUPTION,
    Run,
    Session,
    read_lines,
    read_run,
    record_files,
)
from camseg_core.system.validation import parse

NO_CONDITION = "not stated"
"""What tables call the condition of images whose data does not say."""


@dataclass(frozen=True, order=True)
class Group:
    """What is summed apart.

    Attributes:
        part, condition, corruption, level, steps: values in the records.
        sequence: the drive, city or bag; where a data set has none, the name of the image.
    """

    part: str
    condition: str
    sequence: str
    corruption: str
    level: float
    steps: int


@dataclass
class Sums:
    """Sums over the images of one or more groups.

    Attributes:
        confusion: confusion counts, int64 [C, C + 1].
        calibration: the calibration counts.
        image_seconds: wall time of all stages, one value an image.
        flicker: the flicker between consecutive frames.
    """

    confusion: NDArray[np.int64]
    calibration: CalibrationCounts
    image_seconds: list[float] = field(default_factory=list)
    flicker: FlickerCounts = field(default_factory=FlickerCounts)

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
        self.image_seconds += other.image_seconds
        self.flicker += other.flicker


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of some groups together.

    Attributes:
        part, condition, corruption, level, steps: what the groups have in common; a condition of
            None for all.
        images: number of images with ground truth.
        seconds_per_image, median_seconds_per_image: wall time of all stages, mean and median.
        measured: the sums and what follows from them.
        protocol: the run's.
        scaled: calibration after temperature scaling, on the images that ``temperature`` was not
            fitted on; both are None where nothing can be held out.
        flicker: the flicker between consecutive frames.
    """

    part: str
    condition: str | None
    corruption: str
    level: float
    steps: int
    images: int
    seconds_per_image: float
    median_seconds_per_image: float
    measured: Measured
    protocol: Protocol
    scaled: TemperatureScores | None
    temperature: float | None
    flicker: FlickerCounts

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        """Every metric of the protocol by name, see `registry.METRICS`."""
        return measure(self.measured, self.protocol)

    @property
    def main(self) -> float | None:
        """The protocol's one number, 0..1: mean IoU, or the published mean precision."""
        return self.metrics[MAIN_METRIC[self.protocol]]


@dataclass(frozen=True)
class Summary:
    """All sums of one run.

    Attributes:
        folder: the run's folder.
        run: what decides its results.
        sessions: the processes that made it.
        sums: sums per group of images with ground truth.
        frame_scores: score of every image without corruption, per number of steps.
        without_ground_truth: number of records of images that have none.
    """

    folder: Path
    run: Run
    sessions: list[Session]
    sums: dict[Group, Sums]
    frame_scores: list[FrameScore]
    without_ground_truth: int = 0

    @property
    def title(self) -> str:
        """What was scored: data set and split, the condition that all share, and the merge."""
        conditions = {group.condition for group in self.sums}
        condition = f", {conditions.pop()}" if len(conditions) == 1 and "" not in conditions else ""
        merged = f" ({self.run.merge.name})" if self.run.merge else ""
        return f"{self.run.dataset} {self.run.split}{condition}{merged}"

    @cached_property
    def default_steps(self) -> int | None:
        """The steps of the weights' default sampling; None if the run did not sample that way.

        Raises:
            CamsegError: a record's sampling is damaged.
        """
        stated = [one.default_sampling for one in self.sessions if one.default_sampling]
        has_mask_decoder = bool(self.run.model.get("mask_decoder"))

        def computed(content: dict[str, Any]) -> SamplingOptions:
            options = parse(SamplingOptions, content, f"{self.folder}, sampling")
            return simplest(options, has_mask_decoder=has_mask_decoder)

        if not stated:
            return None
        default = computed(stated[-1])
        ways = {steps: computed({**self.run.sampling, "steps": steps}) for steps in self.steps()}
        return next((steps for steps, way in ways.items() if way == default), None)

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
        found = {(group.corruption, group.level) for group in self.sums}
        return sorted(found - {(NO_CORRUPTION, 0.0)})

    def scores(
        self,
        *,
        steps: int,
        part: str,
        condition: str | None = None,
        sequence: str | None = None,
        corruption: str = NO_CORRUPTION,
        level: float = 0.0,
    ) -> Scores | None:
        """Score the groups that agree in all that is given; None if there is none.

        Parts are never mixed: reference images never enter an adverse score.
        """

        def wanted(group: Group) -> bool:
            return (
                (group.steps, group.part) == (steps, part)
                and (group.corruption, group.level) == (corruption, level)
                and condition in {None, group.condition}
                and sequence in {None, group.sequence}
            )

        everything = self._sum(wanted)
        images = len(everything.image_seconds)
        if not images:
            return None
        fitted = self._sum(lambda group: wanted(group) and self._fits(group)).calibration
        judged = self._sum(lambda group: wanted(group) and not self._fits(group)).calibration
        temperature = None
        if fitted.temperature_count[0].any() and judged.temperature_count[0].any():
            temperature = fit_temperature(fitted)
        return Scores(
            part=part,
            condition=condition,
            corruption=corruption,
            level=level,
            steps=steps,
            images=images,
            seconds_per_image=sum(everything.image_seconds) / images,
            median_seconds_per_image=median(everything.image_seconds),
            measured=Measured(everything.confusion, everything.calibration),
            protocol=self.run.protocol,
            scaled=None if temperature is None else calibration_at(judged, temperature),
            temperature=temperature,
            flicker=everything.flicker,
        )

    def rows(self, part: str, steps: int) -> Iterator[Scores]:
        """Score all conditions of a part, each of several conditions, and each corruption."""
        conditions = self.conditions(part)
        choices: list[dict[str, Any]] = [{}]
        choices += [{"condition": name} for name in conditions if len(conditions) > 1]
        choices += [{"corruption": name, "level": level} for name, level in self.corruptions()]
        for choice in choices:
            scores = self.scores(part=part, steps=steps, **choice)
            if scores is not None:
                yield scores

    @cached_property
    def _fit_sequences(self) -> set[tuple[str, str, str]]:
        """Part, condition and sequence of the images that temperatures are fitted on.

        Half of the sequences of each part and condition, so that both halves look alike.
        """
        sequences: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for group in self.sums:
            sequences[group.part, group.condition].add(group.sequence)
        return {(*key, name) for key, names in sequences.items() for name in split_for_fit(names)}

    def _fits(self, group: Group) -> bool:
        return (group.part, group.condition, group.sequence) in self._fit_sequences

    def _sum(self, wanted: Callable[[Group], bool]) -> Sums:
        total = Sums.zero(self.run.classes.num_classes)
        for group, sums in self.sums.items():
            if wanted(group):
                total.add(sums)
        return total


def summarize(folder: Path) -> Summary:
    """Read a run's folder.

    Raises:
        CamsegError: a record is unreadable, or of another number of classes.
    """
    run = read_run(folder)
    num_classes = run.classes.num_classes
    sums: dict[Group, Sums] = {}
    sessions: list[Session] = []
    frame_scores = []
    without_ground_truth = 0
    for line in read_lines(record_files(folder)):
        if isinstance(line, Session):
            sessions.append(line)
            continue
        if line.confusion is None or line.calibration_counts is None:
            without_ground_truth += 1
            continue
        if len(line.confusion) != num_classes:
            raise CamsegError(
                f"{folder}: {line.sample} is scored with {len(line.confusion)} classes, the run "
                f"has {num_classes}"
            )
        where = (line.part, line.condition, line.sequence or line.sample)
        group = Group(*where, line.corruption, line.level, line.steps)
        seconds = sum(line.stage_seconds.values())
        one = Sums(line.confusion, line.calibration_counts, [seconds], line.flicker)
        sums.setdefault(group, Sums.zero(num_classes)).add(one)
        if line.frame_score is not None:
            frame_scores.append(line.frame_score)
    return Summary(folder, run, sessions, sums, sorted(frame_scores), without_ground_truth)


def headline_lines(summary: Summary) -> Iterator[str]:
    """Return a table: one row per part, number of steps, condition and corruption.

    Shares are in percent.
    """
    run = summary.run
    how = [session.weights for session in summary.sessions[-1:]]
    how += [str(run.sampling[name]) for name in ("sampler", "decoder") if name in run.sampling]
    what = f"{run.protocol} protocol, {summary.title}"
    yield f"{summary.folder} ({what}; {', '.join(how)}; shares in percent)"
    if run.is_random:
        yield "the weights are RANDOM: these scores mean nothing"
    if summary.without_ground_truth:
        yield f"not scored, without ground truth: {summary.without_ground_truth}"
    columns = [metric.label for metric in metrics_of(run.protocol).values() if metric.is_brief]
    yield " ".join([f"{'part':<10} {'steps':>5} {'what':<24} {'images':>6}", *columns])
    default = summary.default_steps
    for part in summary.parts():
        for steps in summary.steps():
            mark = " *" if steps == default else ""
            yield from (f"{_row(scores)}{mark}" for scores in summary.rows(part, steps))
    if default is not None:
        yield f"* the weights' default sampling (profile {DEFAULT_PROFILE})"


def _row(scores: Scores) -> str:
    what = "all" if scores.condition is None else scores.condition or NO_CONDITION
    if scores.corruption != NO_CORRUPTION:
        what = f"{scores.corruption}:{scores.level:g}"
    cells = [f"{scores.part or '-':<10} {scores.steps:>5} {what:<24} {scores.images:>6}"]
    for name, metric in metrics_of(scores.protocol).items():
        if metric.is_brief:
            value = scores.metrics[name]
            text = "-" if value is None else f"{value * (100 if metric.is_share else 1):.2f}"
            cells.append(f"{text:>{len(metric.label)}}")
    return " ".join(cells)
