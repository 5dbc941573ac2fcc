# SPDX-License-Identifier: Apache-2.0
"""From the runs of a sampling benchmark to one list of entries, and the best of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.report.figures import Row, RunFigures
from camseg_core.evaluation.report.run_figures import run_figures
from camseg_core.evaluation.sampling_benchmark import Images, SamplingRun
from camseg_core.evaluation.sampling_grid import Sweep
from camseg_core.evaluation.summary import summarize
from camseg_core.weights.loading import LoadedModel

TOLERANCE_POINTS = 0.5
"""How far a default may be behind the best entry, in points of mean IoU."""


@dataclass(frozen=True)
class WeightsFacts:
    """What is known of weights, in words and names.

    Attributes:
        name: what the tables call them.
        file: the file's name.
        sha256: of the file; None for random weights.
        model: name of the model's configuration.
        is_random: true if nothing was trained.
        image_features: does the mask decoder read image features? None without one.
        prediction: what the denoiser predicts, ``epsilon`` or ``v``.
        default: the options of the default profile.
        left_out: decoders that were asked for and that the model lacks.
    """

    name: str
    file: str
    sha256: str | None
    model: str
    is_random: bool
    image_features: bool | None
    prediction: str
    default: SamplingOptions
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, name: str, file: str, loaded: LoadedModel, sweep: Sweep) -> WeightsFacts:
        """Collect them from a loaded model and its file's name."""
        mask_decoder = loaded.config.mask_decoder
        possible = sweep.possible_decoders(loaded)
        return cls(
            name=name,
            file=file,
            sha256=loaded.weights_sha256,
            model=loaded.config.name,
            is_random=loaded.is_random,
            image_features=None if mask_decoder is None else bool(mask_decoder.feature_channels),
            prediction=loaded.config.diffusion.prediction,
            default=sweep.default(loaded),
            left_out=tuple(decoder for decoder in sweep.decoders if decoder not in possible),
        )


@dataclass(frozen=True)
class Entry:
    """The figures of one way to sample with one weights file.

    Attributes:
        weights: their name.
        options: how to sample.
        is_default: true for the weights' default profile.
        row: the scores on all images that were segmented so.
        common_mean_iou: mean IoU on the images that every entry has; None where undefined.
    """

    weights: str
    options: SamplingOptions
    is_default: bool
    row: Row
    common_mean_iou: float | None

    @property
    def mean_iou(self) -> float | None:
        """Mean IoU, 0..1, on all images of the entry."""
        return self.row.score

    @property
    def milliseconds(self) -> float:
        """Median wall time of an image, all stages."""
        return self.row.median_milliseconds_per_image


@dataclass(frozen=True)
class SamplingResults:
    """All entries of a benchmark and what they were taken on.

    Attributes:
        command: what was typed.
        dataset, split: the data.
        images: number of images.
        common_images: number of those that every entry has, the palette's too.
        budget_ms: an entry is in time if its median is at most this.
        machines, libraries: of the runs; several where these were resumed elsewhere.
        started: when, first and last session, ISO 8601.
        sweep: what was tried.
        weights: facts, in the order given.
        entries: sorted by weights, then in the order of work.
    """

    command: str
    dataset: str
    split: str
    images: int
    common_images: int
    budget_ms: float
    machines: tuple[str, ...]
    libraries: tuple[str, ...]
    started: tuple[str, ...]
    sweep: Sweep
    weights: tuple[WeightsFacts, ...]
    entries: tuple[Entry, ...]

    def find(self, weights: str, options: SamplingOptions) -> Entry | None:
        """Return the entry of one way to sample; None if it was not tried."""
        for entry in self.entries:
            if (entry.weights, entry.options) == (weights, options):
                return entry
        return None

    def default(self, weights: str) -> Entry:
        """Return the entry of a weights file's default profile."""
        return next(one for one in self.entries if one.is_default and one.weights == weights)

    def best(self, weights: str | None = None) -> Entry | None:
        """Return the entry in time with the best mean IoU, of all weights or of one file.

        Only entries with all images compete. Of equal scores the faster one wins.
        """
        in_time = [
            (entry.mean_iou, -entry.milliseconds, -place, entry)
            for place, entry in enumerate(self.entries)
            if weights in {None, entry.weights}
            and entry.row.images == self.images
            and entry.milliseconds <= self.budget_ms
            and entry.mean_iou is not None
        ]
        return max(in_time)[-1] if in_time else None

    def points_behind(self, entry: Entry, best: Entry | None) -> float | None:
        """Return how far an entry is behind the best, in points of mean IoU.

        None if there is no best one, or if the entry has not all images.
        """
        if (
            best is None
            or best.mean_iou is None
            or entry.mean_iou is None
            or entry.row.images != self.images
        ):
            return None
        return 100.0 * (best.mean_iou - entry.mean_iou)

    def to_json(self) -> bytes:
        """Return everything as JSON; undefined values are null."""
        content = asdict(self)
        content["protocol"] = "official"
        content["tolerance_points"] = TOLERANCE_POINTS
        content["entries"] = [_entry_to_dict(entry) for entry in self.entries]
        best = self.best()
        content["best"] = best and _entry_to_dict(best)
        content["defaults"] = [
            {
                "weights": facts.name,
                "points_behind_best": self.points_behind(self.default(facts.name), best),
                "points_behind_own_best": self.points_behind(
                    self.default(facts.name), self.best(facts.name)
                ),
            }
            for facts in self.weights
        ]
        return json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"


