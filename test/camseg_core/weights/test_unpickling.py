# SPDX-License-Identifier: Apache-2.0
"""Checkpoints are read without running anything from them, and damaged ones are refused."""

from __future__ import annotations

import argparse
import builtins
import collections
import datetime
import enum
import functools
import importlib
import os
import pathlib
import pickle
import re
import struct
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from camseg_core.errors import CamsegError
from camseg_core.weights.unpickling import is_torch_file, load_without_code


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def archive(path: Path, body: bytes) -> Path:
    """Write a file as torch.save does, around a pickle that is written by hand."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.PROTO + b"\x02" + body + pickle.STOP)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
    return path


def text(value: str) -> bytes:
    encoded = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def small_checkpoint() -> dict[str, Any]:
    values = torch.arange(12, dtype=torch.float32)
    return {
        "model": collections.OrderedDict(
            weight=values.reshape(3, 4), view=values[4:8], bias=torch.ones(2, dtype=torch.bfloat16)
        ),
        "parameter": torch.nn.Parameter(torch.tensor([1.5])),
        "steps": torch.tensor(7),
        "args": argparse.Namespace(model="mar_base", lr=1e-4, sizes=(1, 2)),
        "epoch": 3,
        "none": None,
        "default": collections.defaultdict(list, a=[1]),
        "counts": collections.Counter("aab"),
        "newest": collections.deque([1, 2], maxlen=3),
    }


def test_what_a_checkpoint_holds_comes_back(tmp_path: Path) -> None:
    path = save(small_checkpoint(), tmp_path / "file")
    assert is_torch_file(path)
    content = load_without_code(path)
    expected = small_checkpoint()
    assert content.keys() == expected.keys()
    for key, tensor in expected.pop("model").items():
        found = content["model"][key]
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor)
        assert found.device.type == "cpu"
    assert torch.equal(content["parameter"], torch.tensor([1.5]))
    assert not content["parameter"].requires_grad
    assert content["newest"] == [1, 2]
    for key in ("steps", "args", "epoch", "none", "default", "counts"):
        assert content[key] == expected[key], key


@pytest.mark.parametrize("name", ["transformer.pth", "transformer_torchrun.pth"])
def test_transformer_files_are_read_as_torch_reads_them(parity: Path, name: str) -> None:
    expected = torch.load(parity / name, weights_only=False)
    content = load_without_code(parity / name)
    assert content.keys() == expected.keys()
    for variant in ("model", "model_ema"):
        assert content[variant].keys() == expected[variant].keys()
        for key, tensor in expected[variant].items():
            assert torch.equal(content[variant][key], tensor), key
    assert vars(content["args"]) == vars(expected["args"])
    assert content["epoch"] == expected["epoch"]


def test_the_autoencoder_file_is_read_though_its_callbacks_class_is_not_installed(
    parity: Path,
) -> None:
    with pytest.raises((ModuleNotFoundError, AttributeError)):
        torch.load(parity / "vae.ckpt", weights_only=False)
    content = load_without_code(parity / "vae.ckpt")
    assert len(content["callbacks"]) == 1
    assert all(isinstance(tensor, Tensor) for tensor in content["state_dict"].values())
    assert content["state_dict"]["encoder.conv_in.weight"].shape == (32, 3, 3, 3)


class Named:
    """A class that is stored by name only."""

    class Inner:
        """A class inside of another one, which pickles look up with getattr."""


class Holder:
    """An object whose state is stored."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class Slotted:
    """An object whose state has two parts."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


class WithSetState:
    """An object that runs code on its state where it is installed."""

    def __getstate__(self) -> dict[str, int]:
        return {"a": 1}

    def __setstate__(self, state: dict[str, int]) -> None:
        raise RuntimeError("ran")


class WithArguments:
    """An object with arguments for its constructor."""

    def __new__(cls, *_arguments: Any) -> WithArguments:
        return super().__new__(cls)

    def __getnewargs__(self) -> tuple[int, ...]:
        return 1, 2


class Table(dict):  # type: ignore[type-arg]
    """A table of a class of its own, with state beside its items."""


class Row(list):  # type: ignore[type-arg]
    """A list of a class of its own."""


Point = collections.namedtuple("Point", "x y")  # what pickles hold


class Color(enum.Enum):
    """An enumeration, which pickles as a call of its class."""

    RED = 1


class Access(enum.Flag):
    """Flags, which pickle as a call too."""

    READ = 1
    WRITE = 2


ABSENT = "a_package_that_is_not_installed.callbacks"
CLASSES = (
    *(Named, Named.Inner, Holder, Slotted, WithSetState, WithArguments),
    *(Table, Row, Point, Color, Access),
)


@pytest.fixture
def absent_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let the classes above belong to a package that vanishes when the patches are undone."""
    package, module = (types.ModuleType(name) for name in (ABSENT.partition(".")[0], ABSENT))
    for kind in CLASSES:
        monkeypatch.setattr(kind, "__module__", ABSENT)
        setattr(module, kind.__name__, kind)
    with pytest.MonkeyPatch.context() as installed:
        installed.setitem(sys.modules, package.__name__, package)
        installed.setitem(sys.modules, ABSENT, module)
        yield installed


