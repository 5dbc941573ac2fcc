# SPDX-License-Identifier: Apache-2.0
"""Build and load models: our safetensors files, the published pair, random weights.

Our own format is described in `camseg_core.weights.camseg_format`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from camseg_core.diffusion.options import Profiles, default_profiles
from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES, LabelSet
from camseg_core.models.autoencoder import Autoencoder
from camseg_core.models.camseg import CamSeg
from camseg_core.models.configs import ModelConfig
from camseg_core.models.denoiser import Denoiser
from camseg_core.models.fine_condition import FineCondition
from camseg_core.models.image_encoder import ImageEncoder
from camseg_core.models.mask_autoencoder import MaskAutoencoder
from camseg_core.models.mask_decoder import MaskDecoder
from camseg_core.models.part_configs import MaskAutoencoderConfig
from camseg_core.models.presets import preset
from camseg_core.models.transformer import MaskedTransformer
from camseg_core.system.files import atomic_path, sha256_of_file
from camseg_core.weights.camseg_format import (
    FORMAT_VERSION,
    Description,
    bundled_hashes,
    bundled_path,
    read_safetensors,
)
from camseg_core.weights.known_answer import KnownAnswer, known_answer
from camseg_core.weights.published_format import (
    PUBLISHED_FILES,
    Variant,
    infer_config,
    read_autoencoder,
    read_num_heads,
    read_transformer,
)
from camseg_core.weights.unpickling import is_torch_file

RANDOM_PREFIX = "random:"

PUBLISHED_PAIRS = (PUBLISHED_FILES, ("transformer.pth", "vae.ckpt"))
"""Paths at which a folder may hold the two published files."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run, with what its file says about it.

    Attributes:
        model: Networks in evaluation mode, on the CPU, in float32.
        label_set: Classes of the model, with the palette its latent space was trained on.
        source: Name of what was loaded, for messages.
        weights_sha256: Hash of the file, or of both hashes of a published pair joined; None for
            random weights.
        provenance: Facts that travel in the file's metadata (sources and their hashes, variant).
        is_random: True if nothing was trained.
        stated_profiles: Sampling options by profile name, as the file states them; None where it
            states none.
        kind: What `camseg inspect` calls the file.
        known_answer: What the file says that its networks compute; None where it does not.
    """

    model: CamSeg
    label_set: LabelSet
    source: str
    weights_sha256: str | None
    provenance: dict[str, Any] = field(default_factory=dict)
    is_random: bool = False
    stated_profiles: Profiles | None = None
    kind: str = ""
    known_answer: KnownAnswer | None = None

    @property
    def profiles(self) -> Profiles:
        """Sampling options by profile name: those of the file, or the defaults of its kind."""
        return self.stated_profiles or default_profiles(self.config.diffusion.prediction)

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.model.config


def load_model(
    weights: str | Path, *, num_heads: int | None = None, variant: Variant = "model"
) -> LoadedModel:
    """Load a model from any source that ``--weights`` takes.

    Args:
        weights: A safetensors file of ours; a folder with one, or with the two published files;
            a published transformer file with its autoencoder beside it; the name of bundled
            weights; or ``random:PRESET`` for seeded random weights.
        num_heads: Number of attention heads in a published file of an unpublished size.
        variant: Table of a published transformer file to read.

    Raises:
        CamsegError: nothing there, unreadable, or the tensors do not fit; the text lists the
            differences.
    """
    name = str(weights)
    if name.startswith(RANDOM_PREFIX):
        _refuse_published_options(name, num_heads, variant)
        return random_model(name.removeprefix(RANDOM_PREFIX))
    bundled = bundled_hashes()
    path = bundled_path(name) if name in bundled else Path(weights)
    if not os.path.exists(path):  # pathlib's raises where a name is too long
        raise CamsegError(
            f"no such weights: {path}; give a .safetensors file, a folder, "
            f"{', '.join([*bundled, f'or {RANDOM_PREFIX}PRESET'])} "
            "(camseg fetch-weights downloads the published ones)"
        )
    if os.path.isdir(path):
        pair = published_pair(path)
        path = path if pair else _only_file(path)
    else:
        pair = (path, _autoencoder_beside(path, variant)) if is_torch_file(path) else None
    if pair:
        return load_published(*pair, num_heads=num_heads, variant=variant)
    _refuse_published_options(str(path), num_heads, variant)
    description, tensors = read_safetensors(path)
    return LoadedModel(
        model=build_model(description.config, tensors, str(path)),
        label_set=description.label_set,
        source=str(path),
        weights_sha256=sha256_of_file(path),
        provenance=description.provenance,
        is_random=description.is_random,
        stated_profiles=description.profiles,
        kind=f"a camseg model, format version {FORMAT_VERSION}",
        known_answer=description.known_answer,
    )


def load_published(
    transformer_path: Path,
    autoencoder_path: Path,
    *,
    num_heads: int | None = None,
    variant: Variant = "model",
) -> LoadedModel:
    """Load the two published files; sizes are read off their tensors.

    The number of attention heads is in no tensor: it is ``num_heads``, or what a ``config.json``
    beside the transformer file states (``transformer.num_heads``), or the published width's.

    Raises:
        CamsegError: unreadable, of another model, or with tensors that do not fit.
    """
    source = f"{transformer_path} + {autoencoder_path}"
    tensors = read_transformer(transformer_path, variant) | read_autoencoder(autoencoder_path)
    beside = transformer_path.parent / "config.json"
    if num_heads is None and beside.is_file():
        num_heads = read_num_heads(beside)
    config = infer_config(tensors, name=transformer_path.stem, num_heads=num_heads)
    hashes = {path.name: sha256_of_file(path) for path in (transformer_path, autoencoder_path)}
    return LoadedModel(
        model=build_model(config, tensors, source),
        label_set=CITYSCAPES,
        source=source,
        weights_sha256=hashlib.sha256("".join(hashes.values()).encode()).hexdigest(),
        provenance={"source_sha256": hashes, "variant": variant},
    )


def random_model(size: str | ModelConfig, seed: int = 0) -> LoadedModel:
    """Build a preset, or any size, with random weights that depend on ``seed`` alone.

    For tests and timing.

    Raises:
        CamsegError: there is no such preset.
    """
    config = preset(size) if isinstance(size, str) else size
    return new_model(config, CITYSCAPES, f"{RANDOM_PREFIX}{config.name}", seed)


def new_model(config: ModelConfig, label_set: LabelSet, source: str, seed: int = 0) -> LoadedModel:
    """Build an untrained model of any size; its random weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _assemble(config).eval()
    return LoadedModel(
        model=model,
        label_set=label_set,
        source=source,
        weights_sha256=None,
        provenance={"random_seed": seed},
        is_random=True,
    )


