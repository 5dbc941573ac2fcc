# SPDX-License-Identifier: Apache-2.0
"""From settings to a run: model, data, folder, loop; and from a run to a weights file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import torch
import yaml

from camseg_core.data.class_merges import find_merge
from camseg_core.data.datasets import open_dataset
from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.sample import Dataset
from camseg_core.diffusion.options import ONE_STEP_PROFILES, profiles_from_dict
from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_core.models.configs import ModelConfig
from camseg_core.models.presets import preset
from camseg_core.system.devices import find_device
from camseg_core.system.processes import ProcessRank, agreed, process_group
from camseg_core.system.validation import parse
from camseg_core.training.configuration import (
    TrainingConfig,
    apply_override,
    parse_settings,
    read_configuration,
    read_table,
)
from camseg_core.training.loop import BEST, Training, Validate
from camseg_core.training.run_folder import (
    find_run,
    make_run_folder,
    read_run_configuration,
    write_configuration,
)
from camseg_core.training.train_state import last_checkpoint, load_state, read_manifest
from camseg_core.training.validation import score_model
from camseg_core.weights.loading import LoadedModel, build_model, load_model, new_model, save_model
from camseg_core.weights.variants import (
    config_with_classes,
    config_with_input_size,
    with_input_size,
    with_label_set,
    with_mask_decoder,
)

OUTPUT_DIR = Path("output_dir")


def start_or_resume(
    file: Path | None, overrides: Sequence[str], resume: str | None, output_dir: Path | None
) -> Path | None:
    """Train a new run, or go on with an earlier one; return its folder, on the first process.

    Raises:
        CamsegError: settings, data, weights or folders are not usable.
        TrainingDiverged: a loss was no finite number.
    """
    process = ProcessRank.from_environment()
    earlier = None
    if resume is not None:
        if file is not None:
            raise CamsegError("--resume takes the run's own settings; leave --config out")
        earlier = find_run(output_dir or OUTPUT_DIR, resume)
        content = read_run_configuration(earlier)
        for override in overrides:
            apply_override(content, override)
        config = parse_settings(content)
    else:
        config = read_configuration(file, overrides)
        if output_dir is not None:
            config = replace(config, output_dir=str(output_dir))
    run = train(config, process, earlier)
    return run if process.is_first else None


def train(
    config: TrainingConfig,
    process: ProcessRank,
    run: Path | None = None,
    *,
    tells_settings: bool = True,
) -> Path:
    """Train as one of the processes of ``process``; return the run's folder.

    Args:
        config: the run's settings.
        process: this process among the others.
        run: the folder of a run, to go on after its last checkpoint; None makes one.
        tells_settings: whether all settings are printed.

    Raises:
        CamsegError: settings, data, weights or folder are not usable.
        TrainingDiverged: a loss was no finite number.
    """
    device, backend = device_and_backend(config, process)
    dataset, validate = _open_data(config, device)
    loaded = _first_model(config, dataset.label_set, run)
    with process_group(process, backend):
        run = _shared_folder(config, run, process)
        if process.is_first and tells_settings:
            print(yaml.safe_dump(config.to_dict(), sort_keys=False), end="", flush=True)
        Training(config, loaded, dataset, run, process, torch.device(device), validate).fit()
    return run


def export_run(
    output_dir: Path | None,
    name: str,
    out: Path,
    which: str = "best",
    half: bool = False,
    profiles: Path | None = None,
) -> None:
    """Write the averaged weights of a run as a weights file.

    Args:
        output_dir: where runs are; ``output_dir`` without.
        name: the run's name, its path, or ``last``.
        out: the file.
        which: ``best`` by validation score (the last one where nothing was validated) or ``last``.
        half: store matrices and kernels as float16, half the size; they are loaded as float32.
        profiles: a YAML file with how to sample, by profile name; without, what suits the stage.

    Raises:
        CamsegError: no such run, no checkpoint in it, unusable profiles, or the file cannot be
            written.
    """
    run = find_run(output_dir or OUTPUT_DIR, name)
    loaded = model_of_run(run, which)
    if profiles is not None:
        stated = profiles_from_dict(read_table(profiles), str(profiles))
        loaded = replace(loaded, stated_profiles=stated)
    if half:
        for parameter in loaded.model.parameters():
            if parameter.ndim >= 2:  # a variance of a batch norm can be beyond float16's range
                parameter.data = parameter.data.half()
    save_model(loaded, out)


def model_of_run(run: Path, which: str = "best") -> LoadedModel:
    """Load the averaged weights of a run's checkpoint; arguments as `export_run`.

    Raises:
        CamsegError: there is no checkpoint, or it is damaged.
    """
    best = last_checkpoint(run / BEST, tells=True) if which == "best" else None
    folder = best or last_checkpoint(run, tells=True)
    if folder is None:
        raise CamsegError(f"{run} has no complete checkpoint yet")
    state = load_state(folder)
    tensors = {
        key.removeprefix("model/"): tensor
        for key, tensor in state.tensors.items()
        if key.startswith("model/")
    }
    tensors.update(
        (key.removeprefix("average/"), tensor)
        for key, tensor in state.tensors.items()
        if key.startswith("average/")
    )
    config = parse(ModelConfig, state.facts["model"], f"{folder}, model")
    return LoadedModel(
        model=build_model(config, tensors, str(folder)),
        label_set=LabelSet.from_dict(state.facts["label_set"]),
        source=str(folder),
        weights_sha256=None,
        provenance=state.facts["provenance"],
        stated_profiles=ONE_STEP_PROFILES if state.facts["stage"] == "finetune" else None,
    )


def device_and_backend(config: TrainingConfig, process: ProcessRank) -> tuple[str, str]:
    """Return this process's device and the backend through which processes meet; set threads."""
    device = process.device(config.device)
    find_device(device)
    if config.threads:
        torch.set_num_threads(config.threads)
    if not device.startswith("cuda"):
        return device, "gloo"
    torch.cuda.set_device(torch.device(device).index or 0)
    return device, "nccl"


