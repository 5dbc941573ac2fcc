# SPDX-License-Identifier: Apache-2.0
"""The one loop that measures: segment, compare with the ground truth, write one line an image.

Each image is read once and segmented in every way before the next one, so that whatever slows the
machine down for a while slows all ways alike. Processes share the images of a run by index, without
talking to each other: image i belongs to shard i modulo their number. What a shard's files already
hold is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch

from camseg_core.data.class_merges import ClassMerge, MergeFile
from camseg_core.data.sample import Dataset, Sample, UnusableSampleError, spread_indices
from camseg_core.diffusion.options import DEFAULT_PROFILE, find_profile
from camseg_core.errors import CamsegError
from camseg_core.evaluation.corruptions import Corruption, corrupt, corruption_generator
from camseg_core.evaluation.frames import FrameKeeper
from camseg_core.evaluation.metrics.calibration_counts import measure_calibration
from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.evaluation.metrics.flicker import FlickerTracker
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
    record_files,
)
from camseg_core.images.arrays import UInt8
from camseg_core.segmenter import SamplingOptions, Segmentation, Segmenter
from camseg_core.system.devices import describe_machine
from camseg_core.system.progress import progress_bar

CORRUPTION_SEED = 0
"""The same corrupted images for every model."""

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "pillow")

Observer = Callable[[Sample, Segmentation, ImageRecord], None]
"""Function that is handed each image as the model saw it, the result, and its record."""


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes:
        dataset: the images.
        protocol: how they are prepared and scored.
        corruptions: corruptions that each image is segmented under, besides as it is.
        max_images: largest number of images, spread evenly over the data set; None for all.
        record_times: whether records hold the times of the stages. Without times, two runs write
            the same bytes.
        resumes: whether results that the run's folder holds already are read, and not computed
            again; false for a new folder, whose other shards' records need no reading.
        merge: how predicted classes become those of the data set; None where they are the same.
        title: name on the progress bar, which every shard then shows; empty for one bar of all.
    """

    dataset: Dataset
    protocol: Protocol = "official"
    corruptions: tuple[Corruption, ...] = ()
    max_images: int | None = None
    record_times: bool = True
    resumes: bool = True
    merge: MergeFile | None = None
    title: str = ""

    def __post_init__(self) -> None:
        """Check the range."""
        if self.max_images is not None and self.max_images < 1:
            raise CamsegError(f"max_images is {self.max_images}; at least 1 is needed")
        if self.merge is not None and self.protocol != "official":
            raise CamsegError(
                f"--merge {self.merge.name}: the {self.protocol} protocol scores the weights' own "
                "classes; merged ones are scored by the official one"
            )

    def indices(self, shard: Shard) -> list[int]:
        """Choose a shard's share of the images, or of ``max_images`` at equal distances."""
        count = len(self.dataset)
        return spread_indices(count, self.max_images or count)[shard.index :: shard.count]

    def keys(self, index: int, steps: Sequence[int]) -> list[Key]:
        """Return the keys of an image's records, in the order of work."""
        sample = _readable(self.dataset.samples[index].name)
        corruptions = [(corruption.name, corruption.level) for corruption in self.corruptions]
        return [
            Key(sample, name, level, count)
            for name, level in [(NO_CORRUPTION, 0.0), *corruptions]
            for count in steps
        ]


@dataclass(frozen=True)
class Candidate:
    """Weights and a way to sample; its records are one run.

    Attributes:
        segmenter: the model on its device.
        steps: different numbers of diffusion steps; each image is segmented with each.
        sampling: everything but the steps.
        name: what the report calls the weights, besides their file; or empty.
    """

    segmenter: Segmenter
    steps: tuple[int, ...] = (10,)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    name: str = ""

    def options(self, steps: int) -> SamplingOptions:
        """Return the options with one number of steps."""
        return replace(self.sampling, steps=steps)


@dataclass(frozen=True)
class Shard:
    """One process's share of the images: those whose number modulo ``count`` is ``index``."""

    index: int = 0
    count: int = 1


