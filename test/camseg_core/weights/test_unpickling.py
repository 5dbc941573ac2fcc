# SPDX-License-Identifier: Apache-2.0
"""Checkpoints are read without running anything from them, and damaged ones are refused."""

from __future__ import annotations

import argparse
import builtins
import collections
import enum
import functools
import importlib
import os
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from camseg_core.errors import CamsegError
from camseg_core.weights.unpickling import is_torch_file, load_without_code

FORMATS = {"zip": True, "legacy": False}


def save(content: Any, path: Path, format_name: str = "zip", protocol: int = 2) -> Path:
    torch.save(
        content,
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=FORMATS[format_name],
    )
    return path


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
    }


def legacy_file(path: Path, body: bytes) -> Path:
    """Write a file of torch's old format around a pickle that is written by hand."""
    head = (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {})
    path.write_bytes(b"".join(pickle.dumps(item, 2) for item in head) + body + pickle.dumps([], 2))
    return path


def text(value: str) -> bytes:
    encoded = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("format_name", FORMATS)
def test_what_a_checkpoint_holds_comes_back(
    tmp_path: Path, format_name: str, protocol: int
) -> None:
    path = save(small_checkpoint(), tmp_path / "file", format_name, protocol)
    assert is_torch_file(path)
    content = load_without_code(path)
    expected = small_checkpoint()
    assert content.keys() == expected.keys()
    assert isinstance(content["model"], collections.OrderedDict)
    for key, tensor in expected["model"].items():
        assert content["model"][key].dtype == tensor.dtype
        assert torch.equal(content["model"][key], tensor)
        assert content["model"][key].device.type == "cpu"
    assert isinstance(content["parameter"], torch.nn.Parameter)
    assert content["parameter"].item() == 1.5
    assert content["steps"].item() == 7
    assert content["args"].model == "mar_base"
    assert content["args"].sizes == (1, 2)
    assert content["epoch"] == 3
    assert content["none"] is None
    assert content["default"]["a"] == [1]


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
    tensors = content["state_dict"]
    assert any(key.startswith("loss.") for key in tensors)
    assert all(isinstance(tensor, Tensor) for tensor in tensors.values())
    assert tensors["encoder.conv_in.weight"].shape == (32, 3, 3, 3)


class Call:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class CallEx(Call):
    """The same, by the other method."""

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return self.function, self.arguments


