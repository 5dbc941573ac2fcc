# SPDX-License-Identifier: Apache-2.0
"""The description inside our weights files, and the bundled weights.

One safetensors file; its metadata holds, under ``camseg``, JSON with the format version, the model
configuration, the label set, how to sample, where the weights came from and a known answer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from camseg_core.diffusion.options import Profiles, profiles_from_dict, profiles_to_dict
from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_core.models.configs import ModelConfig
from camseg_core.system.files import sha256_of_file
from camseg_core.system.validation import parse, parse_json
from camseg_core.weights.known_answer import KnownAnswer

FORMAT_VERSION = 1
METADATA_KEY = "camseg"
BUNDLED_FOLDER = Path(__file__).parent
BUNDLED_HASHES = "sha256.json"
"""File in `BUNDLED_FOLDER` with the sha256 of each weights file by its name without suffix."""


@dataclass(frozen=True)
class Description:
    """What a weights file says about itself; `LoadedModel` explains the parts."""

    config: ModelConfig
    label_set: LabelSet
    provenance: dict[str, Any]
    is_random: bool = False
    profiles: Profiles | None = None
    known_answer: KnownAnswer | None = None

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata of a safetensors file; `read_safetensors` reads it back."""
        content = {
            "format_version": FORMAT_VERSION,
            "config": self.config.to_dict(),
            "label_set": self.label_set.to_dict(),
            "provenance": self.provenance,
            "is_random": self.is_random,
        }
        if self.profiles is not None:
            content["profiles"] = profiles_to_dict(self.profiles)
        if self.known_answer is not None:
            content["known_answer"] = asdict(self.known_answer)
        return {METADATA_KEY: json.dumps(content)}


def read_safetensors(path: Path) -> tuple[Description, dict[str, Tensor]]:
    """Return what a file says about its weights, and its tensors.

    Raises:
        CamsegError: the file is no safetensors file, is not one of ours, or a part of its
            description is missing or breaks its rule.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError) as error:
        raise CamsegError(
            f"{path} cannot be read as safetensors: truncated, damaged or of another format "
            f"({error})"
        ) from error
    if METADATA_KEY not in metadata:
        raise CamsegError(
            f"{path} is a safetensors file of another model: its metadata has no "
            f"{METADATA_KEY!r} entry"
        )
    content = parse_json(dict[str, Any], metadata[METADATA_KEY], f"{path}, metadata")
    if content.pop("format_version", None) != FORMAT_VERSION:
        raise CamsegError(
            f"{path} is not of format version {FORMAT_VERSION}, the one this release reads"
        )
    _take_earlier_release(content.get("config"), path)
    profiles = content.pop("profiles", None)
    description = parse(Description, content, f"{path}, metadata")
    if profiles is not None:
        description = replace(description, profiles=profiles_from_dict(profiles, str(path)))
    return description, tensors


def _take_earlier_release(config: Any, path: Path) -> None:
    """Bring the configuration that an earlier release wrote up to date, in place.

    Raises:
        CamsegError: it is one of a small model whose mask decoder read image features.
    """
    match config:
        case {"autoencoder": {"bottleneck": "kl", "channels": _} as autoencoder}:
            if config.get("image_encoder") is not None:
                raise CamsegError(
                    f"{path} is a small model of an earlier release, whose mask decoder read image "
                    "features; this release cannot run it: train it anew, or take the bundled "
                    "weights"
                )
            del autoencoder["bottleneck"]
            autoencoder.pop("codebook_size", None)


def bundled_hashes() -> dict[str, str]:
    """Return the sha256 of each bundled weights file by its name.

    Raises:
        CamsegError: the list in the installed package is unreadable.
    """
    path = BUNDLED_FOLDER / BUNDLED_HASHES
    try:
        return parse_json(dict[str, str], path.read_bytes(), BUNDLED_HASHES)
    except (OSError, CamsegError) as error:
        raise CamsegError(f"{path} is damaged ({error}); install the package again") from error


def bundled_path(name: str) -> Path:
    """Return the path to bundled weights, after comparing their sha256.

    Raises:
        CamsegError: the file is not the one that was bundled.
    """
    path = BUNDLED_FOLDER / f"{name}.safetensors"
    found, expected = sha256_of_file(path), bundled_hashes()[name]
    if found != expected:
        raise CamsegError(
            f"{path} is damaged: its sha256 is {found}, {expected} is expected; install the "
            "package again"
        )
    return path