def foreign_objects() -> dict[str, Any]:
    table = Table(a=1, b=torch.ones(2))
    table.extra = [1]
    return {
        "named": Named,
        "inner": Named.Inner(),
        "key": {Named: 1},
        "object": Holder(a=1, b={"c": torch.zeros(3)}),
        "object in an object": Holder(inner=Holder(kind=Named)),
        "slots": Slotted(3),
        "setstate": WithSetState(),
        "arguments": WithArguments(),
        "table": table,
        "row": Row([1, 2, torch.ones(1)]),
        "row of one": Row([1]),
        "named tuple": Point(1, 2),
        "enumeration": Color.RED,
        "flags": Access.READ | Access.WRITE,
        "numpy": [np.float64(2), np.bool_(True), np.dtype("f4"), np.arange(3), np.str_("x")],
        "random state": np.random.RandomState(1),
        "paths": [pathlib.Path("/a"), pathlib.PurePosixPath("b"), pathlib.PureWindowsPath("c")],
        "times": [datetime.datetime(2025, 1, 1), datetime.timedelta(1)],
        "namespace": types.SimpleNamespace(a=1),
        "built in": [slice(1, 2), range(3), frozenset([1]), {1}, 1j, b"a", bytearray(b"a"), int],
        "function": torch.save,
        "module": torch.nn.Linear(2, 2),
        "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1),
    }


@pytest.mark.parametrize("kind", foreign_objects())
def test_foreign_objects_are_inert_and_hide_nothing(
    tmp_path: Path, absent_package: pytest.MonkeyPatch, kind: str
) -> None:
    content = {"before": torch.arange(3), kind: foreign_objects()[kind], "after": torch.arange(4)}
    path = save(content, tmp_path / "file")
    absent_package.undo()
    loaded = load_without_code(path)
    assert list(loaded) == ["before", kind, "after"]
    assert torch.equal(loaded["before"], torch.arange(3))
    assert torch.equal(loaded["after"], torch.arange(4))
    assert not isinstance(loaded[kind], (*CLASSES, torch.nn.Module, Path))


def test_an_inert_class_keeps_its_name_and_no_state(
    tmp_path: Path, absent_package: pytest.MonkeyPatch
) -> None:
    path = save({"a": Named, "b": Holder(a=1), "c": Table(x=1), "d": Row([1])}, tmp_path / "file")
    absent_package.undo()
    loaded = load_without_code(path)
    assert (loaded["a"].__module__, loaded["a"].__qualname__) == (ABSENT, "Named")
    assert type(loaded["b"]).__qualname__ == "Holder"
    assert vars(loaded["b"]) == {}
    assert (loaded["c"], loaded["d"]) == ({"x": 1}, [1])


def test_several_files_are_read_at_once(tmp_path: Path, absent_package: pytest.MonkeyPatch) -> None:
    """Torch's list of allowed names is one for the whole process."""
    paths = [
        save({"row": Row([1]), "object": Holder(), "index": index}, tmp_path / f"{index}.pth")
        for index in range(8)
    ]
    absent_package.undo()
    with ThreadPoolExecutor(4) as pool:
        assert [content["index"] for content in pool.map(load_without_code, paths)] == [*range(8)]


class Call:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def attacks(marker: str) -> dict[str, Any]:
    """Return objects whose unpickling makes the file ``marker``, or would do other harm."""
    touch = f"open({marker!r}, 'w').close()"
    return {
        "os.system": Call(os.system, f"touch {marker}"),
        "os.popen": Call(os.popen, f"touch {marker}"),
        "eval": Call(eval, touch),
        "exec": Call(exec, touch),
        "open": Call(open, marker, "w"),
        "getattr": Call(getattr, Holder(), "__class__"),
        "a chain of getattr": Call(pathlib.Path(marker).touch),
        "__import__": Call(builtins.__import__, "antigravity"),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", marker]),
        "subprocess.run": Call(subprocess.run, ["touch", marker]),
        "torch.hub.load": Call(torch.hub.load, marker, "m", "local"),
        "torch.load": Call(torch.load, marker),
        "pickle.loads": Call(pickle.loads, b"N."),
        "functools.partial": Call(functools.partial(os.system, f"touch {marker}")),
        "importlib": Call(importlib.import_module, "antigravity"),
        "pathlib": Call(pathlib.Path.touch, pathlib.Path(marker)),
    }


