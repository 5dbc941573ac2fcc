# SPDX-License-Identifier: Apache-2.0
"""Offline replay: every frame of some bags through the segmenter, exactly; no clock, no DDS.

A bag is a data set that `evaluate` scores; what a replay adds is written beside the records.
Nothing that is written depends on time, machine or the number of processes, so that two runs give
the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from camseg_core.data.class_merges import MergeFile
from camseg_core.data.sample import Sample
from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.evaluate import Candidate, Plan, Shard, evaluate
from camseg_core.evaluation.records import ImageRecord
from camseg_core.labels import LabelSet
from camseg_core.segmentation import Segmentation
from camseg_core.segmenter import Segmenter
from camseg_ros.bag.dataset import BagDataset
from camseg_ros.replay.results.drives import DriveResult, FrameResult
from camseg_ros.replay.results.folder import BAGS_FOLDER
from camseg_ros.replay.results.kept_frames import OutputBag, spread, strip, write_picture


@dataclass(frozen=True)
class _OneBag(Plan):
    """A plan for one bag: the number of its shard names its file, and it has all its frames."""

    def indices(self, shard: Shard) -> list[int]:
        """Return the indices of all images."""
        return list(range(len(self.dataset)))


def look_at_bags(
    paths: Sequence[Path],
    label_set: LabelSet | None,
    *,
    image_topics: Sequence[str] = (),
    truth_topics: Sequence[str] = (),
    most_frames: int | None = None,
) -> list[BagDataset]:
    """Look once into each bag, to know cameras and classes before anything is segmented.

    The arguments are those of `BagDataset`; all bags have the classes of the first one.

    Raises:
        CamsegError: a bag is not readable, two have one name, or their ground truth is of other
            classes than the weights know.
    """
    bags: list[BagDataset] = []
    for path in paths:
        bag = BagDataset(
            path,
            label_set,
            image_topics=image_topics,
            truth_topics=truth_topics,
            most_frames=most_frames,
        )
        for other in bags:
            if other.bag_name == bag.bag_name:
                raise CamsegError(
                    f"{other.root} and {path} have one name, so that their results would; rename "
                    "one of them"
                )
        bags.append(bag)
        label_set = label_set or bag.label_set
    for one in bags:
        together = [bag for bag in bags if (bag.name, bag.split) == (one.name, one.split)]
        one.identities = [bag.identity for bag in together]
    return bags


def replay_offline(
    segmenter: Segmenter,
    bags: Sequence[BagDataset],
    sampling: SamplingOptions,
    out: Path,
    shard: Shard,
    *,
    write_bags: bool,
    merge: MergeFile | None = None,
) -> None:
    """Replay a shard's bags, and write records and one result file for each below ``out``.

    Args:
        segmenter: the model on its device.
        bags: all bags, as `look_at_bags` returns them.
        sampling: how to sample.
        out: folder for results, see `prepare_folder`.
        shard: this process's share of the bags.
        write_bags: whether masks and confidence of each bag are written into a bag.
        merge: how predicted classes become those of the bags; None where they are the same.

    Raises:
        CamsegError: a bag is not readable, or a result cannot be written.
    """
    for index in range(shard.index, len(bags), shard.count):
        with bags[index] as bag:
            one = Shard(index, len(bags))
            _replay(segmenter, bag, sampling, out, one, write_bag=write_bags, merge=merge)


def _replay(
    segmenter: Segmenter,
    bag: BagDataset,
    sampling: SamplingOptions,
    out: Path,
    shard: Shard,
    *,
    write_bag: bool,
    merge: MergeFile | None,
) -> None:
    label_set = segmenter.label_set
    kept, pictures = spread(max(1, bag.expected)), list[str]()
    frames: list[FrameResult] = []
    places = {metadata.name: index for index, metadata in enumerate(bag.samples)}
    path, sha256 = out / BAGS_FOLDER / bag.bag_name, segmenter.loaded.weights_sha256 or ""
    with OutputBag(path, label_set, sha256) if write_bag else nullcontext() as masks:

        def on_result(sample: Sample, result: Segmentation, record: ImageRecord) -> None:
            if len(frames) in kept:
                picture = strip(sample.image, result.class_ids, result.confidence, label_set)
                pictures.append(write_picture(out, bag.bag_name, len(frames), picture))
            if masks is not None:
                header = bag.header(places[sample.metadata.name])
                masks.write_frame(record.camera, header, result.class_ids, result.confidence)
            frames.append(FrameResult.of_record(record))

        (folder,) = evaluate(
            [Candidate(segmenter, (sampling.steps,), sampling)],
            _OneBag(bag, record_times=False, resumes=False, merge=merge, title=bag.bag_name),
            out,
            shard,
            on_result,
        )
    about = bag.about
    DriveResult(
        bag.bag_name, about.dataset, about.split, about.part, about.condition, about.sequence,
        run=folder.name if any(counts.with_truth for counts in bag.counts.values()) else "",
        loss=bag.loss, counts=bag.counts, frames=frames, pictures=pictures,
    ).write(out)  # fmt: skip
