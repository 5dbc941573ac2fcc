# SPDX-License-Identifier: Apache-2.0
"""Read a torch checkpoint without running code from it and without its classes installed.

``torch.load(weights_only=True)`` does the work. It refuses a file that names a class or function
outside torch's own list, which published Lightning files do. So each such name is given a stand-in
of ours: a class that takes any arguments and any state, and keeps none. The real class or function
is never looked up.
"""

from __future__ import annotations

import argparse
import re
import shlex
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from camseg_core.errors import CamsegError

_ZIP_START = b"PK"
_PICKLE_START = b"\x80"
_NEVER_NAMED = {"os", "posix", "nt", "sys"}
"""Modules whose names torch refuses even where a stand-in is given."""

MEMORY_BEYOND_THE_FILE = 2**30

_LOADING = threading.Lock()  # torch's list of allowed names is one for the whole process


class _Inert:
    """An object of a class that is not loaded. It takes any arguments and state, and keeps none."""

    def __new__(cls, *_args: object, **_kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        """Take the arguments of the real constructor and forget them."""

    def __setstate__(self, _state: object) -> None:
        """Take a stored state and forget it."""


class _List:
    """Stands in for subclasses of lists: the loader fills only real ones."""

    def __new__(cls, *_args: object) -> Any:
        return []


class _Table:
    """Stands in for subclasses of dictionaries: a `Counter` takes both items and a state."""

    def __new__(cls, *_args: object) -> Any:
        return Counter()


_KNOWN: dict[str, Callable[..., Any]] = {
    "argparse.Namespace": argparse.Namespace,  # holds values and runs nothing
    "builtins.getattr": lambda *_: _Inert,  # pickles name a class inside of another one by it
    "collections.defaultdict": _Table,
    "collections.deque": _List,
}


def load_without_code(path: Path) -> Any:
    """Read a torch file: tensors on the CPU, memory-mapped, without gradients.

    Tables and tensors of the two upper levels come plain, without the attributes that a file may
    store beside their content and that could hide their methods.

    Raises:
        CamsegError: the file is absent, damaged, of another format than torch has written since
            1.6, or names functions that no checkpoint may name.
    """
    start = _first_bytes(path)
    if start[:1] == _PICKLE_START:
        raise CamsegError(f"{path} has the format of torch before 1.6; {_advice(path)}")
    try:
        if start[:2] != _ZIP_START:
            raise ValueError("it is no zip archive")
        with _LOADING:
            content = _plain(_load(path), levels=2)
        _check_memory(content, path)
        return content
    except CamsegError:
        raise
    except Exception as error:  # torch raises almost anything on damaged bytes
        # Torch puts advice for another kind of user around the cause.
        text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
        reason = f"{type(error).__name__}: {text.partition(chr(10))[0].partition('. ')[0]}"
        if isinstance(error, UnpicklingError):
            raise CamsegError(
                f"{path} is pickled in a way that torch's safe loader does not read ({reason}); "
                f"{_advice(path)}"
            ) from error
        raise CamsegError(
            f"{path} cannot be read as a torch checkpoint: it is truncated, damaged or of another "
            f"format ({reason})"
        ) from error


def is_torch_file(path: Path) -> bool:
    """Tell by its first bytes whether ``path`` is what torch.save writes: a zip or a pickle.

    Safetensors files, which may begin with the same bytes, are told apart.

    Raises:
        CamsegError: the file cannot be read.
    """
    start = _first_bytes(path)
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return False  # a safetensors file: the length of its JSON header, then the header
    return start[:2] == _ZIP_START or start[:1] == _PICKLE_START


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(9)
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error


def _load(path: Path) -> Any:
    """Load with a stand-in for every foreign name in the file."""
    with ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.compress_type != ZIP_STORED for part in parts):
        raise CamsegError(f"{path} is compressed, which torch never does; {_advice(path)}")
    names = get_unsafe_globals_in_checkpoint(str(path))
    forbidden = sorted(name for name in names if name.partition(".")[0] in _NEVER_NAMED)
    if forbidden:
        raise CamsegError(
            f"{path} names {forbidden[0]}, which a checkpoint must not; nothing of it was run. "
            "Get the file from its authors again"
        )
    stand_ins: dict[str, Any] = {f"{__name__}._Inert": _Inert}
    for name in names:
        module, _, own_name = name.rpartition(".")  # which messages show
        stand_ins[name] = _KNOWN.get(name) or type(own_name, (_Inert,), {"__module__": module})
    claimed: Counter[int] = Counter()  # bytes of storages

    def on_cpu(storage: Any, _: str) -> Any:
        claimed[storage.nbytes()] += 1
        return storage

    while True:
        allowed: list[Any] = [(item, name) for name, item in stand_ins.items()]
        try:
            with safe_globals(allowed), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's notes on old storages help no user
                claimed.clear()
                content = torch.load(path, map_location=on_cpu, mmap=True, weights_only=True)
                break
        except UnpicklingError as error:
            # A foreign class proves to be a list or a table only when the loader fills one.
            found = re.search(r"Can only (append|extend|SETITEM).* got <class '(.+)'>", str(error))
            if not found or stand_ins.get(found[2]) in (None, _Table, _List):
                raise
            stand_ins[found[2]] = _Table if found[1] == "SETITEM" else _List
    # torch believes a tensor that claims more bytes than its part of the file has.
    held = Counter(part.file_size for part in parts if "/data/" in part.filename)
    if too_large := claimed - held:
        raise CamsegError(
            f"{path} is damaged: a tensor claims {max(too_large)} bytes, and no part of the file "
            "has as many"
        )
    return content


def _check_memory(content: Any, path: Path) -> None:
    """Refuse tensors that need far more memory than their file has: many views of a few bytes.

    Raises:
        CamsegError: there are such tensors.
    """
    tables = content.values() if isinstance(content, dict) else ()
    values = (
        value
        for table in tables
        for value in (table.values() if isinstance(table, dict) else [table])
    )
    tensors = [value for value in values if isinstance(value, Tensor)]
    needed, held = sum(t.numel() * t.element_size() for t in tensors), path.stat().st_size
    if needed > held + MEMORY_BEYOND_THE_FILE:
        raise CamsegError(
            f"{path} is damaged: its tensors need {needed / 1e9:.1f} GB, and the file has "
            f"{held / 1e9:.1f}"
        )


def _plain(value: Any, levels: int) -> Any:
    if isinstance(value, Tensor):
        return Tensor.detach(value)
    if isinstance(value, dict) and levels:
        return {key: _plain(item, levels - 1) for key, item in dict.items(value)}
    return value


def _advice(path: Path) -> str:
    command = f"import torch; torch.save(torch.load({str(path)!r}, weights_only=False), 'new.pth')"
    return f"if you trust its authors, save it anew: python -c {shlex.quote(command)}"