PLACES: dict[str, Callable[[Any], Any]] = {
    "top": lambda evil: evil,
    "value of a nested table": lambda evil: {"model": {"a": torch.ones(2), "b": {"c": evil}}},
    "key of a table": lambda evil: {evil: 1},
    "item of a list": lambda evil: {"model": [1, [evil]]},
    "item of a set": lambda evil: {evil},
    "state of an object": lambda evil: {"args": argparse.Namespace(value=evil)},
    "item of an ordered table": lambda evil: collections.OrderedDict(a=evil),
    "item of a default table": lambda evil: collections.defaultdict(list, a=evil),
    "argument of an allowed call": lambda evil: Call(bytearray, [evil]),
    "attribute of a parameter": lambda evil: with_attributes(
        torch.nn.Parameter(torch.ones(1)), extra=evil
    ),
}


def with_attributes(item: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(item, name, value)
    return item


def assert_nothing_runs(path: Path, marker: Path) -> None:
    """The file is read, what it calls being inert, or refused in one line; never run."""
    modules = set(sys.modules)
    try:
        load_without_code(path)
    except CamsegError as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)
    assert not marker.exists()
    assert "antigravity" not in set(sys.modules) - modules


@pytest.mark.parametrize("attack", attacks(""))
def test_no_call_is_made(tmp_path: Path, attack: str) -> None:
    marker = tmp_path / "marker"
    path = save({"model": attacks(str(marker))[attack]}, tmp_path / "file")
    assert_nothing_runs(path, marker)


@pytest.mark.parametrize("attack", ["os.system", "eval"])
@pytest.mark.parametrize("place", PLACES)
def test_no_call_is_made_wherever_it_is(tmp_path: Path, place: str, attack: str) -> None:
    marker = tmp_path / "marker"
    path = save(PLACES[place](attacks(str(marker))[attack]), tmp_path / "file")
    assert_nothing_runs(path, marker)


def test_a_file_that_names_the_operating_system_is_refused_by_name(tmp_path: Path) -> None:
    path = save({"model": Call(os.system, "true")}, tmp_path / "file")
    with pytest.raises(CamsegError) as caught:
        load_without_code(path)
    assert str(caught.value) == (
        f"{path} names posix.system, which a checkpoint must not; nothing of it was run. "
        "Get the file from its authors again"
    )


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "list.__class__"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("argparse", "Namespace.__init__.__globals__"),
        ("collections", "OrderedDict.fromkeys"),
        ("camseg_core.weights.unpickling", "load_without_code"),
        ("__main__", "main"),
    ],
)
def test_nothing_can_be_reached_through_what_is_allowed(
    tmp_path: Path, module: str, name: str
) -> None:
    body = (
        pickle.GLOBAL + f"{module}\n{name}\n".encode() + text("x") + pickle.TUPLE1 + pickle.REDUCE
    )
    loaded = load_without_code(archive(tmp_path / "file", body))
    assert (type(loaded).__module__, type(loaded).__qualname__) == (
        f"{module}.{name}".rpartition(".")[0],
        name.rpartition(".")[2],
    )
    assert vars(loaded) == {}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("argparse", "Namespace"),
        ("collections", "Counter"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("builtins", "getattr"),
    ],
)
def test_a_file_cannot_change_what_is_imported(tmp_path: Path, module: str, name: str) -> None:
    """BUILD with a state of two parts sets attributes; on a class, for the whole process."""
    body = (
        pickle.GLOBAL + f"{module}\n{name}\n".encode() + pickle.NONE + pickle.EMPTY_DICT
        + text("changed_by_a_file") + pickle.NEWTRUE + pickle.SETITEM + pickle.TUPLE2 + pickle.BUILD
    )  # fmt: skip
    path = archive(tmp_path / "file", body)
    with pytest.raises(CamsegError, match=f"^{re.escape(str(path))} "):
        load_without_code(path)
    assert not hasattr(getattr(sys.modules[module], name), "changed_by_a_file")


def test_stored_attributes_cannot_hide_methods(tmp_path: Path) -> None:
    body = (
        pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
        + text("a") + pickle.NEWTRUE + pickle.SETITEM
        + pickle.EMPTY_DICT + text("items") + pickle.NONE + pickle.SETITEM + pickle.BUILD
    )  # fmt: skip
    assert list(load_without_code(archive(tmp_path / "table", body)).items()) == [("a", True)]
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.numel = Path  # type: ignore[method-assign]
    assert load_without_code(save(parameter, tmp_path / "tensor")).numel() == 1


