# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning on one's own data, from a few words: the settings of the stages are chosen here.

Weights of the same classes are fine-tuned. Of other classes, the layers that touch classes start
from those of the classes that they come from, and learn the data's masks first (stage ``classes``).
The cost of a step is bounded by crops and, where the machine computes in it, bfloat16.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camseg_core.data.datasets import open_dataset
from camseg_core.data.known_layouts import LAYOUTS
from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.layout import find_home
from camseg_core.data.sample import Dataset
from camseg_core.errors import CamsegError, message_of, suggest
from camseg_core.models.configs import ModelConfig
from camseg_core.system.devices import computes_bfloat16
from camseg_core.training.configuration import TrainingConfig, apply_override, parse_settings
from camseg_core.training.recipe import RecipeStage, run_stages
from camseg_core.training.run_folder import LOG_FILE
from camseg_core.weights.loading import load_model

WEIGHTS_STAGE, CLASSES_STAGE = "weights", "classes"
"""Names of the stages: of their run folders and of the weights files that they leave."""

CLASSES_SHARE = 0.25
"""Steps of the stage ``classes`` as a share of the others; one costs a fraction of the others'."""

BATCH_SIZE = 8
VALIDATION_IMAGES = 40


@dataclass(frozen=True)
class OwnData:
    """What is to be trained on what.

    Attributes:
        root, dataset: the data, as `open_dataset` takes it.
        split: the images to train on; empty for ``train`` where there is such a split, else all.
        label_set: name or YAML file; the data set's own if empty.
        weights: the weights to start from.
        merge: name or YAML file of a merge: which classes of the weights those of the data come
            from; classes of equal names if empty.
        steps: optimizer steps.
        size: width and height of the model's input in pixels; of the images' shape if None.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads of torch on the CPU; 0 leaves torch's choice.
        settings: ``name=value`` for everything else, see `TrainingConfig`; they win.
    """

    root: Path
    dataset: str = "folder"
    split: str = ""
    label_set: str = ""
    weights: str = "demo"
    merge: str = ""
    steps: int = 200
    size: tuple[int, int] | None = None
    device: str = "cpu"
    threads: int = 0
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingPlan:
    """What will be done: the stages, and what to tell the user about them, a line each."""

    stages: tuple[RecipeStage, ...]
    notes: tuple[str, ...]


def finetune(own: OwnData, out: Path) -> Iterator[str]:
    """Train into the folder ``out``, and yield lines: the choices first, at the end the results.

    The same call goes on where it was stopped. The result is ``weights.safetensors``.

    Raises:
        CamsegError: data, weights or settings are not usable, or the folder holds another training.
        TrainingDiverged: a loss was no finite number.
    """
    plan = plan_training(own)
    yield from plan.notes
    weights = run_stages(plan.stages, out)
    if weights.suffix != ".safetensors":
        yield f"stopped in time; the same command goes on ({weights})"
        return
    score = _validation_score(out / WEIGHTS_STAGE)
    if score is not None:
        data = plan.stages[-1].config.data
        most = f"{data.validation_images} images at most"
        yield f"mIoU {100 * score:.1f} on {message_of(data.validation_split)}, {most}"
    yield str(weights)


def plan_training(own: OwnData) -> TrainingPlan:
    """Choose the settings.

    Raises:
        CamsegError: data, weights or settings are not usable.
    """
    label_set = find_label_set(own.label_set) if own.label_set else None
    splits = _splits(own)
    split = own.split or ("train" if "train" in splits else "all")
    dataset = open_dataset(own.dataset, own.root, split, label_set=label_set)
    validation = "val" if "val" in splits and split != "val" else ""
    loaded = load_model(own.weights)
    is_new = loaded.label_set.names != dataset.label_set.names
    width, height = own.size or _fitting_size(loaded.config, dataset)
    common = _settings(own, (width, height), split, validation)
    stages = []
    if is_new:
        stages.append(_stage(own, CLASSES_STAGE, "", common | _classes_settings(own)))
    before = CLASSES_STAGE if is_new else ""
    stages.append(_stage(own, WEIGHTS_STAGE, before, common | {"stage": "finetune"}))
    notes = _notes(own, stages[-1].config, dataset)
    if is_new:
        notes.append(
            f"the classes are not those of {message_of(own.weights)}: their layers are new, and "
            "learn from the masks first"
        )
    return TrainingPlan(tuple(stages), tuple(notes))