class Holder:
    """An object whose state is stored."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


def attacks(marker: str) -> dict[str, tuple[str, Any]]:
    """Give, by name, the function that the message names and an object that calls it.

    Before protocol 4 pickles have Python 2's names (``commands.run``, ``__builtin__.eval``); the
    message has those of today.
    """
    touch = f"open({marker!r}, 'w').close()"
    return {
        "os.system": ("posix.system", Call(os.system, f"touch {marker}")),
        "os.popen": ("os.popen", Call(os.popen, f"touch {marker}")),
        "eval": ("builtins.eval", Call(eval, touch)),
        "exec": ("builtins.exec", Call(exec, touch)),
        "open": ("io.open", Call(open, marker, "w")),
        "getattr": ("builtins.getattr", Call(getattr, Holder(), "__class__")),
        "__import__": ("builtins.__import__", Call(builtins.__import__, "antigravity")),
        "subprocess.Popen": ("subprocess.Popen", Call(subprocess.Popen, ["touch", marker])),
        "subprocess.run": ("subprocess.run", Call(subprocess.run, ["touch", marker])),
        "torch.hub.load": ("torch.hub.load", Call(torch.hub.load, marker, "m", "local")),
        "torch.load": ("torch.serialization.load", Call(torch.load, marker)),
        "pickle.loads": ("_?pickle.loads", Call(pickle.loads, b"N.")),
        "functools.partial": (
            "functools.partial",
            Call(functools.partial, os.system, f"touch {marker}"),
        ),
        "importlib": ("importlib.import_module", Call(importlib.import_module, "antigravity")),
        "__reduce_ex__": ("posix.system", CallEx(os.system, f"touch {marker}")),
        "a class": ("types.SimpleNamespace", Call(types.SimpleNamespace)),
    }


PLACES: dict[str, Callable[[Any], Any]] = {
    "top": lambda evil: evil,
    "value of a nested table": lambda evil: {"model": {"a": torch.ones(2), "b": {"c": evil}}},
    "key of a table": lambda evil: {evil: 1},
    "item of a list": lambda evil: {"model": [1, [evil]]},
    "item of a tuple": lambda evil: ((evil,),),
    "item of a set": lambda evil: {evil},
    "state of an object": lambda evil: {"args": argparse.Namespace(value=evil)},
    "item of an ordered table": lambda evil: collections.OrderedDict(a=evil),
    "factory of a default table": lambda evil: collections.defaultdict(list, a=evil),
    "argument of an allowed call": lambda evil: Call(dict, [("a", evil)]),
    "attribute of a parameter": lambda evil: with_attribute(
        torch.nn.Parameter(torch.ones(1)), evil
    ),
}


def with_attribute(tensor: Tensor, value: Any) -> Tensor:
    tensor.extra = value  # type: ignore[attr-defined]
    return tensor


def assert_refused(path: Path, function: str, marker: Path) -> None:
    """Refused with one line that names ``function``, a regular expression."""
    with pytest.raises(CamsegError) as caught:
        load_without_code(path)
    assert re.fullmatch(
        rf"{re.escape(str(path))} is pickled with code: it asks to call {function}, "
        r"which a checkpoint must not; nothing of it was run\. Get the file from its authors again",
        str(caught.value),
    )
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("attack", attacks(""))
def test_a_call_is_refused_by_its_name(
    tmp_path: Path, attack: str, format_name: str, protocol: int
) -> None:
    marker = tmp_path / "marker"
    function, evil = attacks(str(marker))[attack]
    path = save({"model": evil}, tmp_path / "file", format_name, protocol)
    assert_refused(path, function, marker)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("place", PLACES)
def test_a_call_is_refused_wherever_it_is(tmp_path: Path, place: str, protocol: int) -> None:
    marker = tmp_path / "marker"
    function, evil = attacks(str(marker))["os.system"]
    path = save(PLACES[place](evil), tmp_path / "file", "zip", protocol)
    assert_refused(path, function, marker)


def test_a_name_in_two_parts_is_what_the_file_with_stack_global_calls(tmp_path: Path) -> None:
    """Protocol 4 takes module and name from the stack, so that no text 'posix system' shows."""
    marker = tmp_path / "marker"
    argument = f"touch {marker}"
    body = (
        pickle.PROTO + b"\x04" + text("posix") + text("system") + pickle.STACK_GLOBAL
        + text(argument) + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP
    )  # fmt: skip
    assert_refused(legacy_file(tmp_path / "file", body), "posix.system", marker)


@pytest.mark.parametrize("opcode", [pickle.INST, pickle.OBJ])
def test_the_oldest_ways_to_call_are_refused(tmp_path: Path, opcode: bytes) -> None:
    marker = tmp_path / "marker"
    argument = text(f"touch {marker}")
    if opcode == pickle.INST:
        body = pickle.MARK + argument + pickle.INST + b"posix\nsystem\n" + pickle.STOP
    else:
        body = (
            pickle.MARK + pickle.GLOBAL + b"posix\nsystem\n" + argument + pickle.OBJ + pickle.STOP
        )
    assert_refused(legacy_file(tmp_path / "file", body), "posix.system", marker)


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
        pickle.PROTO + b"\x04" + text(module) + text(name) + pickle.STACK_GLOBAL
        + text("x") + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP
    )  # fmt: skip
    name_in_full = re.escape(f"{module}.{name}")
    assert_refused(legacy_file(tmp_path / "file", body), name_in_full, tmp_path / "marker")


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


def with_a_second_listing(archive: bytes) -> bytes:
    """Add a second central directory without ``constants.pkl``, which tells a program.

    Readers that take the directory just before the end record find the second; readers that go by
    the offset in the record, as torch does, find the first.
    """
    end = archive.rindex(b"PK\x06\x06")  # zip64's end record
    (count,) = struct.unpack_from("<Q", archive, end + 32)
    size, offset = struct.unpack_from("<QQ", archive, end + 40)
    listing = archive[offset : offset + size]
    other = listing.replace(b"constants.pkl", b"constants.pkx")
    assert other != listing
    record = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, size, offset, 0)
    return archive[:offset] + listing + other + record


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_torchscript_archive_is_refused_before_its_code_runs(
    tmp_path: Path, is_hidden: bool
) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "file.pth"
    torch.jit.save(torch.jit.script(Script(str(marker))), str(path))
    if is_hidden:
        path.write_bytes(with_a_second_listing(path.read_bytes()))
    assert not marker.exists()
    with pytest.raises(CamsegError, match=f"^{re.escape(str(path))} "):
        load_without_code(path)
    assert not marker.exists()


def test_the_oldest_format_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch before 0.1.10 wrote tar archives, which can hold links, pipes and devices."""
    unpacked: list[object] = []
    monkeypatch.setattr(
        tarfile.TarFile, "extract", lambda _self, member, *_args, **_kw: unpacked.append(member)
    )
    path = tmp_path / "file.pth"
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.SYMTYPE
            member.linkname = "/dev/null"
            archive.addfile(member)
    with pytest.raises(CamsegError, match=f"^{re.escape(str(path))} "):
        load_without_code(path)
    assert unpacked == []


