# SPDX-License-Identifier: Apache-2.0
"""Score many ways to sample on several drives: accuracy, calibration, doubt, flicker and time.

    camseg synth --out clear --split val --frames 16 --frames-per-sequence 2 --seed 9000
    camseg synth --out fog --split val --frames 16 --frames-per-sequence 2 --seed 9000 \
        --condition fog
    python benchmarks/sampling_table.py --weights demo --drives clear fog --out output/sampling

The first drive is scored under noise, too. Drives are those of ``camseg synth`` in the cityscapes
layout, ten frames a second. Writes ``sampling.json`` and ``sampling.md``; a second call goes on
where the first one was stopped. Every frame is sampled in all ways before the next one, so that
their times compare. Official protocol.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from results import write_results

from camseg_core.data.datasets import open_dataset
from camseg_core.data.sample import Dataset, FileDataset
from camseg_core.diffusion.options import DEFAULT_PROFILE, ONE_STEP, SamplingOptions
from camseg_core.errors import CamsegError, exit_status
from camseg_core.evaluation.corruptions import Corruption
from camseg_core.evaluation.evaluate import (
    Candidate,
    Plan,
    Shard,
    corrupted_image,
    evaluate,
)
from camseg_core.evaluation.metrics.risk_coverage import risk_coverage
from camseg_core.evaluation.report.page import number, percent
from camseg_core.evaluation.summary import Summary, summarize
from camseg_core.labels import UNLABELED
from camseg_core.segmenter import Segmenter
from camseg_core.system.files import read_bytes, write_bytes
from camseg_core.system.progress import progress_bar
from camseg_core.system.validation import parse_json

SAMPLES = 8
DOUBT_BINS = 1000


def ways() -> Iterator[SamplingOptions]:
    """Choose what to try: all samplers and steps once, rounds and samples where they are cheap."""
    for rounds in (1, 2, 4):
        yield replace(ONE_STEP, rounds=rounds)
    base = replace(ONE_STEP, initial_noise_scale=1.0)
    yield base
    for steps in (2, 4, 8, 16, 100):
        for sampler in ("ddim", "ddpm", "dpm-solver++"):
            if sampler != "dpm-solver++" or steps >= 4:  # it is DDIM below
                yield replace(base, steps=steps, sampler=sampler)
    for steps in (1, 2, 4, 16):
        yield replace(base, steps=steps, samples=SAMPLES)
    for samples in (1, SAMPLES):
        for rounds in (2, 4):
            yield replace(base, steps=4, rounds=rounds, samples=samples)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True)
    parser.add_argument("--drives", type=Path, nargs="+", required=True)
    parser.add_argument("--sigma", type=float, default=100.0, help="of the noise, of 255")
    parser.add_argument("--spread", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    return exit_status("sampling_table", lambda: run(parsed))


def run(parsed: argparse.Namespace) -> int:
    """Score, write the results and print the tables."""
    segmenter = Segmenter.load(parsed.weights)
    noise = Corruption("gaussian_noise", parsed.sigma)
    sets: dict[str, Any] = {}
    for place, path in enumerate(parsed.drives):
        corruptions = () if place else (noise,)
        out = parsed.out / f"drive-{place}"
        plan = Plan(timed(path), corruptions=corruptions, max_images=parsed.spread)
        summaries = evaluate_ways(segmenter, plan, out)
        for corruption in (None, *corruptions):
            name = str(path) if corruption is None else f"{path}, noise of sigma {parsed.sigma:g}"
            sets[name] = {
                "ways": [row_of(way, summaries[one_step(way)], corruption) for way in ways()],
                "doubt": doubt(segmenter, plan, corruption, out),
            }
    content = {"sha256": segmenter.loaded.weights_sha256, "sets": sets}
    write_results(parsed.out, "sampling", parsed.threads, content, markdown(sets))
    return 0


def timed(root: Path) -> Dataset:
    """Open a drive, with the times of its frames: ten a second, worlds ten seconds apart."""
    dataset = open_dataset("cityscapes", root, "val")
    if not isinstance(dataset, FileDataset):
        raise CamsegError(f"{root} is no folder of files")
    samples = []
    for sample in dataset.samples:
        world, frame = map(int, sample.name.split("_")[-3:-1])
        samples.append(replace(sample, stamp_ns=world * 10**10 + frame * 10**8))
    return replace(dataset, samples=tuple(samples))


def one_step(way: SamplingOptions) -> SamplingOptions:
    """Return the options without their steps, which a run may have several of."""
    return replace(way, steps=1)


def evaluate_ways(segmenter: Segmenter, plan: Plan, out: Path) -> dict[SamplingOptions, Summary]:
    """Evaluate all ways; return the summary of each run, see `one_step`."""
    steps: dict[SamplingOptions, list[int]] = {}
    for way in ways():
        steps.setdefault(one_step(way), []).append(way.steps)
    candidates = [Candidate(segmenter, tuple(some), way) for way, some in steps.items()]
    folders = evaluate(candidates, plan, out)
    return {way: summarize(folder) for way, folder in zip(steps, folders, strict=True)}


def row_of(way: SamplingOptions, summary: Summary, corruption: Corruption | None) -> dict[str, Any]:
    """Return the numbers of a way to sample."""
    what: dict[str, Any] = {}
    if corruption is not None:
        what = {"corruption": corruption.name, "level": corruption.level}
    scores = summary.scores(part="", steps=way.steps, **what)
    if scores is None:
        raise CamsegError(f"{summary.folder} lacks a record; remove it and start again")
    return {
        "steps": way.steps,
        "sampler": "any" if way.steps == 1 else way.sampler,
        "noise": way.initial_noise_scale,
        "rounds": way.rounds,
        "samples": way.samples,
        "images": scores.images,
        **scores.metrics,
        "flicker": scores.flicker.share,
        "milliseconds": 1000.0 * scores.median_seconds_per_image,
    }


def doubt(
    segmenter: Segmenter, plan: Plan, corruption: Corruption | None, out: Path
) -> dict[str, float]:
    """Compare measures of doubt by the area under the risk-coverage curve (AURC) of each.

    Of the weights' own profile: what confidence lacks to 1, and the entropy of the class
    probabilities. Of several samples of 4 steps: the entropy of their mean, and their spread (the
    mutual information of class and sample), which is that entropy less the samples' mean entropy.
    What is found is kept in ``out``.
    """
    file = out / f"doubt-{'clean' if corruption is None else corruption.name}.json"
    if file.exists():
        return parse_json(dict[str, float], read_bytes(file), str(file))
    single = segmenter.loaded.profiles[DEFAULT_PROFILE]
    drawn = replace(ONE_STEP, steps=4, initial_noise_scale=1.0)
    counts: dict[str, NDArray[np.int64]] = {}
    indices = plan.indices(Shard())
    with progress_bar(len(indices), "image", "doubt") as bar:
        for index in indices:
            sample = plan.dataset.read(index)
            image = sample.image
            if corruption is not None:
                image = corrupted_image(image, sample.metadata.name, corruption)
            once = segmenter.segment(image, single).class_probabilities  # [C, H, W]
            each = [
                segmenter.segment(image, replace(drawn, seed=seed)).class_probabilities
                for seed in range(SAMPLES)
            ]
            mean = np.mean(each, axis=0)  # [C, H, W]
            truth = sample.ground_truth
            largest = np.log(len(once))
            spread = entropy(mean) - np.mean([entropy(one) for one in each], axis=0)  # [H, W]
            for name, values, judged in (
                ("one pass: 1 - confidence", 1.0 - once.max(axis=0), once),
                ("one pass: entropy", entropy(once) / largest, once),
                (f"{SAMPLES} samples: 1 - confidence", 1.0 - mean.max(axis=0), mean),
                (f"{SAMPLES} samples: entropy of the mean", entropy(mean) / largest, mean),
                (f"{SAMPLES} samples: spread", spread / largest, mean),
                (f"one pass, doubted by the spread of {SAMPLES} samples", spread / largest, once),
            ):
                labeled = truth != UNLABELED
                sure = (1.0 - values[labeled]).clip(0.0, 1.0)
                bins = np.minimum((sure * DOUBT_BINS).astype(np.int64), DOUBT_BINS - 1)
                right = judged.argmax(axis=0)[labeled] == truth[labeled]
                found = np.stack(
                    [
                        np.bincount(bins, minlength=DOUBT_BINS),
                        np.bincount(bins[right], minlength=DOUBT_BINS),
                    ]
                )
                counts[name] = counts.get(name, 0) + found
            bar.update()
    areas = {name: risk_coverage(*found).area for name, found in counts.items()}
    write_bytes(file, json.dumps(areas, indent=1).encode() + b"\n")
    return areas


def entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the entropy in nats of class probabilities [C, H, W], float [H, W]."""
    safe = np.maximum(probabilities, np.finfo(np.float32).tiny)
    total: NDArray[np.float32] = -(probabilities * np.log(safe)).sum(axis=0)
    return total