def collect_results(
    runs: Sequence[SamplingRun], sweep: Sweep, images: Images, budget_ms: float, command: str
) -> SamplingResults:
    """Read the records of complete runs.

    Raises:
        CamsegError: a record is missing or damaged.
    """
    weights: dict[str, WeightsFacts] = {}
    has_palette = any(run.plan.sampling.decoder == "palette" for run in runs)
    common = images.palette_indices if has_palette else images.indices
    entries = []
    figures = []
    for run in runs:
        own = run_figures(summarize(run.folder, images.names(sorted(run.indices))))
        figures.append(own)
        name, loaded = run.candidate.name, run.candidate.segmenter.loaded
        if name not in weights:
            weights[name] = WeightsFacts.of(name, ", ".join(own.weights), loaded, sweep)
        rows = shared = _rows(own)
        if len(run.indices) != len(common):
            shared = _rows(run_figures(summarize(run.folder, images.names(common))))
        for steps in run.plan.steps:
            if steps not in rows or rows[steps].images != len(run.indices):
                raise CamsegError(f"{run.folder} lacks records of {steps} steps; run it again")
            options = run.options(steps)
            is_default = options == weights[name].default
            entries.append(Entry(name, options, is_default, rows[steps], shared[steps].score))
    return SamplingResults(
        command=command,
        dataset=images.dataset.name,
        split=images.dataset.split,
        images=len(images.indices),
        common_images=len(common),
        budget_ms=budget_ms,
        machines=_unique(figures, "machines"),
        libraries=_unique(figures, "libraries"),
        started=_first_and_last(figures),
        sweep=sweep,
        weights=tuple(weights.values()),
        entries=tuple(entries),
    )


def _rows(figures: RunFigures) -> dict[int, Row]:
    """Return the row of each number of steps; the first is that of all conditions."""
    rows: dict[int, Row] = {}
    for row in figures.rows:
        rows.setdefault(row.steps, row)
    return rows


def _unique(figures: Sequence[RunFigures], name: str) -> tuple[str, ...]:
    return tuple(sorted({value for run in figures for value in getattr(run, name)}))


def _first_and_last(figures: Sequence[RunFigures]) -> tuple[str, ...]:
    started = _unique(figures, "started")
    return tuple(dict.fromkeys((started[0], started[-1]))) if started else ()


def _entry_to_dict(entry: Entry) -> dict[str, Any]:
    row = asdict(entry.row)
    for name in ("part", "steps", "condition", "corruption", "level", "relative_to_clean"):
        del row[name]
    return {
        "weights": entry.weights,
        "is_default": entry.is_default,
        "options": asdict(entry.options),
        "mean_iou": row.pop("score"),
        "common_mean_iou": entry.common_mean_iou,
        **row,
    }
