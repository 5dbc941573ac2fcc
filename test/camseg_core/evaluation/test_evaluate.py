# SPDX-License-Identifier: Apache-2.0
"""Evaluations: the records are what a plain loop computes; shards and resumes change nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.sample import Dataset
from camseg_core.errors import CamsegError
from camseg_core.evaluation.corruptions import corrupt, corruption_generator, select_corruptions
from camseg_core.evaluation.evaluate import Plan, Shard, evaluate
from camseg_core.evaluation.frames import PICTURES, picture_path, worst_and_best
from camseg_core.evaluation.metrics.calibration_counts import measure_calibration
from camseg_core.evaluation.metrics.published import squash_for_published
from camseg_core.evaluation.records import (
    ImageRecord,
    Key,
    iterate_records,
    read_run,
    read_sessions,
    record_files,
)
from camseg_core.evaluation.summary import summarize
from camseg_core.images.arrays import UInt8
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


def test_records_are_what_a_plain_loop_computes(
    tmp_path: Path, drawn: Dataset, parity_segmenter: Segmenter
) -> None:
    plan = Plan(drawn, steps=(2, 3), corruptions=NOISE, max_images=3)
    folder = evaluate(parity_segmenter, plan, tmp_path)
    records = records_of(folder)
    assert len(records) == 3 * 2 * 2
    for index in (0, 2, 4):  # 7 images, 3 of them at equal distances
        sample = drawn.read(index)
        name = sample.metadata.name
        noisy = corrupt(
            sample.image, "gaussian_noise", 30, corruption_generator(0, name, "gaussian_noise", 30)
        )
        for corruption, level, image in (
            ("none", 0.0, sample.image),
            ("gaussian_noise", 30.0, noisy),
        ):
            for steps in (2, 3):
                result = parity_segmenter.segment(image, SamplingOptions(steps=steps))
                record = records[Key(name, corruption, level, steps)]
                assert record.counts == plain_counts(sample.class_ids, result.class_ids)
                expected = measure_calibration(
                    result.class_probabilities, sample.class_ids, result.class_ids
                )
                assert record.calibration == expected.to_dict()
                assert (record.height, record.width) == (32, 48)
                assert record.sequence == sample.metadata.sequence
                assert record.frame_index == index
                assert sum(record.stage_seconds.values()) > 0.0
    clean, noised = (
        records[Key(drawn.samples[0].name, *what, 3)]
        for what in (("none", 0.0), ("gaussian_noise", 30.0))
    )
    assert clean.counts != noised.counts


def test_the_published_protocol_squashes_image_and_colours_and_samples_the_latent(
    tmp_path: Path, drawn: Dataset, parity_segmenter: Segmenter
) -> None:
    options = SamplingOptions(sample_image_latent=True)
    plan = Plan(drawn, "published", steps=(2,), sampling=options, max_images=1)
    folder = evaluate(parity_segmenter, plan, tmp_path)
    (record,) = records_of(folder).values()
    sample = drawn.read(0)
    image, truth = squash_for_published(sample.image, sample.class_ids, drawn.label_set, 64)
    result = parity_segmenter.segment(image, replace(options, steps=2))
    assert (record.height, record.width) == (64, 64)
    assert record.counts == plain_counts(truth, result.class_ids)
    assert read_run(folder).protocol == "published"
    assert "published" in folder.name


def test_other_settings_data_or_weights_are_another_run(
    tmp_path: Path,
    drawn: Dataset,
    drawn_root: Path,
    parity_segmenter: Segmenter,
    tiny_segmenter: Segmenter,
) -> None:
    plan = Plan(drawn, steps=(1,), max_images=1)
    first = evaluate(parity_segmenter, plan, tmp_path)
    changed = cv2.imread(str(drawn_root / "images" / "frame_0001.png"))
    other_image = tmp_path / "frame_0000.png"
    assert cv2.imwrite(str(other_image), changed)
    samples = (replace(drawn.samples[0], image_path=other_image), *drawn.samples[1:])
    folders = {
        first,
        evaluate(parity_segmenter, replace(plan, sampling=SamplingOptions(seed=1)), tmp_path),
        evaluate(parity_segmenter, replace(plan, protocol="published"), tmp_path),
        evaluate(tiny_segmenter, plan, tmp_path),
        evaluate(
            parity_segmenter, replace(plan, dataset=replace(drawn, samples=samples)), tmp_path
        ),
        evaluate(parity_segmenter, replace(plan, dataset=replace(drawn, split="test")), tmp_path),
    }
    assert len(folders) == 6
    assert evaluate(parity_segmenter, replace(plan, steps=(2,)), tmp_path) == first
    assert {key.steps for key in records_of(first)} == {1, 2}


def test_what_is_done_is_not_done_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drawn: Dataset,
    parity_segmenter: Segmenter,
) -> None:
    plan = Plan(drawn, steps=(1,), max_images=3)
    folder = evaluate(parity_segmenter, plan, tmp_path)
    before = record_files(folder)[0].read_bytes()
    segmented: list[Any] = []
    real = parity_segmenter.segment

    def counting(image: UInt8, options: SamplingOptions) -> Any:
        segmented.append(options.steps)
        return real(image, options)

    monkeypatch.setattr(parity_segmenter, "segment", counting)
    evaluate(parity_segmenter, plan, tmp_path)
    assert segmented == []
    assert record_files(folder)[0].read_bytes() == before
    evaluate(parity_segmenter, replace(plan, max_images=None, steps=(1, 2)), tmp_path)
    # 7 images; 0, 2 and 4 had one of the two steps.
    assert sorted(segmented) == [1] * 4 + [2] * 7
    assert len(read_sessions(record_files(folder))) == 2


def test_shards_together_are_one_evaluation(
    tmp_path: Path, drawn: Dataset, parity_segmenter: Segmenter
) -> None:
    plan = Plan(drawn, steps=(1, 2), corruptions=NOISE)
    whole = evaluate(parity_segmenter, plan, tmp_path / "whole")
    for index in (2, 0, 1):
        shared = evaluate(parity_segmenter, plan, tmp_path / "shared", Shard(index, 3))
    assert [path.name for path in record_files(shared)] == [
        f"records-0{index}-of-03.jsonl" for index in range(3)
    ]
    assert records_of(shared) == records_of(whole)
    one, two = summarize(whole), summarize(shared)
    assert one.frame_scores == two.frame_scores
    for group, sums in one.sums.items():
        np.testing.assert_array_equal(sums.confusion, two.sums[group].confusion)
        assert sums.calibration.to_dict() == two.sums[group].calibration.to_dict()


def test_a_run_goes_on_with_another_number_of_shards(
    tmp_path: Path, drawn: Dataset, parity_segmenter: Segmenter
) -> None:
    plan = Plan(drawn, steps=(1,))
    whole = evaluate(parity_segmenter, plan, tmp_path / "whole")
    evaluate(parity_segmenter, plan, tmp_path / "changed", Shard(1, 3))
    changed = evaluate(parity_segmenter, plan, tmp_path / "changed", Shard(0, 1))
    assert records_of(changed) == records_of(whole)
    lines = sum(path.read_bytes().count(b'"kind":"image"') for path in record_files(changed))
    assert lines == 7


def test_the_worst_and_best_frames_have_their_pictures(
    tmp_path: Path, drawn: Dataset, parity_segmenter: Segmenter
) -> None:
    samples = tuple(
        replace(metadata, name=f"{copy}/{metadata.name}")
        for copy in range(2)
        for metadata in drawn.samples
    )
    plan = Plan(replace(drawn, samples=samples), steps=(1,))
    for index in range(2):
        folder = evaluate(parity_segmenter, plan, tmp_path, Shard(index, 2))
    worst, best = worst_and_best(summarize(folder).frame_scores)
    assert len(worst) == len(best) == 4
    for score in (*worst, *best):
        assert all(picture_path(folder, score, kind).is_file() for kind in PICTURES)
        index = [metadata.name for metadata in samples].index(score.sample)
        sample = plan.dataset.read(index)
        truth = cv2.imread(str(picture_path(folder, score, "truth")))[..., ::-1]
        np.testing.assert_array_equal(truth, drawn.label_set.color_image(sample.class_ids))
    assert len(list((folder / "frames" / "steps-0001").iterdir())) <= 4 * 8 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": ()}, r"steps are \[\]; one or more different ones are needed"),
        ({"steps": (2, 2)}, r"steps are \[2, 2\]; one or more different ones are needed"),
        ({"steps": (0,)}, "steps is 0; a whole number from 1 to 1000 is needed"),
        ({"max_images": 0}, "max_images is 0; at least 1 is needed"),
    ],
)
def test_a_plan_out_of_range_is_refused(
    drawn: Dataset, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(CamsegError, match=message):
        Plan(drawn, **change)


def test_shards_count_from_0() -> None:
    with pytest.raises(CamsegError, match="shard 2 of 2; shards count from 0"):
        Shard(2, 2)


def test_ids_that_mean_other_classes_are_refused(
    tmp_path: Path, drawn: Dataset, parity_segmenter: Segmenter
) -> None:
    plan = Plan(replace(drawn, label_set=find_label_set("camvid")))
    with pytest.raises(
        CamsegError,
        match="the weights know the 19 classes of 'cityscapes', but folder is read with the 11 "
        "classes of 'camvid'; --label-set FILE can map",
    ):
        evaluate(parity_segmenter, plan, tmp_path)
    assert not list(tmp_path.iterdir())


# Real processes


def command(root: Path, parity: Path, out: Path) -> list[str]:
    options = {
        "--weights": parity, "--dataset": "folder", "--root": root, "--out": out,
        "--label-set": "cityscapes-train-ids", "--steps": "1,2", "--corruption": "hue:0.1",
    }  # fmt: skip
    return [
        "-m",
        "camseg_core.cli",
        "evaluate",
        *(str(x) for pair in options.items() for x in pair),
    ]


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
    assert len(read_sessions([file])) == 2
    pictures = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
        for folder in (file.parent, uninterrupted)
    ]
    assert pictures[0] == pictures[1]
