# SPDX-License-Identifier: Apache-2.0
"""Describe weights files, folders and presets."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from camseg_core.errors import CamsegError
from camseg_core.models.presets import PRESETS
from camseg_core.system.files import sha256_of_file
from camseg_core.weights.camseg_format import bundled_hashes, bundled_path
from camseg_core.weights.loading import LoadedModel, load_model, published_pair, random_model
from camseg_core.weights.published_format import (
    infer_autoencoder,
    infer_transformer,
    published_name,
    read_autoencoder,
    read_transformer,
)
from camseg_core.weights.unpickling import is_torch_file, load_without_code


def describe_weights(source: str) -> Iterator[str]:
    """Describe a file, a folder or a preset, line by line.

    Raises:
        CamsegError: there is none, or it cannot be read.
    """
    path = bundled_path(source) if source in bundled_hashes() else Path(source)
    if source in PRESETS and source not in bundled_hashes():
        yield f"{source}: a preset"
        yield from _config_lines(PRESETS[source].to_dict())
    elif os.path.isdir(path):
        yield from _folder_lines(path)
    elif os.path.exists(path):  # pathlib's raises where a name is too long
        yield f"{path}: {path.stat().st_size / 1e6:.1f} MB, sha256 {sha256_of_file(path)}"
        yield from _torch_lines(path) if is_torch_file(path) else _model_lines(load_model(path))
    else:
        raise CamsegError(
            f"no such file, folder or preset: {source}; the presets are {', '.join(PRESETS)}"
        )


def published_keys(source: str) -> Iterator[str]:
    """List a model's tensors by their published names: ``part <tab> key <tab> shape``, with a head.

    Raises:
        CamsegError: there is no such model.
    """
    loaded = random_model(source) if source in PRESETS else load_model(source)
    yield "part\tkey\tshape"
    for key, tensor in loaded.model.state_dict().items():
        yield "\t".join([*published_name(key), "x".join(map(str, tensor.shape))])


def _folder_lines(folder: Path) -> Iterator[str]:
    try:
        loaded = load_model(folder)
    except CamsegError:  # no tensor tells the number of heads: each file is described by itself
        pair = published_pair(folder)
        if pair is None:
            raise
        for file in pair:
            yield from describe_weights(str(file))
        return
    yield f"{loaded.source}: a whole model"
    yield f"weights sha256: {loaded.weights_sha256}"
    yield from _config_lines(loaded.config.to_dict())


def _model_lines(loaded: LoadedModel) -> Iterator[str]:
    """Describe what is in any file that holds a whole model."""
    yield loaded.kind
    tensors = loaded.model.state_dict().values()
    parameters = sum(tensor.numel() for tensor in tensors)
    yield f"{len(tensors)} tensors, {parameters / 1e6:.1f} M parameters"
    if loaded.is_random:
        yield "the weights are RANDOM: nothing was trained"
    yield f"label set: {loaded.label_set.name}, {loaded.label_set.num_classes} classes"
    for name, options in (loaded.stated_profiles or {}).items():
        yield f"profile {name}: {_fields(asdict(options))}"
    if loaded.known_answer is not None:
        yield f"known answer: of {loaded.known_answer.width} x {loaded.known_answer.height} pixels"
    yield f"provenance: {json.dumps(loaded.provenance)}"
    yield from _config_lines(loaded.config.to_dict())


def _torch_lines(path: Path) -> Iterator[str]:
    content = load_without_code(path)
    if not isinstance(content, dict):
        raise CamsegError(f"{path} holds a {type(content).__name__}, not a table of tensors")
    for key, value in content.items():
        yield f"  {key}: {_summary(value)}"
    if "model" in content:
        transformer = read_transformer(path)
        yield "a published CAM-Seg transformer with its denoiser (no tensor tells num_heads)"
        sizes = asdict(infer_transformer(transformer, num_heads=1))
        del sizes["num_heads"]
        yield f"  {_fields(sizes)}"
    elif "state_dict" in content:
        yield "a published CAM-Seg autoencoder (tensors under loss. are left out)"
        yield f"  {_fields(asdict(infer_autoencoder(read_autoencoder(path))))}"
    else:
        yield "no CAM-Seg file: it has neither 'model' nor 'state_dict'"


def _config_lines(config: Mapping[str, Any]) -> Iterator[str]:
    yield "configuration:"
    for section, content in config.items():
        yield f"  {section}: {_fields(content) if isinstance(content, Mapping) else content}"


def _fields(content: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in content.items())


def _summary(value: Any) -> str:
    if isinstance(value, Mapping):
        tensors = [entry for entry in value.values() if isinstance(entry, Tensor)]
        if tensors:
            return f"{len(tensors)} tensors, {sum(map(Tensor.numel, tensors)) / 1e6:.3f} M numbers"
        return f"a table of {len(value)}"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Namespace):
        return str(vars(value))
    return repr(value) if isinstance(value, (int, float, str, bool)) else type(value).__name__
