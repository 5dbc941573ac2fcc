# SPDX-License-Identifier: Apache-2.0
"""Evaluations: the records are what a plain loop computes; shards and resumes change nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from camseg_core.data.class_merges import MergeFile
from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.sample import FileDataset, Sample, SampleMetadata, UnusableSampleError
from camseg_core.errors import CamsegError
from camseg_core.evaluation.corruptions import corrupt, corruption_generator, select_corruptions
from camseg_core.evaluation.evaluate import Candidate, Plan, Shard, evaluate
from camseg_core.evaluation.frames import PICTURES, picture_path, worst_and_best
from camseg_core.evaluation.metrics.calibration_counts import measure_calibration
from camseg_core.evaluation.metrics.flicker import FlickerCounts
from camseg_core.evaluation.metrics.published import squash_for_published
from camseg_core.evaluation.records import (
    ImageRecord,
    Key,
    iterate_records,
    read_run,
    record_files,
)
from camseg_core.evaluation.summary import summarize
from camseg_core.images.arrays import UInt8
from camseg_core.labels import LabelSet
from camseg_core.segmentation import Segmentation
from camseg_core.segmenter import SamplingOptions, Segmenter

NOISE = select_corruptions("gaussian_noise:30")


def records_of(folder: Path) -> dict[Key, ImageRecord]:
    return {record.key: record for record in iterate_records(record_files(folder))}


def plain_counts(truth: UInt8, prediction: UInt8) -> list[list[int]]:
    """Count with a loop."""
    counts = [[0] * 20 for _ in range(19)]
    for true, predicted in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if true != 255:
            counts[true][19 if predicted == 255 else predicted] += 1
    return counts


def run(
    segmenter: Segmenter,
    plan: Plan,
    out: Path,
    shard: Shard | None = None,
    *,
    steps: tuple[int, ...] = (1,),
    sampling: SamplingOptions | None = None,
) -> Path:
    """Evaluate with one way to sample."""
    candidate = Candidate(segmenter, steps, sampling or SamplingOptions())
    return evaluate([candidate], plan, out, shard)[0]


def test_records_are_what_a_plain_loop_computes(
    tmp_path: Path, drawn: FileDataset, parity_segmenter: Segmenter
) -> None:
    plan = Plan(drawn, corruptions=NOISE, max_images=3)
    records = records_of(run(parity_segmenter, plan, tmp_path, steps=(2, 3)))
    assert len(records) == 3 * 2 * 2
    for index in (0, 2, 4):  # 7 images, 3 of them at equal distances
        sample = drawn.read(index)
        name = sample.metadata.name
        noise = ("gaussian_noise", 30.0)
        noisy = corrupt(sample.image, *noise, corruption_generator(0, name, *noise))
        tasks = [(("none", 0.0), sample.image), (noise, noisy)]
        for (corruption, image), steps in product(tasks, (2, 3)):
            result = parity_segmenter.segment(image, SamplingOptions(steps=steps))
            record = records[Key(name, *corruption, steps)]
            assert record.counts == plain_counts(sample.ground_truth, result.class_ids)
            expected = measure_calibration(
                result.class_probabilities, sample.ground_truth, result.class_ids
            )
            assert record.calibration == expected.to_dict()
            assert (record.height, record.width) == (32, 48)
            assert record.sequence == sample.metadata.sequence
            assert record.frame_index == index
            assert sum(record.stage_seconds.values()) > 0.0
        assert len({str(records[Key(name, *what, 3)].counts) for what, _ in tasks}) == 2


def test_a_new_folder_s_earlier_records_are_read_only_to_go_on(
    tmp_path: Path, drawn: FileDataset, parity_segmenter: Segmenter
) -> None:
    plan = Plan(drawn, max_images=2, resumes=False)
    folder = run(parity_segmenter, plan, tmp_path, Shard(0, 2))
    (other,) = record_files(folder)
    whole = other.read_bytes()
    other.write_bytes(whole + b"no record\n")
    assert run(parity_segmenter, plan, tmp_path, Shard(1, 2)) == folder
    with pytest.raises(CamsegError, match=f"{other.name}, line 3"):
        run(parity_segmenter, replace(plan, resumes=True), tmp_path, Shard(1, 2))
    other.write_bytes(whole)
    assert len(records_of(folder)) == 2


def test_merged_classes_are_scored_as_the_data_set_s(
    tmp_path: Path, drawn: FileDataset, parity_segmenter: Segmenter
) -> None:
    names = drawn.label_set.names
    classes = {"ground": [*names[:2]], "thing": [*names[2:12]]}  # seven classes have no target
    two = LabelSet(
        "two", ("ground", "thing"), ((1, 2, 3), (4, 5, 6)),
        source_ids={id_: int(id_ > 1) for id_ in range(19)},
    )  # fmt: skip
    data = replace(drawn, label_set=two)
    plan = Plan(data, max_images=2, merge=MergeFile("mine", classes))
    folder = run(parity_segmenter, plan, tmp_path, steps=(2,))
    for index in (0, 3):
        sample = data.read(index)
        result = parity_segmenter.segment(sample.image, SamplingOptions(steps=2))
        truth, predicted = sample.ground_truth.ravel(), result.class_ids.ravel()
        expected = np.zeros((2, 3), int)
        for true, id_ in zip(truth.tolist(), predicted.tolist(), strict=True):
            if true != 255:
                expected[true, 0 if id_ < 2 else 1 if id_ < 12 else 2] += 1
        record = records_of(folder)[Key(sample.metadata.name, "none", 0.0, 2)]
        assert record.counts == expected.tolist()
        planes = result.class_probabilities
        merged = np.stack([planes[:2].sum(axis=0), planes[2:12].sum(axis=0)])
        ids = np.where(result.class_ids < 2, 0, np.where(result.class_ids < 12, 1, 255))
        counts = measure_calibration(merged, sample.ground_truth, ids.astype(np.uint8))
        assert record.calibration_counts is not None
        np.testing.assert_allclose(record.calibration_counts.nll_units, counts.nll_units, atol=9)
    assert read_run(folder).classes == two
    assert read_run(folder).merge == MergeFile("mine", classes)
    assert summarize(folder).title == "folder all (mine)"
    plain = run(parity_segmenter, Plan(drawn, max_images=1), tmp_path)
    assert plain != folder
    assert read_run(plain).merge is None


def test_the_published_protocol_squashes_image_and_colours_and_samples_the_latent(
    tmp_path: Path, drawn: FileDataset, parity_segmenter: Segmenter
) -> None:
    options = SamplingOptions(sample_image_latent=True)
    plan = Plan(drawn, "published", max_images=1)
    folder = run(parity_segmenter, plan, tmp_path, steps=(2,), sampling=options)
    (record,) = records_of(folder).values()
    sample = drawn.read(0)
    image, truth = squash_for_published(sample.image, sample.ground_truth, drawn.label_set, 64)
    result = parity_segmenter.segment(image, replace(options, steps=2))
    assert (record.height, record.width) == (64, 64)
    assert record.counts == plain_counts(truth, result.class_ids)
    assert read_run(folder).protocol == "published"


def test_other_settings_data_or_weights_are_another_run(
    tmp_path: Path,
    drawn: FileDataset,
    parity_segmenter: Segmenter,
    tiny_segmenter: Segmenter,
) -> None:
    plan = Plan(drawn, max_images=1)
    first = run(parity_segmenter, plan, tmp_path)
    others = replace(drawn, files=(drawn.files[1], *drawn.files[1:]))  # another first image
    folders = {
        first,
        run(parity_segmenter, plan, tmp_path, sampling=SamplingOptions(seed=1)),
        run(parity_segmenter, replace(plan, protocol="published"), tmp_path),
        run(tiny_segmenter, plan, tmp_path),
        run(parity_segmenter, replace(plan, dataset=others), tmp_path),
        run(parity_segmenter, replace(plan, dataset=replace(drawn, split="test")), tmp_path),
    }
    assert len(folders) == 6
    assert run(parity_segmenter, plan, tmp_path, steps=(2,)) == first
    assert {key.steps for key in records_of(first)} == {1, 2}


def test_what_is_done_is_not_done_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drawn: FileDataset,
    parity_segmenter: Segmenter,
) -> None:
    plan = Plan(drawn, max_images=3)
    folder = run(parity_segmenter, plan, tmp_path)
    before = record_files(folder)[0].read_bytes()
    segmented: list[Any] = []
    real = parity_segmenter.segment

    def counting(image: UInt8, options: SamplingOptions) -> Any:
        segmented.append(options.steps)
        return real(image, options)

    monkeypatch.setattr(parity_segmenter, "segment", counting)
    run(parity_segmenter, plan, tmp_path)
    assert segmented == []
    assert record_files(folder)[0].read_bytes() == before
    run(parity_segmenter, replace(plan, max_images=None), tmp_path, steps=(1, 2))
    # 7 images; 0, 2 and 4 had one of the two steps.
    assert sorted(segmented) == [1] * 4 + [2] * 7
    assert len(summarize(folder).sessions) == 2


def test_shards_together_are_one_evaluation(
    tmp_path: Path, drawn: FileDataset, parity_segmenter: Segmenter
) -> None:
    plan = Plan(drawn, corruptions=NOISE)
    whole = run(parity_segmenter, plan, tmp_path / "whole", steps=(1, 2))
    for index in (2, 0, 1):
        shard = Shard(index, 3)
        shared = run(parity_segmenter, plan, tmp_path / "shared", shard, steps=(1, 2))
    assert [path.name for path in record_files(shared)] == [
        f"records-0{index}-of-03.jsonl" for index in range(3)
    ]
    assert records_of(shared) == records_of(whole)


def test_a_run_goes_on_with_another_number_of_shards(
    tmp_path: Path, drawn: FileDataset, parity_segmenter: Segmenter
) -> None:
    plan = Plan(drawn)
    whole = run(parity_segmenter, plan, tmp_path / "whole")
    run(parity_segmenter, plan, tmp_path / "changed", Shard(1, 3))
    changed = run(parity_segmenter, plan, tmp_path / "changed", Shard(0, 1))
    assert records_of(changed) == records_of(whole)
    lines = sum(path.read_bytes().count(b'"kind":"image"') for path in record_files(changed))
    assert lines == 7


def test_the_worst_and_best_frames_have_their_pictures(
    tmp_path: Path, drawn: FileDataset, parity_segmenter: Segmenter
) -> None:
    samples = tuple(
        replace(metadata, name=f"{copy}/{metadata.name}")
        for copy in range(2)
        for metadata in drawn.samples
    )
    plan = Plan(replace(drawn, samples=samples, files=2 * drawn.files))
    for index in range(2):
        folder = run(parity_segmenter, plan, tmp_path, Shard(index, 2))
    worst, best = worst_and_best(summarize(folder).frame_scores)
    assert len(worst) == len(best) == 4
    for score in (*worst, *best):
        assert all(picture_path(folder, score, kind).is_file() for kind in PICTURES)
        index = [metadata.name for metadata in samples].index(score.sample)
        sample = plan.dataset.read(index)
        truth = cv2.imread(str(picture_path(folder, score, "truth")))[..., ::-1]
        np.testing.assert_array_equal(truth, drawn.label_set.color_image(sample.ground_truth))
    assert len(list((folder / "frames" / "steps-0001").iterdir())) <= 4 * 8 * 2


def test_each_image_is_segmented_in_every_way_before_the_next(
    tmp_path: Path, drawn: FileDataset, parity_segmenter: Segmenter, tiny_segmenter: Segmenter
) -> None:
    ways = [
        Candidate(parity_segmenter, (1, 2), name="first"),
        Candidate(parity_segmenter, (1,), SamplingOptions(seed=1)),
        Candidate(tiny_segmenter, (3,)),
    ]
    order: list[tuple[str, int]] = []

    def note(sample: Sample, result: Segmentation, record: ImageRecord) -> None:
        assert record.counts == plain_counts(sample.ground_truth, result.class_ids)
        order.append((record.sample, record.steps))

    plan = Plan(drawn, max_images=2)
    folders = evaluate(ways, plan, tmp_path, on_result=note)
    names = [drawn.samples[index].name for index in (0, 3)]
    assert order == [(name, steps) for name in names for steps in (1, 2, 1, 3)]
    assert len(set(folders)) == 3
    assert summarize(folders[0]).sessions[0].weights.startswith("first (")
    alone = run(parity_segmenter, plan, tmp_path / "alone", steps=(1, 2))
    assert records_of(alone) == records_of(folders[0])
    with pytest.raises(CamsegError, match="ways to sample are the same; give each once"):
        evaluate([ways[0], ways[0]], plan, tmp_path)


@dataclass(frozen=True)
class Stream:
    """A stream of frames, as a bag has them: the third has no ground truth, the fourth is bad."""

    source: FileDataset
    name = "stream"
    root = Path("stream")
    split = "all"

    @property
    def label_set(self) -> LabelSet:
        return self.source.label_set

    @property
    def samples(self) -> list[SampleMetadata]:
        return [
            replace(one, sequence="bag", camera="front", stamp_ns=10**8 * index)
            for index, one in enumerate(self.source.samples)
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Sample:
        if index == 3:
            raise UnusableSampleError("the frame is damaged")
        sample = self.source.read(index)
        truth = None if index == 2 else sample.class_ids
        return Sample(sample.image, truth, self.samples[index])

    def fingerprint(self) -> str:
        return "0" * 64


def test_a_stream_of_frames_is_measured_with_its_flicker_and_without_times(
    tmp_path: Path, drawn: FileDataset, parity_segmenter: Segmenter
) -> None:
    plan = Plan(Stream(drawn), record_times=False)
    results: list[UInt8] = []
    way = Candidate(parity_segmenter, (1,))
    (folder,) = evaluate(
        [way],
        plan,
        tmp_path / "one",
        on_result=lambda _, found, __: results.append(found.class_ids),
    )
    records = list(records_of(folder).values())
    assert [record.frame_index for record in records] == [0, 1, 2, 4, 5, 6]
    assert [record.counts is None for record in records] == [False, False, True, *[False] * 3]
    assert all(record.stage_seconds == {} for record in records)
    assert records[0].changed is None
    for index in range(1, 6):
        assert records[index].changed == (results[index - 1] != results[index]).mean()
    stable = drawn.read(0).class_ids == drawn.read(1).class_ids
    stable &= drawn.read(1).class_ids != 255
    assert records[1].stable == stable.sum()
    assert records[1].flickered == (stable & (results[0] != results[1])).sum()
    assert (records[2].stable, records[3].stable) == (0, 0)  # one of each pair has no ground truth
    summary = summarize(folder)
    assert summary.without_ground_truth == 1
    scores = summary.scores(steps=1, part="", sequence="bag")
    assert scores is not None
    assert scores.images == 5
    assert scores.flicker == sum((record.flicker for record in records), FlickerCounts())
    (again,) = evaluate([way], plan, tmp_path / "two")
    lines = [
        [line for line in path.read_bytes().splitlines() if b'"session"' not in line]
        for path in (*record_files(folder), *record_files(again))
    ]
    assert lines[0] == lines[1]


def test_ids_that_mean_other_classes_and_no_images_are_refused(
    tmp_path: Path, drawn: FileDataset, parity_segmenter: Segmenter
) -> None:
    with pytest.raises(CamsegError, match="max_images is 0; at least 1 is needed"):
        Plan(drawn, max_images=0)
    plan = Plan(replace(drawn, label_set=find_label_set("camvid")))
    with pytest.raises(
        CamsegError,
        match="the weights know the 19 classes of 'cityscapes', but folder is read with the 11 "
        "classes of 'camvid'; --merge scores the weights on the data set's classes",
    ):
        run(parity_segmenter, plan, tmp_path)
    assert not list(tmp_path.iterdir())


# Real processes


def command(root: Path, parity: Path, out: Path) -> list[str]:
    return [
        "-m", "camseg_core.cli", "evaluate", "--dataset", "folder", "--steps", "1,2",
        "--label-set", "cityscapes-train-ids", "--corruption", "hue:0.1",
        f"--weights={parity}", f"--root={root}", f"--out={out}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory,
    drawn_root: Path,
    parity: Path,
    run_camseg: Callable[..., subprocess.CompletedProcess[str]],
) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    done = run_camseg(*command(drawn_root, parity, out)[2:])
    assert done.returncode == 0, done.stderr
    assert "mIoU" in done.stdout
    (folder,) = out.iterdir()
    assert len(records_of(folder)) == 7 * 2 * 2
    return folder


def test_two_processes_equal_one(
    tmp_path: Path, drawn_root: Path, parity: Path, uninterrupted: Path
) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
            "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
            *command(drawn_root, parity, tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = tmp_path / uninterrupted.name
    assert len(record_files(folder)) == 2
    assert records_of(folder) == records_of(uninterrupted)
    table = [line for line in done.stdout.splitlines() if line.startswith("- ")]
    assert len(table) == 4, done.stdout  # printed once, and only after both are done
    assert all(line.split()[3] == "7" for line in table)


def test_a_killed_run_goes_on(
    tmp_path: Path,
    drawn_root: Path,
    parity: Path,
    uninterrupted: Path,
    run_camseg: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    arguments = command(drawn_root, parity, tmp_path)
    file = tmp_path / uninterrupted.name / "records-00-of-01.jsonl"
    with subprocess.Popen(
        [sys.executable, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        limit = time.monotonic() + 60
        while not (file.exists() and file.read_bytes().count(b"\n") > 3):
            assert time.monotonic() < limit
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    whole = file.read_bytes().count(b"\n") - 1
    assert whole < 28
    with file.open("ab") as torn:  # as if it had been killed while it wrote
        torn.write(b'{"kind":"image","sample":"images/fr')
    assert len(records_of(file.parent)) == whole
    done = run_camseg(*arguments[2:])
    assert done.returncode == 0, done.stderr
    assert records_of(file.parent) == records_of(uninterrupted)
    assert len(summarize(file.parent).sessions) == 2
    pictures = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
        for folder in (file.parent, uninterrupted)
    ]
    assert pictures[0] == pictures[1]
