# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of training: all that is needed to go on, whole or absent, in small files.

    checkpoints/step-00001500/part-000.safetensors ...   tensors, cut into files of a bounded size
                              state.json                 the step, and a hash of each file

A checkpoint is a folder that gets its name only when everything in it is on the disk: a kill at
any moment leaves the earlier one as the last.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from camseg_core.errors import CamsegError, CamsegWarning
from camseg_core.system.files import TEMPORARY_NAME, sha256_of_file

CHECKPOINTS = "checkpoints"
STATE_FILE = "state.json"
NAME = re.compile(r"step-(\d{8})")
MIB = 2**20


@dataclass(frozen=True)
class TrainState:
    """What a run is at after a step.

    Attributes:
        step: optimizer steps done.
        tensors: tensors by name, e.g. ``model/transformer.z_proj1.weight`` or ``optimizer/...``.
        facts: plain data that belongs to it, e.g. the best score.
    """

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says about itself.

    Attributes:
        step, facts: those of the `TrainState`.
        hashes: sha256 of each of its files by name.
    """

    step: int
    facts: dict[str, Any]
    hashes: dict[str, str]


def save_state(run: Path, state: TrainState, max_file_bytes: int, keep: int = 2) -> Path:
    """Write a checkpoint into the folder of a run, then remove all but the newest ``keep``.

    Raises:
        CamsegError: the folder cannot be written or the disk is full; earlier ones are intact.
    """
    folder = run / CHECKPOINTS / f"step-{state.step:08d}"
    if folder.exists():
        with suppress(CamsegError):
            _check(folder)
            return folder
        _remove(folder)  # it is damaged, and the run went on from an earlier one
    _remove_leftovers(folder.parent)
    temporary = folder.parent / f".{uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        files = []
        for index, names in enumerate(_parts(state.tensors, max_file_bytes)):
            path = temporary / f"part-{index:03d}.safetensors"
            save_file({name: state.tensors[name].contiguous() for name in names}, path)
            _sync(path)
            files.append({"name": path.name, "sha256": sha256_of_file(path)})
        content = {"step": state.step, "facts": state.facts, "files": files}
        manifest = temporary / STATE_FILE
        manifest.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        _sync(manifest)
        _sync(temporary)
        temporary.rename(folder)
        _sync(folder.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CamsegError(
            f"cannot write checkpoint {folder}: {reason}; the last good one is "
            f"{next(reversed(list_checkpoints(run)), 'none')}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in list_checkpoints(run)[:-keep]:
        _remove(old)
    return folder


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint so that a half-removed one does not bear its name."""
    hidden = checkpoint.parent / f".{uuid4().hex}"
    checkpoint.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _remove_leftovers(checkpoints: Path) -> None:
    """Remove what a killed process left while it saved or removed a checkpoint."""
    for folder in checkpoints.glob(".*"):
        if TEMPORARY_NAME.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def list_checkpoints(run: Path) -> list[Path]:
    """List the complete checkpoints of a run, the newest last."""
    return sorted(
        path
        for path in (run / CHECKPOINTS).glob("step-*")
        if NAME.fullmatch(path.name) and (path / STATE_FILE).is_file()
    )


def last_checkpoint(run: Path, *, tells: bool = False) -> Path | None:
    """Return the newest checkpoint of a run that is not damaged; None if there is none at all.

    With ``tells``, a damaged one is told by a `CamsegWarning`.

    Raises:
        CamsegError: all checkpoints are damaged.
    """
    problems: list[str] = []
    for checkpoint in reversed(list_checkpoints(run)):
        try:
            _check(checkpoint)
        except CamsegError as error:
            problems.append(str(error))
            continue
        if problems and tells:
            text = f"{'; '.join(problems)}; {checkpoint} before it is taken"
            warnings.warn(text, CamsegWarning, stacklevel=2)
        return checkpoint
    if problems:
        raise CamsegError("; ".join(problems))
    return None


def _check(folder: Path) -> Manifest:
    """Return what a checkpoint says about itself, when its files are what was written.

    Raises:
        CamsegError: a file is missing or is not what was written.
    """
    manifest = read_manifest(folder)
    for name, sha256 in manifest.hashes.items():
        if sha256_of_file(folder / name) != sha256:
            raise CamsegError(
                f"{folder / name} is not what was written: its hash differs; it is damaged"
            )
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read what a checkpoint says about itself, without its tensors.

    Raises:
        CamsegError: it is unreadable or no checkpoint.
    """
    path = folder / STATE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        step, facts, files = int(content["step"]), dict(content["facts"]), content["files"]
        hashes = {str(entry["name"]): str(entry["sha256"]) for entry in files}
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CamsegError(f"{path} is no training checkpoint: {error!r}") from error
    return Manifest(step, facts, hashes)


def load_state(folder: Path) -> TrainState:
    """Read a checkpoint.

    Raises:
        CamsegError: a file is missing or is not what was written.
    """
    manifest = _check(folder)
    tensors: dict[str, Tensor] = {}
    for name in manifest.hashes:
        with safe_open(folder / name, framework="pt") as file:
            tensors.update({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118  # not a mapping
    return TrainState(manifest.step, tensors, manifest.facts)


def _parts(tensors: dict[str, Tensor], max_file_bytes: int) -> list[list[str]]:
    """Deal names out to files of at most ``max_file_bytes``; a larger tensor has its own file."""
    parts: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size() + 512  # and its entry in the header
        if parts[-1] and filled + size > max_file_bytes:
            parts.append([])
            filled = 0
        parts[-1].append(name)
        filled += size
    return parts


def _sync(path: Path) -> None:
    """Bring a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cpu_copy(tensor: Tensor) -> Tensor:
    """Return a tensor on the CPU that later steps do not change."""
    return tensor.detach().to("cpu", copy=True).contiguous()
