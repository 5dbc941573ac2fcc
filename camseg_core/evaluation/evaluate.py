# SPDX-License-Identifier: Apache-2.0
"""The work behind ``camseg evaluate``: segment, compare with the truth, write one line an image.

Processes share the images of a run by index, without talking to each other: image i belongs to
shard i modulo their number. What a shard's files already hold is not done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import torch

from camseg_core.data.datasets import open_dataset
from camseg_core.data.sample import Dataset, Sample, SampleMetadata
from camseg_core.errors import CamsegError
from camseg_core.evaluation.corruptions import Corruption, corrupt, corruption_generator
from camseg_core.evaluation.frames import FrameKeeper, FramePictures, FrameScore
from camseg_core.evaluation.metrics.calibration_counts import measure_calibration
from camseg_core.evaluation.metrics.confusion import confusion_counts, confusion_to_json
from camseg_core.evaluation.metrics.published import PUBLISHED_SIDE, Protocol, squash_for_published
from camseg_core.evaluation.records import (
    NO_CORRUPTION,
    ImageRecord,
    Key,
    RecordWriter,
    Run,
    Session,
    iterate_records,
    open_run,
    read_keys,
    record_files,
)
from camseg_core.images.arrays import UInt8
from camseg_core.labels import LabelSet
from camseg_core.segmenter import SamplingOptions, Segmentation, Segmenter
from camseg_core.system.devices import describe_device, describe_machine
from camseg_core.system.files import sha256_of_file
from camseg_core.system.progress import progress_bar

CORRUPTION_SEED = 0
"""The same corrupted images for every model."""

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "pillow")


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes:
        dataset: the images.
        protocol: how they are prepared and scored.
        steps: numbers of diffusion steps; each image is segmented with each.
        corruptions: each image is segmented as it is, and under each of these.
        sampling: everything but the steps.
        max_images: at most this many, spread evenly over the data set; None for all.
    """

    dataset: Dataset
    protocol: Protocol = "official"
    steps: tuple[int, ...] = (10,)
    corruptions: tuple[Corruption, ...] = ()
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    max_images: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.steps or len(set(self.steps)) != len(self.steps):
            raise CamsegError(
                f"steps are {list(self.steps)}; one or more different ones are needed"
            )
        for steps in self.steps:
            replace(self.sampling, steps=steps)
        if self.max_images is not None and self.max_images < 1:
            raise CamsegError(f"max_images is {self.max_images}; at least 1 is needed")

    def indices(self) -> list[int]:
        """Choose the images: all, or ``max_images`` of them at equal distances."""
        return spread(range(len(self.dataset)), self.max_images)

    def keys(self, index: int) -> list[Key]:
        """Return the keys of an image's records, in the order of work."""
        sample = self.dataset.samples[index].name
        corruptions = [(corruption.name, corruption.level) for corruption in self.corruptions]
        return [
            Key(sample, name, level, steps)
            for name, level in [(NO_CORRUPTION, 0.0), *corruptions]
            for steps in self.steps
        ]


