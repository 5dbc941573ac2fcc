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
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from camseg_core.data.datasets import open_dataset
from camseg_core.diffusion.options import find_profile
from camseg_core.errors import BAD_INPUT, CamsegError
from camseg_core.evaluation.corruptions import select_corruptions
from camseg_core.evaluation.evaluate import Plan, evaluate
from camseg_core.evaluation.metrics.official import OfficialScores
from camseg_core.evaluation.summary import Scores, Summary, summarize
from camseg_core.segmenter import Segmenter
from camseg_core.system.devices import describe_machine
from camseg_core.system.files import write_bytes
from camseg_core.weights.loading import load_model


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", nargs="+", required=True, metavar="[NAME=]WEIGHTS")
    parser.add_argument("--clear", type=Path, required=True, help="cityscapes layout, split val")
    parser.add_argument("--adverse", type=Path, help="acdc layout, split val")
    parser.add_argument("--corruption-images", type=int, default=40, help="of --clear; 0 for none")
    parser.add_argument("--profile", default="balanced")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    try:
        results = [score(entry, parsed) for entry in parsed.weights]
        content = {
            "command": shlex.join(["python", *sys.argv]),
            "machine": describe_machine(),
            "threads": parsed.threads,
            "weights": results,
        }
        write_bytes(parsed.out / "scores.json", json.dumps(content, indent=1).encode() + b"\n")
        text = "\n".join(markdown(content)) + "\n"
        write_bytes(parsed.out / "scores.md", text.encode())
    except CamsegError as error:
        print(f"score_weights: {error}", file=sys.stderr)
        return BAD_INPUT
    print(text, end="")
    return 0


def score(entry: str, parsed: argparse.Namespace) -> dict[str, Any]:
    """Evaluate one weights file on all that was given."""
    name, _, weights = entry.rpartition("=")
    loaded = load_model(weights)
    segmenter = Segmenter(loaded)
    options = find_profile(loaded.profiles, parsed.profile)
    clear = open_dataset("cityscapes", parsed.clear, "val")
    plan = Plan(clear, steps=(options.steps,), sampling=options)
    out = parsed.out / (name or weights)

    def run(plan: Plan, folder: str) -> Summary:
        return summarize(evaluate(segmenter, plan, out / folder))

    summary = run(plan, "clear")
    scores = require(summary.scores(part="", steps=options.steps))
    result: dict[str, Any] = {
        "name": name or weights,
        "sha256": loaded.weights_sha256,
        "options": str(options),
        "conditions": {"clear": figures(scores)},
        "classes": dict(zip(summary.run.classes.names, official(scores).iou, strict=True)),
    }
    if parsed.adverse is not None:
        adverse = open_dataset("acdc", parsed.adverse, "val")
        summary = run(replace(plan, dataset=adverse), "adverse")
        for condition in summary.conditions("adverse"):
            adverse_scores = summary.scores(
                part="adverse", steps=options.steps, condition=condition
            )
            result["conditions"][condition] = figures(require(adverse_scores))
    if parsed.corruption_images:
        corrupted = replace(
            plan, corruptions=select_corruptions("all"), max_images=parsed.corruption_images
        )
        summary = run(corrupted, "corruptions")
        clean = require(summary.scores(part="", steps=options.steps)).headline
        result["clean_mean_iou"] = clean
        result["corruptions"] = {
            f"{corruption}:{level:g}": require(
                summary.scores(part="", steps=options.steps, corruption=corruption, level=level)
            ).headline
            for corruption, level in summary.corruptions()
        }
    return result


def require(scores: Scores | None) -> Scores:
    """Refuse a group without records."""
    if scores is None:
        raise CamsegError("no record of a group that was evaluated; remove --out and start again")
    return scores


def official(scores: Scores) -> OfficialScores:
    """Return the scores of the official protocol, the one that is evaluated here."""
    if not isinstance(scores.accuracy, OfficialScores):
        raise CamsegError("the official protocol is needed")
    return scores.accuracy


def figures(scores: Scores) -> dict[str, float]:
    """Return the figures of a condition."""
    accuracy, scaled = official(scores), scores.scaled
    return {
        "images": scores.images,
        "mean_iou": accuracy.mean_iou,
        "pixel_accuracy": accuracy.pixel_accuracy,
        "ece": scores.calibration.reliability.expected_calibration_error,
        "ece_after_temperature": float("nan")
        if scaled is None
        else scaled.reliability.expected_calibration_error,
        "temperature": float("nan") if scores.temperature is None else scores.temperature,
        "aurc": scores.risk_coverage.area,
        "milliseconds": 1000.0 * scores.seconds_per_image,
    }


def markdown(content: dict[str, Any]) -> Iterator[str]:
    """Return the tables."""
    yield f"`{content['command']}`; {content['machine']}, {content['threads']} threads."
    yield ""
    yield "| weights | condition | images | mIoU | pixel accuracy | ECE | ECE, temperature | AURC |"
    yield "|---|---|---|---|---|---|---|---|"
    for result in content["weights"]:
        for condition, row in result["conditions"].items():
            yield (
                f"| {result['name']} | {condition} | {row['images']} | {100 * row['mean_iou']:.1f} "
                f"| {100 * row['pixel_accuracy']:.1f} | {row['ece']:.3f} "
                f"| {row['ece_after_temperature']:.3f} (T {row['temperature']:.2f}) "
                f"| {row['aurc']:.4f} |"
            )
    for result in content["weights"]:
        yield ""
        yield f"IoU per class in clear weather, {result['name']}:"
        yield ""
        yield "| " + " | ".join(result["classes"]) + " |"
        yield "|" + "---|" * len(result["classes"])
        yield "| " + " | ".join(f"{100 * iou:.0f}" for iou in result["classes"].values()) + " |"
    for result in content["weights"]:
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
