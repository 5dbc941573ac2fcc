# SPDX-License-Identifier: Apache-2.0
"""Offline replay: every frame of some bags through the segmenter, exactly; no clock, no DDS.

The same conversions and the same segmenter as in the node. Nothing that is written depends on time,
machine or the number of processes, so that two runs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

from camseg_core.data.sample import SampleMetadata
from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.evaluate import Shard, image_record, run_of
from camseg_core.evaluation.frames import FrameKeeper, FramePictures, FrameScore
from camseg_core.evaluation.metrics.flicker import FlickerCounts, flicker_counts
from camseg_core.evaluation.records import NO_CORRUPTION, Key, RecordWriter, Run, open_run
from camseg_core.images.arrays import UInt8
from camseg_core.segmentation import Segmentation
from camseg_core.segmenter import Segmenter
from camseg_core.system.progress import progress_bar
from camseg_ros.bag.about import AboutDrive, check_classes, read_abouts
from camseg_ros.bag.camera_topics import CameraTopics, cameras_of, loss_line
from camseg_ros.bag.reader import Bag, open_bag
from camseg_ros.replay.bag_frames import BagFrame, BagFrames
from camseg_ros.replay.results.accuracy import sample_name
from camseg_ros.replay.results.drive_result import DriveResult, FrameResult
from camseg_ros.replay.results.output_bag import BAGS_FOLDER, OutputBag
from camseg_ros.replay.results.snapshots import Snapshots

NEXT_FRAME_NS = 10**9
"""Frames farther apart are not consecutive: flicker is not asked for."""

UNNAMED_DATASET, UNNAMED_SPLIT = "bag", "all"


@dataclass(frozen=True)
class OfflinePlan:
    """How bags are replayed.

    Attributes:
        sampling: how to sample.
        image_topics, truth_topics: see `find_cameras`.
        most_frames: of each bag, from its first one on; None for all.
        write_bags: write masks and confidence into a bag for each bag.
    """

    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    image_topics: tuple[str, ...] = ()
    truth_topics: tuple[str, ...] = ()
    most_frames: int | None = None
    write_bags: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.most_frames is not None and self.most_frames < 1:
            raise CamsegError(f"--max-frames is {self.most_frames}; at least 1 is needed")


@dataclass(frozen=True)
class Entry:
    """A bag that is to be replayed, as a first look shows it."""

    path: Path
    name: str
    cameras: tuple[CameraTopics, ...]
    about: AboutDrive
    identity: str

    @property
    def dataset(self) -> tuple[str, str]:
        """Data set and split, which are scored together."""
        return self.about.dataset or UNNAMED_DATASET, self.about.split or UNNAMED_SPLIT


def look_at_bags(paths: Sequence[Path], segmenter: Segmenter, plan: OfflinePlan) -> list[Entry]:
    """Open each bag once, to know cameras and classes before anything is segmented.

    Raises:
        CamsegError: a bag is not readable, two have one name, or their truth is of other classes
            than the weights know.
    """
    entries: dict[str, Entry] = {}
    for path in paths:
        with open_bag(path) as bag:
            cameras = cameras_of(bag, plan.image_topics, plan.truth_topics)
            abouts = read_abouts(bag, cameras)
            about = abouts[0]
            counts = {name: topic.count for name, topic in bag.topics.items()}
            identity = json.dumps([bag.name, bag.start_ns, bag.end_ns, counts], sort_keys=True)
            entry = Entry(path, bag.name, tuple(cameras), about, identity)
        if entry.name in entries:
            raise CamsegError(
                f"{entries[entry.name].path} and {path} have one name, so that their results "
                "would; rename one of them"
            )
        for one in abouts:
            check_classes(one, segmenter.label_set, path)
        entries[entry.name] = entry
    return list(entries.values())


def replay_offline(
    segmenter: Segmenter,
    entries: Sequence[Entry],
    plan: OfflinePlan,
    out: Path,
    shard: Shard | None = None,
) -> None:
    """Replay a shard's bags, and write one result file for each below ``out``.

    Args:
        segmenter: the model on its device.
        entries: all bags, of `look_at_bags`.
        plan: how.
        out: folder for results, see `prepare_folder`.
        shard: this process's share of the bags; all without.

    Raises:
        CamsegError: a bag is not readable, or a result cannot be written.
    """
    shard = shard or Shard()
    for index in range(shard.index, len(entries), shard.count):
        run = _run(segmenter, entries, entries[index].dataset, plan.sampling)
        place = Shard(index, len(entries))
        with open_bag(entries[index].path) as bag:
            _DriveReplay(segmenter, entries[index], plan, out, run, place).replay(bag)


class _DriveReplay:
    """One bag on its way through the segmenter."""

    def __init__(
        self,
        segmenter: Segmenter,
        entry: Entry,
        plan: OfflinePlan,
        out: Path,
        run: Run,
        place: Shard,
    ) -> None:
        self._segmenter, self._entry, self._plan = segmenter, entry, plan
        self._out, self._run, self._place = out, run, place
        self._folder: Path | None = None
        self._records: RecordWriter | None = None
        self._keeper: FrameKeeper | None = None
        self._earlier: dict[str, tuple[BagFrame, UInt8]] = {}
        self._indices: dict[str, int] = {}
        self._frames: list[FrameResult] = []

    def replay(self, bag: Bag) -> None:
        entry, options = self._entry, self._plan.sampling
        label_set = self._segmenter.label_set
        frames = BagFrames(bag, entry.cameras, label_set.num_classes)
        expected = sum(bag.topics[camera.image].count for camera in entry.cameras)
        expected = min(expected, self._plan.most_frames or expected)
        snapshots = Snapshots(self._out, entry.name, expected, label_set)
        with ExitStack() as stack:
            masks = None
            if self._plan.write_bags:
                path = self._out / BAGS_FOLDER / entry.name
                sha256 = self._segmenter.loaded.weights_sha256 or ""
                masks = stack.enter_context(OutputBag(path, label_set, sha256))
            bar = stack.enter_context(progress_bar(expected, "frame", entry.name))
            for index, frame in enumerate(islice(frames, self._plan.most_frames)):
                result = self._segmenter.segment(frame.image, options)
                record_score = self._score(frame, result, stack)
                self._remember(frame, result, record_score)
                snapshots.offer(index, frame.image, result.class_ids, result.confidence)
                if masks is not None:
                    masks.write(
                        frame.camera.name, frame.header, result.class_ids, result.confidence
                    )
                bar.update()
        about = entry.about
        DriveResult(
            name=entry.name,
            dataset=about.dataset,
            split=about.split,
            part=about.part,
            condition=about.condition,
            sequence=about.sequence,
            run=self._folder.name if self._folder else "",
            loss=loss_line(bag, entry.cameras, self._plan.image_topics),
            counts={name: asdict(counts) for name, counts in frames.counts.items()},
            frames=self._frames,
            pictures=snapshots.names,
        ).write(self._out)

    def _score(self, frame: BagFrame, result: Segmentation, stack: ExitStack) -> float | None:
        """Write the frame's record where it has truth; gives its mean IoU."""
        if frame.truth is None:
            return None
        if self._records is None or self._keeper is None:
            self._folder = open_run(self._out, self._run)
            writer = RecordWriter(self._folder, self._place.index, self._place.count)
            self._records = stack.enter_context(writer)
            self._keeper = FrameKeeper(self._folder, self._segmenter.label_set, [])
        about = self._entry.about
        index = self._indices.get(frame.camera.name, 0)
        self._indices[frame.camera.name] = index + 1
        name = sample_name(self._entry.name, frame.camera.name, frame.stamp_ns)
        metadata = SampleMetadata(
            name=name,
            image_path=self._entry.path,
            label_path=self._entry.path,
            dataset=self._run.dataset,
            split=self._run.split,
            part=about.part,
            condition=about.condition or "clear",
            sequence=self._entry.name,
            frame_index=index,
        )
        steps = self._plan.sampling.steps
        timeless = replace(result, stage_seconds={})
        record = image_record(Key(name, NO_CORRUPTION, 0.0, steps), metadata, frame.truth, timeless)
        pictures = FramePictures(frame.image, frame.truth, result.class_ids, result.confidence)
        self._keeper.offer(FrameScore(record.mean_iou, name, steps), pictures)
        self._records.write(record)
        self._keeper.prune()
        return None if math.isnan(record.mean_iou) else record.mean_iou

    def _remember(self, frame: BagFrame, result: Segmentation, mean_iou: float | None) -> None:
        """Compare with the camera's frame before, and keep what the report shows."""
        changed, flicker = None, FlickerCounts()
        found = self._earlier.get(frame.camera.name)
        if found is not None and found[1].shape == result.class_ids.shape:
            earlier, earlier_ids = found
            if 0 < frame.stamp_ns - earlier.stamp_ns <= NEXT_FRAME_NS:
                changed = float((earlier_ids != result.class_ids).mean())
                if frame.truth is not None and earlier.truth is not None:
                    flicker = flicker_counts(
                        earlier.truth, frame.truth, earlier_ids, result.class_ids
                    )
        self._earlier[frame.camera.name] = (frame, result.class_ids)
        self._frames.append(
            FrameResult(
                camera=frame.camera.name,
                stamp_ns=frame.stamp_ns,
                mean_confidence=float(result.confidence.mean()) / 255.0,
                mean_iou=mean_iou,
                changed=changed,
                stable=flicker.stable,
                flickered=flicker.flickered,
            )
        )


def _run(
    segmenter: Segmenter,
    entries: Sequence[Entry],
    dataset: tuple[str, str],
    sampling: SamplingOptions,
) -> Run:
    """Describe the run that a data set's bags make up."""
    identities = sorted(entry.identity for entry in entries if entry.dataset == dataset)
    digest = hashlib.sha256("\n".join(identities).encode()).hexdigest()
    name, split = dataset
    return run_of(segmenter, sampling, dataset=name, split=split, images_sha256=digest)