@dataclass(frozen=True)
class Shard:
    """One process's share of the images: those whose place modulo ``count`` is ``index``."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.index < self.count:
            raise CamsegError(f"shard {self.index} of {self.count}; shards count from 0")


def spread(indices: Sequence[int], most: int | None) -> list[int]:
    """Take all of ``indices``, or ``most`` of them at equal distances."""
    count = len(indices)
    if most is None or most >= count:
        return list(indices)
    return [indices[place * count // most] for place in range(most)]


def evaluate(segmenter: Segmenter, plan: Plan, out: Path, shard: Shard | None = None) -> Path:
    """Evaluate a shard's images and append their records in the run's folder below ``out``.

    Args:
        segmenter: the model on its device.
        plan: what to do.
        out: folder of runs.
        shard: this process's share; all images without.

    Returns:
        The run's folder.

    Raises:
        CamsegError: label sets that differ, a file that cannot be read or written.
    """
    shard = shard or Shard()
    check_label_sets(segmenter, plan.dataset)
    folder = open_run(out, describe_run(segmenter, plan))
    mine = plan.indices()[shard.index :: shard.count]
    with RecordWriter(folder, shard.index, shard.count) as writer:
        done = read_keys(record_files(folder))
        work = [(index, key) for index in mine for key in plan.keys(index) if key not in done]
        if not work:
            return folder
        writer.write(describe_session(segmenter))
        keeper = FrameKeeper(folder, segmenter.label_set, _clean_scores(writer.path))
        total = len(mine) * len(plan.keys(0))
        name = "evaluate" if shard.count == 1 else f"evaluate, shard 1 of {shard.count}"
        with progress_bar(
            total, "image", name, done=total - len(work), hidden=shard.index > 0
        ) as bar:
            for record, pictures in _score(segmenter, plan, work):
                if record.corruption == NO_CORRUPTION:
                    keeper.offer(_frame_score(record), pictures)
                writer.write(record)
                keeper.prune()
                bar.update()
    return folder


def check_label_sets(segmenter: Segmenter, dataset: Dataset) -> None:
    """Refuse to compare ids that mean different classes.

    Raises:
        CamsegError: the model's class names are not the data set's.
    """
    ours, theirs = segmenter.label_set, dataset.label_set
    if ours.names != theirs.names:
        raise CamsegError(
            f"the weights know the {ours.num_classes} classes of {ours.name!r}, but "
            f"{dataset.name} is read with the {theirs.num_classes} classes of {theirs.name!r}; "
            "--label-set FILE can map the data set's ids to the weights' classes"
        )


def describe_run(segmenter: Segmenter, plan: Plan) -> Run:
    """Say what decides the results."""
    return run_of(
        segmenter,
        plan.sampling,
        dataset=plan.dataset.name,
        split=plan.dataset.split,
        images_sha256=_images_sha256(plan.dataset),
        protocol=plan.protocol,
    )


def run_of(
    segmenter: Segmenter,
    sampling: SamplingOptions,
    *,
    dataset: str,
    split: str,
    images_sha256: str,
    protocol: Protocol = "official",
) -> Run:
    """Say what decides the results on any images; see `Run`."""
    loaded = segmenter.loaded
    options = asdict(sampling)
    del options["steps"]
    return Run(
        dataset=dataset,
        split=split,
        images_sha256=images_sha256,
        protocol=protocol,
        label_set=loaded.label_set.to_dict(),
        weights_sha256=loaded.weights_sha256,
        is_random=loaded.is_random,
        model=json.loads(json.dumps(asdict(loaded.config))),  # tuples become lists, as in the file
        sampling=options,
        corruption_seed=CORRUPTION_SEED,
    )


def describe_session(segmenter: Segmenter) -> Session:
    """Say what this process is and runs on."""
    return Session(
        weights=" + ".join(Path(part).name for part in segmenter.loaded.source.split(" + ")),
        machine=describe_machine(),
        device=describe_device(segmenter.device),
        threads=torch.get_num_threads(),
        libraries={name: version(name) for name in LIBRARIES},
        started_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _images_sha256(dataset: Dataset) -> str:
    names = "\n".join(metadata.name for metadata in dataset.samples)
    first = sha256_of_file(dataset.samples[0].image_path)
    return hashlib.sha256(f"{names}\n{first}".encode("utf-8", "surrogatepass")).hexdigest()


def _score(
    segmenter: Segmenter, plan: Plan, work: Sequence[tuple[int, Key]]
) -> Iterator[tuple[ImageRecord, FramePictures]]:
    """Return the record and the pictures of each piece of work, which is sorted by image."""
    for index, keys in groupby(work, key=itemgetter(0)):
        sample = plan.dataset.read(index)
        for key in map(itemgetter(1), keys):
            image, truth = _prepare(segmenter, plan.protocol, sample, key)
            result = segmenter.segment(image, replace(plan.sampling, steps=key.steps))
            pictures = FramePictures(image, truth, result.class_ids, result.confidence)
            yield image_record(key, sample.metadata, truth, result), pictures


def _prepare(
    segmenter: Segmenter, protocol: Protocol, sample: Sample, key: Key
) -> tuple[UInt8, UInt8]:
    """Return the image that the model sees, RGB uint8 [H, W, 3], and the truth, uint8 [H, W]."""
    image = sample.image
    if key.corruption != NO_CORRUPTION:
        generator = corruption_generator(CORRUPTION_SEED, key.sample, key.corruption, key.level)
        image = corrupt(image, key.corruption, key.level, generator)
    if protocol == "official":
        return image, sample.class_ids
    policy = segmenter.loaded.config.input
    side = policy.width if policy.resize == "squash" else PUBLISHED_SIDE
    return squash_for_published(image, sample.class_ids, segmenter.label_set, side)


def image_record(
    key: Key, metadata: SampleMetadata, truth: UInt8, result: Segmentation
) -> ImageRecord:
    """Compare a result with its truth, class ids uint8 [H, W]."""
    probabilities = result.class_probabilities
    counts = confusion_counts(truth, result.class_ids, len(probabilities))
    return ImageRecord(
        **asdict(key),
        part=metadata.part,
        condition=metadata.condition,
        sequence=metadata.sequence,
        frame_index=metadata.frame_index,
        height=truth.shape[0],
        width=truth.shape[1],
        counts=confusion_to_json(counts),
        calibration=measure_calibration(probabilities, truth, result.class_ids).to_dict(),
        stage_seconds={str(stage): seconds for stage, seconds in result.stage_seconds.items()},
    )


def _clean_scores(path: Path) -> Iterator[FrameScore]:
    """Return the scores of the images in a shard's file, as they are without corruption."""
    for record in iterate_records([path]):
        if record.corruption == NO_CORRUPTION:
            yield _frame_score(record)


def _frame_score(record: ImageRecord) -> FrameScore:
    return FrameScore(record.mean_iou, record.sample, record.steps)


PAPER_DATASETS = {"cityscapes": "val", "kitti-step": "val", "acdc": "val", "cadedgetune": "all"}
"""Data set -> split. Trained on the first, tested on all (arXiv 2503.15617)."""

NOISE_STUDY_DATASET = "cityscapes"
"""The one whose images are corrupted."""


def open_paper_suite(root: Path, label_set: LabelSet | None = None) -> list[Dataset]:
    """Open the four published data sets below ``root``.

    The validation splits; ACDC with both of its parts, which are scored apart; all of CADEdgeTune,
    whose train and validation lists overlap.

    Raises:
        CamsegError: one of them is missing; the text names each that is.
    """
    datasets, problems = [], []
    for name, split in PAPER_DATASETS.items():
        part = "both" if name == "acdc" else ""
        try:
            datasets.append(open_dataset(name, root, split, part=part, label_set=label_set))
        except CamsegError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise CamsegError(
            "the paper's suite needs all of "
            f"{', '.join(PAPER_DATASETS)} below {root}; {'; '.join(problems)}"
        )
    return datasets