CHANGING_STATE = {
    "argparse.Namespace": ("argparse", "Namespace", "__repr__"),
    "torch._utils._rebuild_tensor_v2": ("torch._utils", "_rebuild_tensor_v2", "__defaults__"),
}


@pytest.mark.parametrize("target", CHANGING_STATE)
def test_a_file_cannot_change_what_is_imported(tmp_path: Path, target: str) -> None:
    """BUILD with a state of two parts sets attributes; on a class, for the whole process."""
    module, name, attribute = CHANGING_STATE[target]
    real = getattr(sys.modules[module], name)
    before = dict(vars(real)), getattr(real, attribute)
    body = (
        pickle.PROTO + b"\x02" + pickle.GLOBAL + f"{module}\n{name}\n".encode()
        + pickle.NONE + pickle.EMPTY_DICT + text("changed_by_a_file") + pickle.NEWTRUE
        + pickle.SETITEM + pickle.TUPLE2 + pickle.BUILD + pickle.STOP
    )  # fmt: skip
    path = legacy_file(tmp_path / "file", body)
    try:
        try:
            load_without_code(path)
        except CamsegError as error:
            assert str(error).startswith(str(path))
        assert not hasattr(real, "changed_by_a_file")
        assert (dict(vars(real)), getattr(real, attribute)) == before
    finally:
        if hasattr(real, "changed_by_a_file"):
            del real.changed_by_a_file


def test_a_file_cannot_write_a_source_patch(tmp_path: Path) -> None:
    """The old format compares the source of stored modules and may write the difference."""
    target = tmp_path / "written"
    original_name = argparse.Namespace.__name__
    body = (
        pickle.PROTO + b"\x02" + pickle.GLOBAL + b"argparse\nNamespace\n" + pickle.BINPUT + b"\x00"
        + pickle.NONE + pickle.EMPTY_DICT + pickle.MARK
        + text("dump_patches") + pickle.NEWTRUE + text("__name__") + text(str(target))
        + pickle.SETITEMS + pickle.TUPLE2 + pickle.BUILD + pickle.POP
        + pickle.MARK + text("module") + pickle.BINGET + b"\x00" + text("source.py")
        + text("import os\n") + pickle.TUPLE + pickle.BINPERSID + pickle.STOP
    )  # fmt: skip
    path = legacy_file(tmp_path / "file", body)
    try:
        try:
            load_without_code(path)
        except CamsegError as error:
            assert str(error).startswith(str(path))
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
        assert argparse.Namespace.__name__ == original_name
    finally:
        argparse.Namespace.__name__ = original_name
        if hasattr(argparse.Namespace, "dump_patches"):
            del argparse.Namespace.dump_patches


class Named:
    """A class that is stored by name only."""


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

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> WithArguments:
        return super().__new__(cls)

    def __getnewargs__(self) -> tuple[int, ...]:
        return 1, 2


class WithKeywords(WithArguments):
    """The same, with keyword arguments."""

    def __getnewargs_ex__(self) -> tuple[tuple[int, ...], dict[str, int]]:
        return (1, 2), {"c": 3}


class Table(dict):  # type: ignore[type-arg]
    """A table of a class of its own, with state beside its items."""


class Row(list):  # type: ignore[type-arg]
    """A list of a class of its own."""


Point = collections.namedtuple("Point", "x y")  # what pickles hold


class Color(enum.Enum):
    """An enumeration, which pickles as a call of its class."""

    RED = 1


