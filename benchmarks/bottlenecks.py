# SPDX-License-Identifier: Apache-2.0
"""KL or VQ bottleneck: the same autoencoder, data, seed and budget, trained twice and scored.

Usage: python benchmarks/bottlenecks.py drive --steps 2000 --transformer-steps 2000 --out kl-vq

``drive`` is a folder that ``camseg synth`` wrote, with a training and a validation split. The runs,
``bottlenecks.json`` and ``bottlenecks.md`` are written to --out; the same command goes on where an
earlier one was stopped, and trains nothing twice.

Scored by the official protocol on held-out frames: the masks that each autoencoder reconstructs,
and, with --transformer-steps, the masks that a transformer trained on its latents predicts, both
read off the decoded colours (palette decoding).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from camseg_core.data.datasets import open_dataset
from camseg_core.data.sample import Dataset
from camseg_core.errors import CamsegError, exit_status
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.models.quantizer import perplexity
from camseg_core.system.devices import describe_machine
from camseg_core.system.files import write_bytes
from camseg_core.training.configuration import StageName
from camseg_core.training.recipe import run_recipe
from camseg_core.training.validation import count_codes, count_confusions
from camseg_core.weights.loading import LoadedModel, load_model

SECONDS_FILE = "seconds.json"


def training_stages(parsed: argparse.Namespace) -> list[dict[str, Any]]:
    """Return each preset's stages in the order in which they are trained, as a recipe has them."""
    kinds: list[tuple[StageName, int, list[int] | None]] = [
        ("autoencoder", parsed.steps, parsed.crop)
    ]
    if parsed.transformer_steps:
        kinds.append(("transformer", parsed.transformer_steps, parsed.transformer_crop))
    return [
        {
            "name": f"{preset}-{stage}",
            "stage": stage,
            "preset": preset,
            "init_from": "" if stage == "autoencoder" else f"{preset}-autoencoder",
            "steps": steps,
            "data": {"augmentation": {"crop_size": crop}},
        }
        for preset in parsed.presets
        for stage, steps, crop in kinds
    ]


def common_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that all runs share."""
    return {
        "seed": parsed.seed,
        "batch_size": parsed.batch_size,
        "threads": parsed.threads,
        "device": parsed.device,
        "data": {"dataset": "cityscapes", "root": str(parsed.data), "validation_split": ""},
        "optimizer": {
            "learning_rate": parsed.learning_rate,
            "warmup_steps": 100,
            "decay": "cosine",
            "ema_decay": 0.998,
        },
    }


def train(parsed: argparse.Namespace) -> dict[str, float]:
    """Train what is not trained yet; gives seconds by run, of all calls that ended in order."""
    seconds_file = parsed.out / SECONDS_FILE
    seconds: dict[str, float] = (
        json.loads(seconds_file.read_text(encoding="utf-8")) if seconds_file.exists() else {}
    )
    stages, common = training_stages(parsed), common_settings(parsed)
    recipe = parsed.out / "recipe.yaml"
    for count, stage in enumerate(stages, start=1):  # one more each time, to take its time
        content = {"common": common, "stages": stages[:count]}
        write_bytes(recipe, yaml.safe_dump(content, sort_keys=False).encode())
        name, weights = stage["name"], parsed.out / f"{stage['name']}.safetensors"
        done = weights.exists()
        started = time.perf_counter()
        run_recipe(recipe, parsed.set, parsed.out)
        if not done:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
            write_bytes(seconds_file, json.dumps(seconds, indent=1).encode() + b"\n")
        if not weights.exists():
            raise CamsegError(f"max_minutes ended run {name}; the same command goes on")
    return seconds


def scores(loaded: LoadedModel, stage: StageName, dataset: Dataset, most: int, device: str) -> Any:
    """Score on held-out frames by the official protocol, as plain data."""
    return official_scores(count_confusions(loaded, stage, dataset, most, device)).to_dict()


def measure(parsed: argparse.Namespace, seconds: dict[str, float]) -> list[dict[str, Any]]:
    """Score each preset's runs on held-out frames."""
    dataset = open_dataset("cityscapes", parsed.data, "val")
    results = []
    for name in parsed.presets:
        loaded = load_model(parsed.out / f"{name}-autoencoder.safetensors")
        autoencoder = loaded.model.autoencoder
        result: dict[str, Any] = {
            "preset": name,
            "bottleneck": loaded.config.autoencoder.bottleneck,
            "parameters": sum(tensor.numel() for tensor in autoencoder.parameters()),
            "latent_scale": loaded.config.autoencoder.latent_scale,
            "reconstruction": scores(loaded, "autoencoder", dataset, parsed.images, parsed.device),
            "training_seconds": {
                stage["name"]: seconds.get(stage["name"], 0.0)
                for stage in training_stages(parsed)
                if stage["preset"] == name
            },
        }
        if autoencoder.quantizer is not None:
            counts = count_codes(loaded, dataset, parsed.images, parsed.device)
            result["codebook"] = {
                "size": len(counts),
                "used": int((counts > 0).sum()),
                "perplexity": float(perplexity(counts)),
            }
        if parsed.transformer_steps:
            segmenting = load_model(parsed.out / f"{name}-transformer.safetensors")
            result["prediction"] = scores(
                segmenting, "transformer", dataset, parsed.images, parsed.device
            )
        results.append(result)
    return results