def _notes(own: OwnData, config: TrainingConfig, dataset: Dataset) -> list[str]:
    """Say what was chosen."""
    data, label_set = config.data, dataset.label_set
    crop = data.augmentation.crop_size
    what = f"crops of {crop[1]}x{crop[0]}" if crop else "images"
    slow = " (this machine has no arithmetic for bfloat16)"
    notes = [
        message_of(
            f"{len(dataset)} images of {data.split}, {label_set.num_classes} classes of "
            f"{label_set.name}; model input {config.input_width}x{config.input_height}"
        ),
        f"{config.steps} steps of {config.batch_size} {what}, {config.precision}"
        + ("" if computes_bfloat16(own.device) else slow),
    ]
    if not data.validation_split:
        notes.append("no split val to score on: put some images and labels into folders val")
    return notes


def _splits(own: OwnData) -> tuple[str, ...]:
    if own.dataset not in LAYOUTS:
        raise CamsegError(f"--dataset {own.dataset!r}: {suggest(own.dataset, tuple(LAYOUTS))}")
    layout = LAYOUTS[own.dataset]
    return layout.splits(find_home(layout, own.root))


def _fitting_size(config: ModelConfig, dataset: Dataset) -> tuple[int, int]:
    """Return an input of the images' shape with as many pixels as the weights', at most theirs."""
    policy, stride = config.input, config.stride
    if policy.resize == "squash":
        return policy.width, policy.height
    height, width = dataset.read(0).image.shape[:2]
    scale = min(1.0, (policy.height * policy.width / (height * width)) ** 0.5)
    sides = (max(stride, round(scale * side / stride) * stride) for side in (width, height))
    return next(sides), next(sides)


def _settings(own: OwnData, size: tuple[int, int], split: str, validation: str) -> dict[str, Any]:
    """Return the settings that the stages share."""
    width, height = size
    is_cpu = own.device == "cpu"
    crop = [_half(height), _half(width)] if is_cpu else None
    return {
        "init_from": own.weights,
        "input_height": height,
        "input_width": width,
        "steps": own.steps,
        "batch_size": BATCH_SIZE,
        "precision": "bfloat16" if computes_bfloat16(own.device) else "float32",
        "synchronize_batch_norm": False,
        "log_every": 10,
        "save_every": 50,
        "device": own.device,
        "threads": own.threads,
        "data": {
            "dataset": own.dataset,
            "root": str(own.root),
            "split": split,
            "validation_split": validation,
            "validation_images": VALIDATION_IMAGES,
            "label_set": own.label_set,
            "workers": max(1, min(8, len(os.sched_getaffinity(0)) // 2)),
            "augmentation": {
                "crop_size": crop,
                # A crop of half the size shows most of an image of half the size.
                "scale_range": [0.45, 1.0] if is_cpu else [0.75, 1.5],
                "rotation_range_degrees": [-3.0, 3.0],
                "noise_sigma_range": [0.0, 6.0],
                "hue_range": [-0.05, 0.05],
            },
        },
        "loss": {
            "jaccard_weight": 1.0,
            "latent_sd_ratio_least": 0.7,
            "diffusion_batch_mul": 1,
            "pixel_stride": 2,
        },
        "optimizer": {
            "learning_rate": 5e-4,
            "warmup_steps": own.steps // 10,
            "decay": "cosine",
            "ema_decay": 0.98,
            "weight_decay": 0.05,
        },
    }


def _classes_settings(own: OwnData) -> dict[str, Any]:
    """Return what the stage ``classes`` has instead: it sees masks alone."""
    steps = max(1, round(CLASSES_SHARE * own.steps))
    return {
        "stage": "autoencoder",
        "replace_classes": True,
        "merge": own.merge,
        "steps": steps,
        "loss": {"kl_weight": 3e-7, "latent_noise": 0.8},
        "optimizer": {
            "learning_rate": 1e-3,
            "warmup_steps": steps // 10,
            "decay": "cosine",
            "ema_decay": 0.98,
        },
    }


def _stage(own: OwnData, name: str, init_from: str, settings: dict[str, Any]) -> RecipeStage:
    content = json.loads(json.dumps(settings))  # overrides fall on this stage's tables alone
    for override in own.settings:
        apply_override(content, override)
    return RecipeStage(name, init_from, parse_settings(content))


def _half(side: int) -> int:
    """Return half of a side, a multiple of 16 of at least 32 pixels."""
    return max(32, round(side / 32) * 16)


def _validation_score(run: Path) -> float | None:
    """Return the last validation score of a run; None where nothing was validated."""
    lines = [json.loads(line) for line in (run / LOG_FILE).read_text("utf-8").splitlines()]
    scores = [line["score"] for line in lines if line["kind"] == "validation"]
    return scores[-1] if scores else None