def evaluate(
    candidates: Sequence[Candidate],
    plan: Plan,
    out: Path,
    shard: Shard | None = None,
    on_result: Observer | None = None,
) -> list[Path]:
    """Evaluate a shard's images and append their records in one folder a candidate below ``out``.

    Args:
        candidates: the weights and ways to sample.
        plan: what to do.
        out: folder of runs.
        shard: this process's share; all images without.
        on_result: function that is called with each new result, once its record is written.

    Returns:
        The folder of each candidate's run.

    Raises:
        CamsegError: label sets that differ, a file that cannot be read or written.
    """
    shard = shard or Shard()
    for candidate in candidates:
        if plan.merge is None:
            check_label_sets(candidate.segmenter, plan.dataset)
        else:
            plan.merge.between(candidate.segmenter.label_set, plan.dataset.label_set)
    folders = [open_run(out, describe_run(one, plan)) for one in candidates]
    if len(set(folders)) < len(folders):
        raise CamsegError("two weights with their ways to sample are the same; give each once")
    mine = plan.indices(shard)
    with ExitStack() as stack:
        ways = [
            _Way(one, plan, stack.enter_context(RecordWriter(folder, shard.index, shard.count)))
            for one, folder in zip(candidates, folders, strict=True)
        ]
        work = {index: [(way, way.left(index)) for way in ways] for index in mine}
        left = sum(len(keys) for tasks in work.values() for _, keys in tasks)
        total = sum(len(plan.keys(index, one.steps)) for index in mine for one in candidates)
        name = "evaluate" if shard.count == 1 else f"evaluate, shard 1 of {shard.count}"
        name, hidden = plan.title or name, shard.index > 0 and not plan.title
        with progress_bar(total, "image", name, done=total - left, hidden=hidden) as bar:
            for index, tasks in work.items():
                if not any(keys for _, keys in tasks):
                    continue
                try:
                    sample = plan.dataset.read(index)
                except UnusableSampleError:
                    bar.update(sum(len(keys) for _, keys in tasks))
                    continue
                for way, keys in tasks:
                    for key in keys:
                        way.begin(sample, key, warms_up=len(ways) > 1)
                        prepared, result, record = way.score(sample, key)
                        if on_result is not None:
                            on_result(prepared, result, record)
                        bar.update()
    return folders


class _Way:
    """One candidate at work on its run."""

    def __init__(self, candidate: Candidate, plan: Plan, writer: RecordWriter) -> None:
        self._candidate, self._plan, self._writer = candidate, plan, writer
        label_set = candidate.segmenter.label_set
        self._merge: ClassMerge | None = None
        if plan.merge is not None:
            self._merge = plan.merge.between(label_set, plan.dataset.label_set)
            label_set = plan.dataset.label_set
        folder = writer.path.parent
        done, own = set(), []
        for path in record_files(folder) if plan.resumes else ():
            for record in iterate_records([path]):
                done.add(record.key)
                if path == writer.path and record.frame_score is not None:
                    own.append(record.frame_score)
        self._done = done
        self._keeper = FrameKeeper(folder, label_set, own)
        self._flicker = FlickerTracker()
        self._has_begun = False

    def left(self, index: int) -> list[Key]:
        """List what is left to do with an image."""
        keys = self._plan.keys(index, self._candidate.steps)
        return [key for key in keys if key not in self._done]

    def begin(self, sample: Sample, key: Key, *, warms_up: bool) -> None:
        """Before the first result, write which process is at work."""
        if self._has_begun:
            return
        self._has_begun = True
        if self._plan.record_times:  # else two runs write the same bytes
            self._writer.write(describe_session(self._candidate))
        if warms_up:  # The first call of its kind sets things up; its time is nobody's.
            self._candidate.segmenter.segment(sample.image, self._candidate.options(key.steps))

    def score(self, sample: Sample, key: Key) -> tuple[Sample, Segmentation, ImageRecord]:
        """Segment, compare and write the record; return the sample as the model saw it, too."""
        segmenter = self._candidate.segmenter
        sample = _prepare(segmenter, self._plan.protocol, sample, key)
        result = segmenter.segment(sample.image, self._candidate.options(key.steps))
        class_ids = self._merge.class_ids(result.class_ids) if self._merge else result.class_ids
        record = image_record(
            key, sample, result, record_times=self._plan.record_times, merge=self._merge
        )
        if record.stamp_ns is not None:
            stream = (replace(key, sample=""), record.sequence, record.camera)
            changed, flicker = self._flicker.compare(
                stream, record.stamp_ns, sample.class_ids, class_ids
            )
            record = replace(
                record,
                mean_confidence=float(result.confidence.mean()) / 255.0,
                changed=changed,
                stable=flicker.stable,
                flickered=flicker.flickered,
            )
        if record.frame_score is not None:
            self._keeper.offer(record.frame_score, sample, class_ids, result.confidence)
        self._writer.write(record)
        self._keeper.prune()
        return sample, result, record


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
            "--merge scores the weights on the data set's classes, --label-set FILE can map the "
            "data set's ids to the weights' classes"
        )