def as_markdown(results: Sequence[dict[str, Any]], names: Sequence[str], facts: str) -> str:
    """Lay results out as two tables: the means, then the classes' IoU."""
    kinds = [kind for kind in ("reconstruction", "prediction") if kind in results[0]]
    columns = [f"{result['bottleneck']}, {kind}" for kind in kinds for result in results]
    scored = [result[kind] for kind in kinds for result in results]
    rows = [
        "| bottleneck | parameters | codes used | perplexity | "
        + " | ".join(f"{kind}: mean IoU | pixel accuracy" for kind in kinds)
        + " | training s |",
        "|---" * (5 + 2 * len(kinds)) + "|",
    ]
    for result in results:
        book = result.get("codebook")
        cells = [result["bottleneck"], f"{result['parameters'] / 1e6:.2f} M"]
        cells += [f"{book['used']} of {book['size']}" if book else "-"]
        cells += [f"{book['perplexity']:.0f}" if book else "-"]
        for kind in kinds:
            cells += [percent(result[kind]["mean_iou"]), percent(result[kind]["pixel_accuracy"])]
        cells += [f"{sum(result['training_seconds'].values()):.0f}"]
        rows.append("| " + " | ".join(cells) + " |")
    rows += ["", "IoU per class:", "", "| class | " + " | ".join(columns) + " |"]
    rows.append("|---" * (1 + len(columns)) + "|")
    for index, name in enumerate(names):
        cells = [percent(score["iou"][index]) for score in scored]
        rows.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join([facts, "", *rows, ""])


def percent(value: float | None) -> str:
    """Write a share in percent; ``-`` where it is undefined."""
    return "-" if value is None else f"{100 * value:.1f}"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Compare a KL and a VQ bottleneck at the same size and budget.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    size = {"type": int, "nargs": 2, "metavar": ("HEIGHT", "WIDTH")}
    parser.add_argument("data", type=Path, help="a folder that camseg synth wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--presets", nargs="+", default=["demo", "demo-vq"])
    parser.add_argument("--steps", type=int, default=2000, help="of each autoencoder")
    parser.add_argument("--crop", **size, default=[96, 192], help="of the autoencoder's images")
    parser.add_argument(
        "--transformer-steps", type=int, default=0, help="of each transformer; 0 trains none"
    )
    parser.add_argument(
        "--transformer-crop", **size, help="of its images; the model's input size without"
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves its choice")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=50, help="held-out frames, spread evenly")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE",
        help="settings of all runs, e.g. precision=bfloat16 (docs/training.md)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, score, write the results and print the tables."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = parse(given)
    return exit_status("bottlenecks", lambda: run(parsed, given))


def run(parsed: argparse.Namespace, given: Sequence[str]) -> int:
    """Do what the command line ``given`` says."""
    seconds = train(parsed)
    results = measure(parsed, seconds)
    names = open_dataset("cityscapes", parsed.data, "val").label_set.names
    command = f"python benchmarks/bottlenecks.py {shlex.join(given)}"
    content = {
        "command": command,
        "machine": describe_machine(),
        "settings": {"common": common_settings(parsed), "stages": training_stages(parsed)},
        "overrides": parsed.set,
        "seconds": seconds,
        "classes": list(names),
        "results": results,
    }
    text = as_markdown(results, names, f"`{command}`, {describe_machine()}; percent.")
    write_bytes(parsed.out / "bottlenecks.json", json.dumps(content, indent=1).encode() + b"\n")
    write_bytes(parsed.out / "bottlenecks.md", text.encode())
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