def build_model(config: ModelConfig, tensors: Mapping[str, Tensor], source: str) -> CamSeg:
    """Build a model of ``config`` around ``tensors``, which it keeps, in evaluation mode.

    Raises:
        CamsegError: names or shapes differ; the text lists missing, unexpected and wrong ones.
    """
    with torch.device("meta"):
        model = _assemble(config)
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if expected != found:
        raise CamsegError(f"{source} does not fit the model: {_difference(expected, found)}")
    floats = {key for key, tensor in model.state_dict().items() if tensor.is_floating_point()}
    for key, tensor in tensors.items():
        if tensor.is_complex() or tensor.is_floating_point() != (key in floats):
            kind = str(tensor.dtype).removeprefix("torch.")
            wanted = "floating-point" if key in floats else "whole"
            raise CamsegError(f"{source} does not fit the model: {key} is {kind}, not {wanted}")
    as_float = {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
    }
    model.load_state_dict(as_float, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _difference(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], most: int = 5
) -> str:
    """Describe how ``found`` names and shapes differ from the ``expected``."""
    groups = {
        "missing": [f"{key} {_shape(expected[key])}" for key in expected if key not in found],
        "unexpected": [f"{key} {_shape(found[key])}" for key in found if key not in expected],
        "wrong shape": [
            f"{key} is {_shape(found[key])}, the model has {_shape(expected[key])}"
            for key in expected
            if key in found and expected[key] != found[key]
        ],
    }
    texts = []
    for title, entries in groups.items():
        more = f", and {len(entries) - most} more" if len(entries) > most else ""
        if entries:
            texts.append(f"{title} ({len(entries)}): {', '.join(entries[:most])}{more}")
    return "; ".join(texts)