ABSENT = "a_package_that_is_not_installed.callbacks"
CLASSES = (
    Holder,
    Named,
    Slotted,
    WithSetState,
    WithArguments,
    WithKeywords,
    Table,
    Row,
    Point,
    Color,
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


def absent_objects() -> dict[str, Any]:
    table = Table(a=1, b=torch.ones(2))
    table.extra = [1]
    return {
        "named": Named,
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
    }


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("kind", absent_objects())
def test_objects_of_absent_classes_are_inert(
    tmp_path: Path, absent_package: pytest.MonkeyPatch, kind: str, format_name: str, protocol: int
) -> None:
    content = {"before": torch.arange(3), kind: absent_objects()[kind], "after": torch.arange(4)}
    path = save(content, tmp_path / "file", format_name, protocol)
    absent_package.undo()
    with pytest.raises(ModuleNotFoundError):
        torch.load(path, weights_only=False)
    loaded = load_without_code(path)
    assert list(loaded) == ["before", kind, "after"]
    assert torch.equal(loaded["before"], torch.arange(3))
    assert torch.equal(loaded["after"], torch.arange(4))


@pytest.mark.parametrize("format_name", FORMATS)
def test_keyword_arguments_of_a_constructor_are_inert_too(
    tmp_path: Path, absent_package: pytest.MonkeyPatch, format_name: str
) -> None:
    # Before protocol 4 they are pickled as a call of getattr, which is refused.
    path = save({"a": WithKeywords(), "b": 1}, tmp_path / "file", format_name, protocol=4)
    absent_package.undo()
    assert load_without_code(path)["b"] == 1


def test_an_inert_class_keeps_its_name_for_messages(
    tmp_path: Path, absent_package: pytest.MonkeyPatch
) -> None:
    path = save({"a": Named, "b": Holder(a=1)}, tmp_path / "file")
    absent_package.undo()
    loaded = load_without_code(path)
    assert (loaded["a"].__module__, loaded["a"].__qualname__) == (ABSENT, "Named")
    assert type(loaded["b"]).__qualname__ == "Holder"
    with pytest.raises(Exception, match=re.escape(f"{ABSENT}.Named")):
        loaded["a"]()


def test_a_call_of_an_absent_class_is_a_call(
    tmp_path: Path, absent_package: pytest.MonkeyPatch
) -> None:
    """Whether a name is a class cannot be known without importing it."""
    path = save({"a": Color.RED}, tmp_path / "file")
    absent_package.undo()
    assert_refused(path, f"{ABSENT}.Color", tmp_path / "marker")


def test_installed_classes_are_not_run_either(tmp_path: Path) -> None:
    path = tmp_path / "file"
    torch.save({"a": 1, "path": tmp_path, "module": torch.nn.Linear(2, 2)}, path)
    loaded = load_without_code(path)
    assert loaded["a"] == 1
    assert not isinstance(loaded["path"], Path)
    assert not isinstance(loaded["module"], torch.nn.Module)


def assert_unreadable(path: Path) -> None:
    with pytest.raises(CamsegError) as caught:
        load_without_code(path)
    assert str(caught.value).startswith(f"{path} cannot be read as a torch checkpoint: it is trunc")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    return {
        name: save(small_checkpoint(), folder / name, name).read_bytes() for name in FORMATS
    }  # fmt: skip


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "file"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(FORMATS)), st.floats(0.0, 1.0, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(
    good_files: dict[str, bytes], scratch: Path, format_name: str, share: float
) -> None:
    content = good_files[format_name]
    scratch.write_bytes(content[: int(share * len(content))])
    assert_unreadable(scratch)


@pytest.mark.parametrize("missing", [1, 2, 5, 22, 60])
@pytest.mark.parametrize("format_name", FORMATS)
def test_a_file_cut_near_its_end_is_refused(
    good_files: dict[str, bytes], scratch: Path, format_name: str, missing: int
) -> None:
    scratch.write_bytes(good_files[format_name][:-missing])
    assert_unreadable(scratch)


@pytest.mark.parametrize("kept", [0.001, 0.1, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("name", ["transformer.pth", "transformer_torchrun.pth", "vae.ckpt"])
def test_published_files_cut_anywhere_are_refused(
    parity: Path, scratch: Path, name: str, kept: float
) -> None:
    content = (parity / name).read_bytes()
    scratch.write_bytes(content[: int(kept * len(content))])
    assert_unreadable(scratch)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02"]), st.binary(max_size=200))
def test_bytes_of_no_meaning_are_refused(scratch: Path, start: bytes, rest: bytes) -> None:
    # A pickle may name a memo slot of up to 2^32, for which Python takes memory at once.
    scratch.write_bytes(start + rest.replace(pickle.LONG_BINPUT, b"?"))
    with pytest.raises(CamsegError, match=f"^{re.escape(str(scratch))} "):
        load_without_code(scratch)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_storage_that_is_left_out_is_refused(
    good_files: dict[str, bytes], scratch: Path, format_name: str
) -> None:
    content = good_files[format_name]
    place = len(content) // 2
    scratch.write_bytes(content[:place] + content[place + 64 :])
    assert_unreadable(scratch)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.pth"
    path.touch()
    assert not is_torch_file(path)
    assert_unreadable(path)


@pytest.mark.parametrize("name", ["none.pth", "."])
def test_no_file_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(CamsegError, match=f"^no such file: {re.escape(str(tmp_path / name))}$"):
        load_without_code(tmp_path / name)


def test_the_first_bytes_tell_a_torch_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content, expected in ((b"PK\x03\x04", True), (b"\x80\x02", True), (b"P", False)):
        path.write_bytes(content)
        assert is_torch_file(path) is expected
    with pytest.raises(CamsegError, match="^cannot read .*: No such file"):
        is_torch_file(tmp_path / "none")
