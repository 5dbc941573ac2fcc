# SPDX-License-Identifier: Apache-2.0
"""The work behind ``camseg benchmark sampling``: weights, each sampled in many ways.

Each image is read once and segmented in every way before the next one, so that whatever slows the
machine down for a while slows all of them. The records are those of `evaluate`: one run per weights
and way to sample, a line per image and number of steps. So a benchmark goes on where it was
stopped, and ``camseg report`` shows its runs in every detail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from camseg_core.data.sample import Dataset, Sample
from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.evaluate import (
    Plan,
    check_label_sets,
    describe_run,
    describe_session,
    image_record,
    spread,
)
from camseg_core.evaluation.records import Key, RecordWriter, open_run, read_keys, record_files
from camseg_core.evaluation.sampling_grid import Sweep
from camseg_core.segmenter import Segmenter
from camseg_core.system.progress import progress_bar


@dataclass(frozen=True)
class Images:
    """Which images of a data set are scored.

    Attributes:
        dataset: where they are.
        indices: all of them, in the order of work.
        palette_indices: those that are decoded with the palette too, a part of ``indices``.
    """

    dataset: Dataset
    indices: tuple[int, ...]
    palette_indices: tuple[int, ...]

    @classmethod
    def choose(
        cls, dataset: Dataset, max_images: int | None = None, palette_images: int | None = None
    ) -> Images:
        """Take all images, or so many at equal distances.

        Raises:
            CamsegError: a number below 1, or images of several parts, which are scored apart.
        """
        for name, value in (("max_images", max_images), ("palette_images", palette_images)):
            if value is not None and value < 1:
                raise CamsegError(f"{name} is {value}; at least 1 is needed")
        parts = sorted({metadata.part for metadata in dataset.samples})
        if len(parts) > 1:
            raise CamsegError(
                f"{dataset.name} {dataset.split} holds the parts "
                f"{', '.join(part or 'unnamed' for part in parts)}, which are scored apart; a "
                "benchmark needs one of them"
            )
        indices = spread(range(len(dataset)), max_images)
        return cls(dataset, tuple(indices), tuple(spread(indices, palette_images)))

    @property
    def part(self) -> str:
        """The one part of all images."""
        return self.dataset.samples[0].part

    def names(self, indices: Sequence[int]) -> frozenset[str]:
        """Return the names of some images."""
        return frozenset(self.dataset.samples[index].name for index in indices)


@dataclass(frozen=True)
class Candidate:
    """Weights to try.

    Attributes:
        name: what the tables call them.
        segmenter: the model on its device.
    """

    name: str
    segmenter: Segmenter


@dataclass(frozen=True)
class SamplingRun:
    """One run's folder and what belongs into it.

    Attributes:
        candidate: the weights.
        plan: how to sample, and with which numbers of steps.
        indices: of the images.
        folder: of the records.
    """

    candidate: Candidate
    plan: Plan
    indices: frozenset[int]
    folder: Path

    def options(self, steps: int) -> SamplingOptions:
        """Return the options with one number of steps."""
        return replace(self.plan.sampling, steps=steps)

    def work(self, index: int, done: set[Key]) -> list[Key]:
        """List what is left to do with an image."""
        if index not in self.indices:
            return []
        return [key for key in self.plan.keys(index) if key not in done]

    def segment(self, writer: RecordWriter, sample: Sample, key: Key) -> None:
        """Segment, compare, write the record."""
        result = self.candidate.segmenter.segment(sample.image, self.options(key.steps))
        writer.write(image_record(key, sample.metadata, sample.class_ids, result))


def run_sampling_benchmark(
    candidates: Sequence[Candidate], sweep: Sweep, images: Images, out: Path
) -> list[SamplingRun]:
    """Score all weights in all ways; what ``out`` holds already is not done again.

    Args:
        candidates: the weights.
        sweep: how to sample.
        images: what to score on.
        out: folder for the runs.

    Returns:
        The runs, complete.

    Raises:
        CamsegError: two weights or their names are the same, their classes are not the data
            set's, or a file cannot be read or written.
    """
    _check(candidates, images.dataset)
    runs = [run for one in candidates for run in plan_runs(one, sweep, images, out)]
    with ExitStack() as stack:
        writers = [stack.enter_context(RecordWriter(run.folder, 0, 1)) for run in runs]
        done = [read_keys(record_files(run.folder)) for run in runs]
        total = sum(len(run.work(index, set())) for run in runs for index in images.indices)
        work = list(_work(runs, done, images.indices))
        left = sum(len(keys) for _, tasks in work for _, keys in tasks)
        with progress_bar(total, "result", "benchmark", done=total - left) as bar:
            begun: set[int] = set()
            for index, tasks in work:
                sample = images.dataset.read(index)
                for place, keys in tasks:
                    run, writer = runs[place], writers[place]
                    if place not in begun:
                        begun.add(place)
                        writer.write(describe_session(run.candidate.segmenter))
                        # The first call of its kind sets things up; its time is nobody's.
                        run.candidate.segmenter.segment(sample.image, run.options(keys[0].steps))
                    for key in keys:
                        run.segment(writer, sample, key)
                        bar.update()
    return runs


def plan_runs(candidate: Candidate, sweep: Sweep, images: Images, out: Path) -> list[SamplingRun]:
    """Sort the ways to sample into runs, which hold one number of steps or several.

    Raises:
        CamsegError: ``out`` cannot be written, or the model has none of the decoders.
    """
    segmenter = candidate.segmenter
    groups: dict[SamplingOptions, list[int]] = {}
    for options in sweep.choices(segmenter.loaded):
        groups.setdefault(replace(options, steps=1), []).append(options.steps)
    runs = []
    for options, steps in groups.items():
        plan = Plan(
            images.dataset,
            steps=tuple(sorted(steps)),
            sampling=replace(options, steps=min(steps)),
        )
        palette = options.decoder == "palette"
        indices = frozenset(images.palette_indices if palette else images.indices)
        folder = open_run(out, describe_run(segmenter, plan))
        runs.append(SamplingRun(candidate, plan, indices, folder))
    return runs


def _work(
    runs: Sequence[SamplingRun], done: Sequence[set[Key]], indices: Sequence[int]
) -> Iterator[tuple[int, list[tuple[int, list[Key]]]]]:
    """Return each image that is not finished, with the place of each run and what it lacks."""
    for index in indices:
        tasks = [
            (place, keys)
            for place, run in enumerate(runs)
            if (keys := run.work(index, done[place]))
        ]
        if tasks:
            yield index, tasks


def _check(candidates: Sequence[Candidate], dataset: Dataset) -> None:
    """Refuse weights that cannot be told apart, or that know other classes."""
    for place, one in enumerate(candidates):
        check_label_sets(one.segmenter, dataset)
        loaded = one.segmenter.loaded
        for other in candidates[:place]:
            if one.name == other.name:
                raise CamsegError(f"two weights are named {one.name!r}; names must differ")
            known = other.segmenter.loaded
            if (loaded.weights_sha256, loaded.config) == (known.weights_sha256, known.config):
                raise CamsegError(
                    f"weights {other.name!r} and {one.name!r} are the same; give each once"
                )