def save_model(loaded: LoadedModel, path: Path, answer_size: tuple[int, int] | None = None) -> None:
    """Write one safetensors file with everything that is needed to load it again.

    Trained weights are asked for the known answer that they then carry.

    Args:
        loaded: the model.
        path: the file.
        answer_size: height and width in pixels of the known answer's input; a small one without.

    Raises:
        CamsegError: the file cannot be written.
    """
    facts = loaded.label_set, loaded.provenance, loaded.is_random, loaded.stated_profiles
    answer = None if loaded.is_random else known_answer(loaded.model, answer_size)
    description = Description(loaded.config, *facts, known_answer=answer)
    tensors = {key: tensor.contiguous() for key, tensor in loaded.model.state_dict().items()}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=description.to_metadata())
        except SafetensorError as error:
            raise CamsegError(f"cannot write {path}: {error}") from error


def published_pair(folder: Path) -> tuple[Path, Path] | None:
    """Find the two published files in ``folder``: transformer and autoencoder."""
    for transformer_name, autoencoder_name in PUBLISHED_PAIRS:
        pair = (folder / transformer_name, folder / autoencoder_name)
        if all(path.is_file() for path in pair):
            return pair
    return None


def _only_file(folder: Path) -> Path:
    """Return the one file of ours in a folder."""
    # Hidden ones are what a killed process left.
    ours = sorted(path for path in folder.glob("*.safetensors") if path.name[0] != ".")
    if len(ours) != 1:
        pairs = " or ".join(" + ".join(names) for names in PUBLISHED_PAIRS)
        found = ", ".join(path.name for path in ours) or "none"
        raise CamsegError(
            f"folder {folder} holds no weights that can be chosen: {pairs}, or exactly one "
            f".safetensors file, is needed (safetensors found: {found})"
        )
    return ours[0]


def _refuse_published_options(source: str, num_heads: int | None, variant: Variant) -> None:
    """Refuse options that would change nothing, so that nobody believes they did."""
    if num_heads is not None or variant != "model":
        raise CamsegError(
            f"{source} is no published file: --heads and --ema choose nothing in it; leave them out"
        )


def _autoencoder_beside(transformer_path: Path, variant: Variant) -> Path:
    """Find the one autoencoder file that goes with a transformer file."""
    for folder in (transformer_path.parent, transformer_path.parent.parent / "vae"):
        candidates = sorted(folder.glob("*.ckpt"))
        if len(candidates) == 1:
            return candidates[0]
    read_transformer(transformer_path, variant)  # a file that is none is the first thing to say
    raise CamsegError(
        f"{transformer_path} is one of two published files, and one autoencoder (*.ckpt) was not "
        "found beside it or in ../vae; make one file of both with "
        "camseg convert TRANSFORMER AUTOENCODER --out FILE.safetensors"
    )


def _assemble(config: ModelConfig) -> CamSeg:
    return CamSeg(
        config,
        MaskAutoencoder(config.autoencoder)
        if isinstance(config.autoencoder, MaskAutoencoderConfig)
        else Autoencoder(config.autoencoder),
        MaskedTransformer(config.transformer),
        Denoiser(config.denoiser),
        None if config.image_encoder is None else ImageEncoder(config.image_encoder),
        None if config.mask_decoder is None else MaskDecoder(config.mask_decoder),
        None
        if config.fine_condition is None or config.image_encoder is None
        else FineCondition(config.fine_condition, config.image_encoder, config.transformer.width),
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