class Script(torch.nn.Module):
    """A TorchScript program that makes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> str:
        return self.path

    @torch.jit.export
    def __setstate__(self, path: str) -> None:
        self.path = path
        self.training = False
        torch.from_file(path, True, 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_archive_is_refused_before_its_code_runs(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "file.pth"
    torch.jit.save(torch.jit.script(Script(str(marker))), str(path))
    assert not marker.exists()
    with pytest.raises(CamsegError, match=f"^{re.escape(str(path))} "):
        load_without_code(path)
    assert not marker.exists()


ADVICE = "if you trust its authors, save it anew: python -c 'import torch; torch.save(torch.load("


def test_the_format_before_torch_1_6_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "a file.pth"
    torch.save(small_checkpoint(), path, _use_new_zipfile_serialization=False)
    assert is_torch_file(path)
    with pytest.raises(CamsegError) as caught:
        load_without_code(path)
    assert str(caught.value).startswith(f"{path} has the format of torch before 1.6; {ADVICE}")
    _, _, command = str(caught.value).partition("anew: ")
    path_of_python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        command, cwd=tmp_path, shell=True, check=True, env=os.environ | {"PATH": path_of_python}
    )
    assert load_without_code(tmp_path / "new.pth")["epoch"] == 3


def test_another_pickle_protocol_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save(small_checkpoint(), path, pickle_protocol=4)
    with pytest.raises(CamsegError, match="pickled in a way that torch's safe loader") as caught:
        load_without_code(path)
    assert ADVICE in str(caught.value)


def assert_unreadable(path: Path) -> None:
    with pytest.raises(CamsegError) as caught:
        load_without_code(path)
    assert str(caught.value).startswith(f"{path} cannot be read as a torch checkpoint: it is trunc")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def good_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save(small_checkpoint(), tmp_path_factory.mktemp("good") / "file").read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "file"


@settings(max_examples=25, deadline=None)
@given(st.floats(0.0, 1.0, exclude_max=True))
@example(1 - 1e-9)
def test_a_file_cut_anywhere_is_refused(good_file: bytes, scratch: Path, share: float) -> None:
    scratch.write_bytes(good_file[: int(share * len(good_file))])
    assert_unreadable(scratch)


def test_a_storage_that_is_left_out_is_refused(good_file: bytes, scratch: Path) -> None:
    place = len(good_file) // 2
    scratch.write_bytes(good_file[:place] + good_file[place + 64 :])
    assert_unreadable(scratch)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02"]), st.binary(max_size=200))
def test_bytes_of_no_meaning_are_refused(scratch: Path, start: bytes, rest: bytes) -> None:
    scratch.write_bytes(start + rest)
    with pytest.raises(CamsegError, match=f"^{re.escape(str(scratch))} "):
        load_without_code(scratch)


@pytest.mark.parametrize(("name", "reason"), [("none.pth", "No such file"), (".", "Is a direc")])
def test_no_file_is_one_line(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    for read in (load_without_code, is_torch_file):
        with pytest.raises(CamsegError, match=f"^cannot read {re.escape(str(path))}: {reason}"):
            read(path)


def test_the_first_bytes_tell_a_torch_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    starts = {b"PK\x03\x04": True, b"\x80\x02": True, b"P": False, b"": False}
    for content, expected in starts.items():
        path.write_bytes(content)
        assert is_torch_file(path) is expected


def test_a_tensor_that_claims_more_than_its_part_of_the_file_is_refused(tmp_path: Path) -> None:
    whole = save({"model": {"a": torch.zeros(4), "b": torch.zeros(100)}}, tmp_path / "whole.pth")
    assert set(load_without_code(whole)["model"]) == {"a", "b"}
    path = tmp_path / "lying.pth"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("data.pkl"):
                # The number of values stands in the storage's and in the tensor's description.
                assert content.count(b"K\x04") == 2
                content = content.replace(b"K\x04", b"K\x34")
            target.writestr(name, content)
    with pytest.raises(CamsegError, match="a tensor claims 208 bytes, and no part of the file has"):
        load_without_code(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": torch.zeros(1).expand(10**9)},  # four bytes for a shape of 4 GB
        dict.fromkeys(map(str, range(5000)), torch.zeros(10**5)),
    ],
    ids=["without steps", "many views"],
)
def test_tensors_that_need_far_more_memory_than_their_file_are_refused(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    path = save({"model": tensors}, tmp_path / "a.pth")
    with pytest.raises(CamsegError, match="its tensors need [24].0 GB, and the file has 0.0$"):
        load_without_code(path)


def test_a_compressed_file_is_refused_before_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", pickle.PROTO + b"\x02" + b"(" * 10**7)
        file.writestr("archive/version", "3\n")
    with pytest.raises(CamsegError, match="is compressed, which torch never does"):
        load_without_code(path)
