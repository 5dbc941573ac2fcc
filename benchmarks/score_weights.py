# SPDX-License-Identifier: Apache-2.0
"""Score weights on the held-out synthetic drive: conditions, corruptions, classes, calibration.

    camseg synth --out clear --frames 200 --frames-per-sequence 2 --seed 9000
    camseg synth --out adverse --layout acdc --condition fog --frames 200 ... (rain, snow, night)
    python benchmarks/score_weights.py --weights demo zero-shot=clear.safetensors \
        --clear clear --adverse adverse --out output/scores

Writes ``scores.json`` and ``scores.md``; a second call goes on where the first one was stopped.
Several weights stand side by side. Official protocol, the weights' own profile.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from results import write_results

from camseg_core.data.datasets import open_dataset
from camseg_core.diffusion.options import find_profile
from camseg_core.errors import CamsegError, exit_status
from camseg_core.evaluation.corruptions import select_corruptions
from camseg_core.evaluation.evaluate import Candidate, Plan, evaluate
from camseg_core.evaluation.metrics.ratios import finite_or_none
from camseg_core.evaluation.report.page import number, percent
from camseg_core.evaluation.summary import Scores, Summary, summarize
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import load_model


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", nargs="+", required=True, metavar="[NAME=]WEIGHTS")
    parser.add_argument("--clear", type=Path, required=True, help="cityscapes layout, split val")
    parser.add_argument("--adverse", type=Path, help="acdc layout, split val")
    parser.add_argument("--corruption-images", type=int, default=40, help="number, 0 for none")
    parser.add_argument("--profile", default="balanced")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    return exit_status("score_weights", lambda: run(parsed))


def run(parsed: argparse.Namespace) -> int:
    """Score all weights, write the results and print the tables."""
    results = [score(entry, parsed) for entry in parsed.weights]
    write_results(parsed.out, "scores", parsed.threads, {"weights": results}, markdown(results))
    return 0


def score(entry: str, parsed: argparse.Namespace) -> dict[str, Any]:
    """Evaluate one weights file on all that was given."""
    name, _, weights = entry.rpartition("=")
    loaded = load_model(weights)
    options = find_profile(loaded.profiles, parsed.profile)
    candidate = Candidate(Segmenter(loaded), (options.steps,), options)
    clear = Plan(open_dataset("cityscapes", parsed.clear, "val"))
    out = parsed.out / (name or weights)

    def run(plan: Plan, folder: str) -> Summary:
        return summarize(evaluate([candidate], plan, out / folder)[0])

    def scores_of(summary: Summary, part: str = "", **what: Any) -> Scores:
        scores = summary.scores(part=part, steps=options.steps, **what)
        if scores is None:
            raise CamsegError("an evaluated group has no record; remove --out and start again")
        return scores

    summary = run(clear, "clear")
    scores = scores_of(summary)
    iou = map(finite_or_none, scores.measured.official.iou)
    result: dict[str, Any] = {
        "name": name or weights,
        "sha256": loaded.weights_sha256,
        "options": str(options),
        "conditions": {"clear": numbers_of(scores)},
        "classes": dict(zip(summary.run.classes.names, iou, strict=True)),
    }
    if parsed.adverse is not None:
        summary = run(Plan(open_dataset("acdc", parsed.adverse, "val")), "adverse")
        for condition in summary.conditions("adverse"):
            adverse = scores_of(summary, "adverse", condition=condition)
            result["conditions"][condition] = numbers_of(adverse)
    if parsed.corruption_images:
        corrupted = replace(
            clear, corruptions=select_corruptions("all"), max_images=parsed.corruption_images
        )
        summary = run(corrupted, "corruptions")
        result["clean_mean_iou"] = scores_of(summary).main
        result["corruptions"] = {
            f"{corruption}:{level:g}": scores_of(summary, corruption=corruption, level=level).main
            for corruption, level in summary.corruptions()
        }
    return result


def numbers_of(scores: Scores) -> dict[str, float | None]:
    """Return the numbers of a condition."""
    return {
        "images": scores.images,
        **scores.metrics,
        "scaled_calibration_error": scores.scaled
        and finite_or_none(scores.scaled.reliability.expected_calibration_error),
        "temperature": scores.temperature,
        "milliseconds": 1000.0 * scores.seconds_per_image,
    }


def markdown(results: list[dict[str, Any]]) -> Iterator[str]:
    """Return the tables."""
    yield ""
    yield "| weights | condition | images | mIoU | pixel accuracy | ECE | ECE, temperature | AURC |"
    yield "|---|---|---|---|---|---|---|---|"
    for result in results:
        for condition, row in result["conditions"].items():
            yield (
                f"| {result['name']} | {condition} | {row['images']} "
                f"| {percent(row['mean_iou'], 1)} | {percent(row['pixel_accuracy'], 1)} "
                f"| {number(row['calibration_error'])} "
                f"| {number(row['scaled_calibration_error'])} (T {number(row['temperature'], 2)}) "
                f"| {number(row['risk_coverage_area'], 4)} |"
            )
    for result in results:
        yield ""
        yield f"IoU per class in clear weather, {result['name']}:"
        yield ""
        yield "| " + " | ".join(result["classes"]) + " |"
        yield "|" + "---|" * len(result["classes"])
        yield "| " + " | ".join(percent(iou, 0) for iou in result["classes"].values()) + " |"
    for result in results:
        if "corruptions" in result:
            yield ""
            yield from _corruption_lines(result)


def _corruption_lines(result: dict[str, Any]) -> Iterator[str]:
    clean = result["clean_mean_iou"]
    yield (
        f"mIoU relative to clean ({100 * clean:.1f}) under the eight corruptions, level: percent, "
        f"{result['name']}:"
    )
    yield ""
    yield "| corruption | level: relative mIoU |"
    yield "|---|---|"
    rows: dict[str, list[str]] = {}
    for key, score in result["corruptions"].items():
        corruption, _, level = key.partition(":")
        rows.setdefault(corruption, []).append(f"{level}: {100 * score / clean:.0f}")
    for corruption, entries in rows.items():
        yield f"| {corruption.replace('_', ' ')} | {', '.join(entries)} |"


if __name__ == "__main__":
    sys.exit(main())
