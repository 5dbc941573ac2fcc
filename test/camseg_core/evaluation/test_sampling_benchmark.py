# SPDX-License-Identifier: Apache-2.0
"""The records of a sampling benchmark are those of plain calls, however often it was stopped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.sample import Dataset
from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.evaluation.records import (
    ImageRecord,
    Key,
    find_runs,
    iterate_records,
    read_sessions,
    record_files,
)
from camseg_core.evaluation.report.report import write_report
from camseg_core.evaluation.sampling_benchmark import (
    Candidate,
    Images,
    run_sampling_benchmark,
)
from camseg_core.evaluation.sampling_grid import Sweep
from camseg_core.images.arrays import UInt8
from camseg_core.segmenter import Segmentation, Segmenter

Recorded = dict[tuple[str, Key], ImageRecord]

SWEEP = Sweep(
    steps=(1, 2),
    samplers=("ddpm", "ddim"),
    temperatures=(1.0,),
    samples=(1, 2),
    samples_steps=(2,),
)
# Mask: one step from noise and from zero; ddpm and ddim with two steps, alone and averaged; the
# default. Palette: one step from noise and from zero, two steps of both.
MASK_ENTRIES, PALETTE_ENTRIES = 7, 4


@pytest.fixture
def candidates(light_segmenter: Segmenter) -> list[Candidate]:
    return [Candidate("light", light_segmenter)]


def records_of(out: Path) -> Recorded:
    return {
        (folder.name, record.key): record
        for folder in find_runs(out)
        for record in iterate_records(record_files(folder))
    }


def test_records_are_what_plain_calls_give(
    tmp_path: Path, drawn: Dataset, light_segmenter: Segmenter, candidates: list[Candidate]
) -> None:
    images = Images.choose(drawn, max_images=3, palette_images=2)
    assert images.indices == (0, 2, 4)
    assert images.palette_indices == (0, 2)
    runs = run_sampling_benchmark(candidates, SWEEP, images, tmp_path)
    seen: Counter[str] = Counter()
    for run in runs:
        records = {record.key: record for record in iterate_records(record_files(run.folder))}
        for key, record in records.items():
            index = [metadata.name for metadata in drawn.samples].index(key.sample)
            sample = drawn.read(index)
            result = light_segmenter.segment(sample.image, run.options(key.steps))
            expected = confusion_counts(sample.class_ids, result.class_ids, 19)
            np.testing.assert_array_equal(record.confusion, expected)
            assert sum(record.stage_seconds.values()) > 0.0
            seen[run.plan.sampling.decoder] += 1
        assert {key.steps for key in records} == set(run.plan.steps)
        assert {key.sample for key in records} == images.names(sorted(run.indices))
        assert len(read_sessions(record_files(run.folder))) == 1
    assert seen == {"mask": 3 * MASK_ENTRIES, "palette": 2 * PALETTE_ENTRIES}


def test_an_image_is_read_once_and_the_first_call_of_each_kind_is_not_recorded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drawn: Dataset,
    light_segmenter: Segmenter,
    candidates: list[Candidate],
) -> None:
    read: list[int] = []
    real_read, real_segment = Dataset.read, light_segmenter.segment
    called: list[SamplingOptions] = []

    def counting_read(dataset: Dataset, index: int) -> Any:
        read.append(index)
        return real_read(dataset, index)

    def counting_segment(image: UInt8, options: SamplingOptions) -> Segmentation:
        called.append(options)
        return real_segment(image, options)

    monkeypatch.setattr(Dataset, "read", counting_read)
    monkeypatch.setattr(light_segmenter, "segment", counting_segment)
    images = Images.choose(drawn, max_images=2)
    runs = run_sampling_benchmark(candidates, SWEEP, images, tmp_path)
    assert read == [0, 3]
    recorded = 2 * (MASK_ENTRIES + PALETTE_ENTRIES)
    assert len(records_of(tmp_path)) == recorded
    assert len(called) == recorded + len(runs)

    run_sampling_benchmark(candidates, SWEEP, images, tmp_path)
    assert read == [0, 3]
    assert len(called) == recorded + len(runs)
    assert all(len(read_sessions(record_files(run.folder))) == 1 for run in runs)


def test_a_stopped_benchmark_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drawn: Dataset,
    light_segmenter: Segmenter,
    candidates: list[Candidate],
) -> None:
    images = Images.choose(drawn, max_images=2)
    run_sampling_benchmark(candidates, SWEEP, images, tmp_path / "whole")
    real = light_segmenter.segment
    calls = 0

    def stopping(image: UInt8, options: SamplingOptions) -> Segmentation:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return real(image, options)

    with monkeypatch.context() as patch:
        patch.setattr(light_segmenter, "segment", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_sampling_benchmark(candidates, SWEEP, images, tmp_path / "stopped")
    half = records_of(tmp_path / "stopped")
    assert 0 < len(half) < 11
    (folder, *_) = {name for name, _ in half}
    with (tmp_path / "stopped" / folder / "records-00-of-01.jsonl").open("ab") as torn:
        torn.write(b'{"kind":"image","sample":"images/fr')
    run_sampling_benchmark(candidates, SWEEP, images, tmp_path / "stopped")
    assert records_of(tmp_path / "stopped") == records_of(tmp_path / "whole")


def test_more_steps_and_images_are_added_to_the_same_runs(
    tmp_path: Path, drawn: Dataset, candidates: list[Candidate]
) -> None:
    less = replace(SWEEP, steps=(1,), samples=(1,), decoders=("mask",))
    run_sampling_benchmark(candidates, less, Images.choose(drawn, 1), tmp_path)
    first = records_of(tmp_path)
    images = Images.choose(drawn, 2)
    run_sampling_benchmark(candidates, SWEEP, images, tmp_path)
    assert first.items() <= records_of(tmp_path).items()
    run_sampling_benchmark(candidates, SWEEP, images, tmp_path / "at once")
    assert records_of(tmp_path) == records_of(tmp_path / "at once")


def test_the_report_reads_its_runs(
    tmp_path: Path, drawn: Dataset, candidates: list[Candidate]
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    sweep = replace(SWEEP, samplers=("ddim",), samples=(1,), decoders=("mask",))
    run_sampling_benchmark(candidates, sweep, Images.choose(drawn, 2), tmp_path)
    write_report(tmp_path, tmp_path / "report.html")
    figures = json.loads((tmp_path / "figures.json").read_bytes())
    shown = {(run["sampling"]["initial_noise_scale"], *run["steps"]) for run in figures["runs"]}
    assert shown == {(1.0, 1, 2), (0.0, 1), (1.0, 4)}  # the last one is the default


def test_weights_of_one_name_or_of_one_content_are_refused(
    tmp_path: Path, drawn: Dataset, light_segmenter: Segmenter, tiny_segmenter: Segmenter
) -> None:
    images = Images.choose(drawn, 1)
    for names, segmenters, message in (
        ("ab", [light_segmenter] * 2, "weights 'a' and 'b' are the same; give each once"),
        ("aa", [light_segmenter, tiny_segmenter], "two weights are named 'a'; names must differ"),
    ):
        both = [Candidate(*pair) for pair in zip(names, segmenters, strict=True)]
        with pytest.raises(CamsegError, match=message):
            run_sampling_benchmark(both, SWEEP, images, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_classes_are_refused_before_anything_is_written(
    tmp_path: Path, drawn: Dataset, candidates: list[Candidate]
) -> None:
    other = replace(drawn, label_set=find_label_set("camvid"))
    with pytest.raises(CamsegError, match="the weights know the 19 classes of 'cityscapes', but"):
        run_sampling_benchmark(candidates, SWEEP, Images.choose(other, 1), tmp_path)
    assert not list(tmp_path.iterdir())


def parts(dataset: Dataset, first: str) -> Dataset:
    samples = (replace(dataset.samples[0], part=first), *dataset.samples[1:])
    return replace(dataset, samples=samples)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda dataset: dataset, (0, None), "max_images is 0; at least 1 is needed"),
        (lambda dataset: dataset, (None, 0), "palette_images is 0; at least 1 is needed"),
        (
            lambda dataset: parts(dataset, "adverse"),
            (None, None),
            "holds the parts unnamed, adverse, which are scored apart; a benchmark needs one",
        ),
    ],
)
def test_images_that_cannot_be_chosen_are_refused(
    drawn: Dataset,
    change: Callable[[Dataset], Dataset],
    arguments: tuple[int | None, int | None],
    message: str,
) -> None:
    with pytest.raises(CamsegError, match=message):
        Images.choose(change(drawn), *arguments)
