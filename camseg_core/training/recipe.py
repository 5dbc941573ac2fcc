# SPDX-License-Identifier: Apache-2.0
"""Several stages, one after another, each from the weights of an earlier one.

A recipe is a YAML file::

    common: {preset: demo, data: {root: drive}}     # settings of all stages
    stages:
      - {stage: autoencoder, steps: 2000}
      - {stage: transformer, steps: 2000}
      - {name: tuned, stage: finetune, init_from: transformer, steps: 4000}

Stage ``NAME`` (its ``name``, else its ``stage``) runs in ``<folder>/NAME`` and leaves
``<folder>/NAME.safetensors``. It starts from the weights of the stage before, or of the one that
``init_from`` names; the first stage's ``init_from`` is any weights, as ``--weights`` takes them.
What is done is not done again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camseg_core.errors import CamsegError, shown
from camseg_core.system.processes import ProcessRank, agreed, process_group
from camseg_core.training.configuration import (
    TrainingConfig,
    apply_override,
    parse_settings,
    read_table,
)
from camseg_core.training.run_folder import CONFIGURATION_FILE, read_run_configuration
from camseg_core.training.start import device_and_backend, model_of_run, train
from camseg_core.training.train_state import last_checkpoint, read_manifest
from camseg_core.weights.loading import save_model

OF_THE_MACHINE = ("device", "threads", "max_minutes", "log_every", "output_dir")
"""Settings that a stage may be continued with other values of."""


@dataclass(frozen=True)
class RecipeStage:
    """One stage of a recipe.

    Attributes:
        name: name of its run folder and of its weights file.
        init_from: name of the stage whose weights it starts from; empty for the first one.
        config: its settings; ``init_from`` in them is the first stage's alone.
    """

    name: str
    init_from: str
    config: TrainingConfig


def read_recipe(file: Path, overrides: Sequence[str]) -> tuple[RecipeStage, ...]:
    """Read a recipe; overrides fall on all stages.

    Raises:
        CamsegError: the file is unreadable, or a name or a value in it is wrong.
    """
    content = read_table(file)
    if set(content) - {"common", "stages"} or not isinstance(content.get("stages"), list):
        raise CamsegError(f"{file} holds {', '.join(content)}; common and a list stages are needed")
    common = content.get("common") or {}
    if not isinstance(common, dict):
        raise CamsegError(f"{file}, common is {shown(common)}: a table of settings is needed")
    stages: list[RecipeStage] = []
    for number, own in enumerate(content["stages"]):
        if not isinstance(own, dict):
            raise CamsegError(f"{file}, stage {number + 1}: a table of settings is needed")
        settings = _merged(common, own)
        name = str(settings.pop("name", settings.get("stage", "")))
        before = stages[-1].name if stages else ""
        known = [stage.name for stage in stages]
        init_from = str(settings.pop("init_from", before)) if known else ""
        if init_from and init_from not in known:
            raise CamsegError(
                f"{file}, stage {name}: init_from {init_from!r} is no stage before it; "
                f"there are {', '.join(known) or 'none'}"
            )
        if name in known or not name or "/" in name:
            raise CamsegError(f"{file}, stage {number + 1}: the name {name!r} is taken or unusable")
        for override in overrides:
            apply_override(settings, override)
        stages.append(RecipeStage(name, init_from, parse_settings(settings)))
    return tuple(stages)


def run_recipe(file: Path, overrides: Sequence[str], folder: Path | None) -> Path:
    """Train what a recipe says and is not done yet; return the last weights file, or the last run.

    ``max_minutes``, where it is set, holds for the whole call: the run of the stage that time ends
    is what is given then, and the same call goes on.

    Raises:
        CamsegError: no folder, wrong settings, or a stage was begun with other settings.
        TrainingDiverged: a loss was no finite number.
    """
    if folder is None:
        raise CamsegError("--recipe needs --output-dir FOLDER")
    return run_stages(read_recipe(file, overrides), folder, tells_settings=True)


def run_stages(
    stages: Sequence[RecipeStage], folder: Path, *, tells_settings: bool = False
) -> Path:
    """Train what is not done yet; see `run_recipe`. ``tells_settings`` prints each stage's."""
    process = ProcessRank.from_environment()
    _, backend = device_and_backend(stages[0].config, process)
    with process_group(process, backend):  # one for all stages
        return _run_stages(stages, folder, process, tells_settings=tells_settings)


def _run_stages(
    stages: Sequence[RecipeStage], folder: Path, process: ProcessRank, *, tells_settings: bool
) -> Path:
    started = time.monotonic()
    weights, has_trained = folder, False
    for stage in stages:
        config = stage.config
        if stage.init_from:
            config = replace(config, init_from=str(folder / f"{stage.init_from}.safetensors"))
        run, weights = folder / stage.name, folder / f"{stage.name}.safetensors"
        _check_settings(run, config)
        if weights.exists():
            continue
        if config.max_minutes:
            left = agreed(config.max_minutes - (time.monotonic() - started) / 60.0, process)
            if left <= 0.0 and has_trained:
                return run
            config = replace(config, max_minutes=max(left, 1e-6))  # each call does a step at least
        train(config, process, run, tells_settings=tells_settings)
        has_trained = True
        if not is_complete(run, config.steps):
            return run
        with process_group(process):  # the others wait for the file
            if process.is_first:
                save_model(model_of_run(run, "last"), weights)
    return weights


def is_complete(run: Path, steps: int) -> bool:
    """Return whether a run's last checkpoint is of its last step."""
    checkpoint = last_checkpoint(run)
    return checkpoint is not None and read_manifest(checkpoint).step >= steps


def _check_settings(run: Path, config: TrainingConfig) -> None:
    """Refuse to go on with other settings than a stage was begun with."""
    if not (run / CONFIGURATION_FILE).is_file():
        return
    # A run begun by an earlier release has no settings that are new since; their defaults hold.
    begun = parse_settings(read_run_configuration(run)).to_dict()
    now = config.to_dict()
    for name in now:
        if name not in OF_THE_MACHINE and begun[name] != now[name]:
            raise CamsegError(
                f"{run} was begun with {name} {begun[name]!r}, now it is {now[name]!r}; "
                "give another folder, or the settings it was begun with"
            )


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Put a stage's settings over those of all stages, table by table."""
    merged = deepcopy(common)
    for name, value in own.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = _merged(merged[name], value)
        else:
            merged[name] = deepcopy(value)
    return merged
