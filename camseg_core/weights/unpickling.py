# SPDX-License-Identifier: Apache-2.0
"""Read a torch checkpoint without running code from it and without its classes installed.

``torch.load`` does the work (zip, memory map, legacy format) with the unpickler below in place of
Python's. Tensors and plain containers come out real. A class that is merely named, or an object
whose state is merely stored, comes out inert. A file that asks for any other function to be called
is refused. ``torch.load(weights_only=True)`` would refuse the second kind too, which published
Lightning files are.
"""

from __future__ import annotations

import _compat_pickle
import argparse
import collections
import functools
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from camseg_core.errors import CamsegError

_ZIP_START = b"PK"
_PICKLE_START = b"\x80"


class _Refused(Exception):  # noqa: N818  # internal: turned into a CamsegError below
    """The file asks for a call that is not on the list."""


class _InertType(type):
    """Classes that a pickle names but that are not loaded: they can be named, not called."""

    def __call__(cls, *_args: object, **_kwargs: object) -> Any:
        """Refuse the call that pickle's REDUCE makes; NEWOBJ does not come here."""
        raise _Refused(f"{cls.__module__}.{cls.__qualname__}")


class _Inert(metaclass=_InertType):
    """An object of a class that is not loaded. It takes any state and keeps none."""

    def __new__(cls, *_args: object, **_kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        """Take a stored state and forget it."""

    def __setitem__(self, _key: object, _value: object) -> None:
        """Take an item, as a pickled mapping does, and forget it."""

    def append(self, _item: object) -> None:
        """Take an item, as a pickled list does, and forget it."""

    def extend(self, _items: object) -> None:
        """Take items, as a pickled list does, and forget them."""


def _inert_value(*_args: object, **_kwargs: object) -> _Inert:
    """Stand in for a constructor of plain values (paths, times, numpy scalars)."""
    return _Inert.__new__(_Inert)


_FUNCTIONS = {
    f"torch._utils.{function.__name__}": function
    for function in (
        torch._utils._rebuild_tensor_v2,
        torch._utils._rebuild_parameter,
        torch._utils._rebuild_parameter_with_state,
    )
}
# Built-in types and constants: unlike functions and Python classes, a pickle cannot change them.
_CONSTANTS: dict[str, Any] = {
    f"{item.__module__}.{item.__qualname__}": item
    for item in (
        *(collections.OrderedDict, collections.defaultdict, torch.Size, torch.device),
        *(int, float, complex, bool, str, bytes, bytearray, list, tuple, dict, set, frozenset),
    )
} | {
    str(dtype): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    )
}
# torch's storage names are turned into types by torch.load itself before our unpickler is asked.

_PLAIN_VALUES = frozenset(
    f"{module}.{name}"
    for module, names in {
        "numpy.core.multiarray": ("scalar", "_reconstruct"),
        "numpy._core.multiarray": ("scalar", "_reconstruct"),
        "numpy": ("dtype", "ndarray"),
        "_codecs": ("encode",),
        "copyreg": ("_reconstructor",),
        "pathlib": ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
        "pathlib._local": ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
        "datetime": ("datetime", "date", "timedelta"),
    }.items()
    for name in names
)


class _Unpickler(pickle.Unpickler):
    """Python's unpickler with a list of what may be called."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the real thing, a stand-in for a plain value, or an inert class.

        Functions and Python classes are given as fresh copies: a pickle may set attributes on
        whatever it was given.
        """
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)  # names of Python 2
        qualified = f"{module}.{name}"
        if qualified in _CONSTANTS:
            return _CONSTANTS[qualified]
        if qualified in _FUNCTIONS:
            return functools.partial(_FUNCTIONS[qualified])
        if qualified == "argparse.Namespace":
            return type("Namespace", (), {"__new__": lambda _: argparse.Namespace()})
        if qualified in _PLAIN_VALUES:
            return functools.partial(_inert_value)
        return _InertType(name, (_Inert,), {"__module__": module, "__qualname__": name})

    def persistent_load(self, saved_id: Any) -> Any:
        """Return a storage, as torch.load does; its old format also knows source code, which is
        not.

        torch.load sets its own function on the instance, where this method finds it.
        """
        kind = saved_id[0] if isinstance(saved_id, tuple) and saved_id else saved_id
        if kind not in ("storage", b"storage"):
            raise _Refused(f"the loader of a stored {kind!r}")
        return vars(self)["persistent_load"](saved_id)


class _PickleModule:
    """What ``torch.load`` expects of its ``pickle_module``."""

    __name__ = "camseg_core.weights.unpickling"
    Unpickler = _Unpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        """Unpickle, as the legacy format's header is read."""
        return _Unpickler(file, **options).load()


def load_without_code(path: Path) -> Any:
    """Read a torch file: tensors on the CPU, memory-mapped where the format allows.

    Raises:
        CamsegError: the file is absent, damaged, no torch file, or asks for code to be run.
    """
    if not os.path.isfile(path):
        raise CamsegError(f"no such file: {path}")
    try:
        return _load(path)
    except _Refused as error:
        raise CamsegError(
            f"{path} is pickled with code: it asks to call {error}, which a checkpoint must not; "
            "nothing of it was run. Get the file from its authors again"
        ) from error
    except Exception as error:  # torch and pickle raise almost anything on damaged bytes
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise CamsegError(
            f"{path} cannot be read as a torch checkpoint: it is truncated, damaged or of another "
            f"format ({type(error).__name__}: {reason})"
        ) from error


def is_torch_file(path: Path) -> bool:
    """Tell by its first bytes whether ``path`` is what torch.save writes: a zip or a pickle.

    Safetensors files, which may begin with the same bytes, are told apart.

    Raises:
        CamsegError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return False  # a safetensors file: the length of its JSON header, then the header
    return start[:2] == _ZIP_START or start[:1] == _PICKLE_START


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(2)
    is_zip = start == _ZIP_START
    if not is_zip and start[:1] != _PICKLE_START:
        # torch.load would unpack the oldest format, a tar archive, to look into it.
        raise ValueError("it is neither a zip archive nor a pickle")
    # torch.load would hand a TorchScript program to torch.jit, which runs it. Ask the reader that
    # torch.load asks: another one may see other names in the same archive.
    if is_zip and "constants.pkl" in torch._C.PyTorchFileReader(str(path)).get_all_records():
        raise _Refused("its TorchScript program")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's notes on old storages are not the user's matter
        return torch.load(
            path,
            map_location="cpu",
            mmap=is_zip,
            weights_only=False,  # our unpickler is the stricter one
            pickle_module=_PickleModule(),
        )