def describe_run(candidate: Candidate, plan: Plan) -> Run:
    """Say what decides the results."""
    loaded = candidate.segmenter.loaded
    options = asdict(candidate.sampling)
    del options["steps"]
    return Run(
        dataset=plan.dataset.name,
        split=plan.dataset.split,
        images_sha256=plan.dataset.fingerprint(),
        protocol=plan.protocol,
        label_set=(plan.dataset if plan.merge else loaded).label_set.to_dict(),
        weights_sha256=loaded.weights_sha256,
        is_random=loaded.is_random,
        model=json.loads(json.dumps(asdict(loaded.config))),  # tuples become lists, as in the file
        sampling=options,
        corruption_seed=CORRUPTION_SEED,
        merge=plan.merge,
    )


def describe_session(candidate: Candidate) -> Session:
    """Say what this process is and runs on."""
    segmenter = candidate.segmenter
    files = " + ".join(Path(part).name for part in segmenter.loaded.source.split(" + "))
    return Session(
        weights=f"{candidate.name} ({files})" if candidate.name else files,
        machine=describe_machine(),
        device=segmenter.networks.device_name,
        threads=torch.get_num_threads(),
        libraries={name: version(name) for name in LIBRARIES},
        started_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        default_sampling=asdict(find_profile(segmenter.loaded.profiles, DEFAULT_PROFILE)),
    )


def corrupted_image(image: UInt8, sample: str, corruption: Corruption) -> UInt8:
    """Corrupt an image uint8 [H, W, 3] of the sample of that name: the same pixels every time."""
    how = (corruption.name, corruption.level)
    return corrupt(image, *how, corruption_generator(CORRUPTION_SEED, sample, *how))


def _prepare(segmenter: Segmenter, protocol: Protocol, sample: Sample, key: Key) -> Sample:
    """Return the sample as the model sees it and as it is compared."""
    image = sample.image
    if key.corruption != NO_CORRUPTION:
        image = corrupted_image(image, key.sample, Corruption(key.corruption, key.level))
    if protocol == "official":
        return replace(sample, image=image)
    policy = segmenter.loaded.config.input
    side = policy.width if policy.resize == "squash" else PUBLISHED_SIDE
    squashed = squash_for_published(image, sample.ground_truth, segmenter.label_set, side)
    return replace(sample, image=squashed[0], class_ids=squashed[1])


def image_record(
    key: Key,
    sample: Sample,
    result: Segmentation,
    *,
    record_times: bool = True,
    merge: ClassMerge | None = None,
) -> ImageRecord:
    """Compare a result, its classes merged where asked, with the ground truth if there is one."""
    metadata = sample.metadata
    counts = calibration = None
    if sample.class_ids is not None:
        probabilities, class_ids = result.class_probabilities, result.class_ids
        if merge is not None:
            probabilities = merge.probabilities(probabilities)
            class_ids = merge.class_ids(class_ids)
        truth = sample.class_ids
        counts = confusion_counts(truth, class_ids, len(probabilities)).tolist()
        calibration = measure_calibration(probabilities, truth, class_ids).to_dict()
    height, width = result.class_ids.shape
    times = result.stage_seconds if record_times else {}
    return ImageRecord(
        **asdict(key),
        part=metadata.part,
        condition=metadata.condition,
        sequence=_readable(metadata.sequence),
        frame_index=metadata.frame_index,
        height=height,
        width=width,
        counts=counts,
        calibration=calibration,
        stage_seconds={str(stage): seconds for stage, seconds in times.items()},
        camera=metadata.camera,
        stamp_ns=metadata.stamp_ns,
    )


def _readable(name: str) -> str:
    """Return a name as JSON can hold it: bytes of a file name that are no UTF-8 are escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