def markdown(sets: dict[str, Any]) -> Iterator[str]:
    """Return the tables."""
    for name, found in sets.items():
        first = found["ways"][0]
        yield ""
        yield f"{name}, {first['images']} frames; time relative to the first row's:"
        yield ""
        yield (
            "| first noise | sampler | steps | rounds | samples | mIoU % | pixel accuracy % | NLL "
            "| ECE | AURC | flicker % | time |"
        )
        yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
        for row in found["ways"]:
            yield (
                f"| {'random' if row['noise'] else 'zero'} | {row['sampler']} | {row['steps']} "
                f"| {row['rounds']} | {row['samples']} | {percent(row['mean_iou'], 1)} "
                f"| {percent(row['pixel_accuracy'], 1)} "
                f"| {number(row['negative_log_likelihood'])} | {number(row['calibration_error'])} "
                f"| {number(row['risk_coverage_area'], 4)} | {percent(row['flicker'], 1)} "
                f"| {row['milliseconds'] / first['milliseconds']:.1f} |"
            )
    yield ""
    yield "AURC by measure of doubt:"
    yield ""
    yield "| measure | " + " | ".join(sets) + " |"
    yield "|---" * (1 + len(sets)) + "|"
    for measure in next(iter(sets.values()))["doubt"]:
        areas = [number(found["doubt"][measure], 4) for found in sets.values()]
        yield f"| {measure} | " + " | ".join(areas) + " |"


if __name__ == "__main__":
    sys.exit(main())
