# SPDX-License-Identifier: Apache-2.0
"""What our weights files say about themselves, and which of them ship with the package.

One safetensors file; its metadata holds, under ``camseg``, JSON with the format version, the model
configuration, the label set, how to sample and where the weights came from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from camseg_core.diffusion.options import Profiles, profiles_from_dict, profiles_to_dict
from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_core.models.configs import ModelConfig
from camseg_core.system.files import sha256_of_file
from camseg_core.system.validation import parse

FORMAT_VERSION = 1
METADATA_KEY = "camseg"
BUNDLED_FOLDER = Path(__file__).parent
BUNDLED_HASHES = "sha256.json"
"""In `BUNDLED_FOLDER`: sha256 of each weights file by its name, without suffix."""


@dataclass(frozen=True)
class Description:
    """What a weights file says about itself.

    Attributes:
        config: the model's configuration.
        label_set: its classes and the palette its latent space was trained on.
        provenance: facts about where the weights come from.
        is_random: true if nothing was trained.
        profiles: how to sample, by profile name; None where the file does not say.
    """

    config: ModelConfig
    label_set: LabelSet
    provenance: dict[str, Any]
    is_random: bool
    profiles: Profiles | None

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata of a safetensors file; `parse_description` reads it back."""
        content = {
            "format_version": FORMAT_VERSION,
            "config": self.config.to_dict(),
            "label_set": self.label_set.to_dict(),
            "provenance": self.provenance,
            "is_random": self.is_random,
        }
        if self.profiles is not None:
            content["profiles"] = profiles_to_dict(self.profiles)
        return {METADATA_KEY: json.dumps(content)}


def read_safetensors_header(path: Path) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Return the description that `save_model` wrote and the shape of each tensor.

    Raises:
        CamsegError: the file is no safetensors file, or not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  # not a mapping
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
    try:
        description = json.loads(metadata[METADATA_KEY])
    except json.JSONDecodeError as error:
        raise CamsegError(f"{path} has metadata that is no JSON: {error}") from error
    if not isinstance(description, dict) or description.get("format_version") != FORMAT_VERSION:
        raise CamsegError(
            f"{path} is not of format version {FORMAT_VERSION}, the one this release reads"
        )
    return description, shapes


def parse_description(description: dict[str, Any], path: Path) -> Description:
    """Read what a file says about its weights.

    Raises:
        CamsegError: a part is missing or breaks its rule.
    """
    try:
        config = parse(ModelConfig, description["config"], f"{path}, config")
        label_set = LabelSet.from_dict(description["label_set"])
        provenance = description["provenance"]
    except KeyError as error:
        raise CamsegError(f"{path} lacks {error} in its metadata") from error
    if not isinstance(provenance, dict):
        raise CamsegError(f"{path} has a provenance that is no table in its metadata")
    profiles = None
    if "profiles" in description:
        profiles = profiles_from_dict(description["profiles"], str(path))
    is_random = bool(description.get("is_random", False))
    return Description(config, label_set, provenance, is_random, profiles)


def bundled_hashes() -> dict[str, str]:
    """Return the sha256 of each weights file that ships with the package, by its name.

    Raises:
        CamsegError: the list of the installed package is unreadable.
    """
    path = BUNDLED_FOLDER / BUNDLED_HASHES
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in content.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise CamsegError(f"{path} is damaged ({error}); install the package again") from error


def bundled_path(name: str) -> Path:
    """Return the file of bundled weights with the package, after comparing its sha256.

    Raises:
        CamsegError: the file is not what was shipped.
    """
    path = BUNDLED_FOLDER / f"{name}.safetensors"
    found, expected = sha256_of_file(path), bundled_hashes()[name]
    if found != expected:
        raise CamsegError(
            f"{path} is damaged: its sha256 is {found}, {expected} was shipped; install the "
            "package again"
        )
    return path