def _open_data(config: TrainingConfig, device: str) -> tuple[Dataset, Validate | None]:
    """Open what is trained on, and make the scoring of what is validated on."""
    data = config.data
    label_set = find_label_set(data.label_set) if data.label_set else None
    dataset = open_dataset(data.dataset, data.root, data.split, label_set=label_set)
    if not data.validation_split:
        return dataset, None
    held_out = open_dataset(data.dataset, data.root, data.validation_split, label_set=label_set)
    return dataset, partial(
        score_model,
        stage=config.stage,
        dataset=held_out,
        max_images=data.validation_images,
        device=device,
    )


def _first_model(config: TrainingConfig, label_set: LabelSet, run: Path | None) -> LoadedModel:
    """Return the model that the run starts from; of a resumed run, one of the same size."""
    folder = None if run is None else last_checkpoint(run)
    if folder is not None:
        facts = read_manifest(folder).facts
        model_config = parse(ModelConfig, facts["model"], f"{folder}, model")
        loaded = new_model(model_config, label_set, str(folder), config.seed)
        return replace(loaded, provenance=facts["provenance_before"])
    if config.init_from:
        loaded = load_model(config.init_from)
        size = loaded.config.input
        height, width = config.input_height or size.height, config.input_width or size.width
        if (height, width) != (size.height, size.width):
            loaded = with_input_size(loaded, height, width)
        if config.stage == "mask-decoder":
            loaded = with_mask_decoder(loaded, config.seed)
        if config.replace_classes and loaded.label_set.names != label_set.names:
            merge = find_merge(config.merge) if config.merge else None
            loaded = with_label_set(loaded, label_set, config.seed, merge)
    else:
        model_config = _model_config(config, label_set.num_classes)
        loaded = new_model(model_config, label_set, f"preset {config.preset}", config.seed)
    if loaded.label_set.names != label_set.names:
        raise CamsegError(
            f"{config.init_from} knows the {loaded.label_set.num_classes} classes of "
            f"{loaded.label_set.name!r}, the data has the {label_set.num_classes} of "
            f"{label_set.name!r}; data.label_set can map the data's ids to the weights' classes, "
            "replace_classes: true gives the mask decoder a new last layer"
        )
    return loaded


def _model_config(config: TrainingConfig, num_classes: int) -> ModelConfig:
    """Return the sizes of a new model."""
    size = preset(config.preset)
    if size.mask_decoder is not None:
        size = config_with_classes(size, num_classes)
    height, width = config.input_height or size.input.height, config.input_width or size.input.width
    size = config_with_input_size(size, height, width)
    return size


def _shared_folder(config: TrainingConfig, earlier: Path | None, process: ProcessRank) -> Path:
    """Make or take the run's folder; all processes get the same."""
    if earlier is not None:
        if process.is_first:
            write_configuration(earlier, config)
        return earlier
    made = None
    if process.is_first:
        now = datetime.now()  # the name is the user's local time
        made = make_run_folder(Path(config.output_dir), config, now)
    run = agreed(made, process)
    if run is None:
        raise CamsegError("the first process made no run folder")
    return run
