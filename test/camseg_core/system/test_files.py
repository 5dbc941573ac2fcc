# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent, whatever goes wrong on the way."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camseg_core.errors import CamsegError
from camseg_core.system.files import (
    atomic_path,
    new_folder,
    parse_yaml,
    read_yaml,
    sha256_of_file,
    write_bytes,
)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_write_bytes_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    write_bytes(path, b"one")
    assert path.read_bytes() == b"one"
    write_bytes(path, b"")
    assert path.read_bytes() == b""
    write_bytes(path, bytes(range(256)) * 5000)
    assert path.read_bytes() == bytes(range(256)) * 5000
    assert names_in(path.parent) == ["file.bin"]


def test_the_temporary_is_beside_the_file_hidden_and_of_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".png"
        assert temporary.name.startswith(".")
        assert not temporary.exists()
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["picture.png"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_path(path) as first, atomic_path(path) as second:
        assert first != second
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), CamsegError("own")])
@pytest.mark.parametrize("had_written", [True, False])
def test_an_error_inside_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, error: BaseException, had_written: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(error)) as caught, atomic_path(path) as temporary:
        if had_written:
            temporary.write_bytes(b"half")
        raise error
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with (
        pytest.raises(
            CamsegError, match=rf"^cannot write {re.escape(str(path))}: No space left on device$"
        ),
        atomic_path(path) as temporary,
    ):
        temporary.write_bytes(b"half")
        Path("/dev/full").write_bytes(b"the other half")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("regular/file", "(Not a directory|File exists)"),
        ("regular/folder/file", "(Not a directory|File exists)"),
        ("folder", "Is a directory"),
        ("n" * 300, "File name too long"),
        (".", "that is a folder, a file name is needed"),
        ("/", "that is a folder, a file name is needed"),
    ],
)
def test_a_path_that_no_file_can_have_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "regular").write_bytes(b"old")
    with pytest.raises(CamsegError, match=f"^cannot write {re.escape(name)}: {reason}"):
        write_bytes(Path(name), b"new")
    assert (tmp_path / "regular").read_bytes() == b"old"
    assert names_in(tmp_path) == ["folder", "regular"]


def test_a_name_of_the_greatest_length_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")  # 255 bytes
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_nothing_written_is_an_error_not_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(CamsegError, match="^cannot write .*: No such file"), atomic_path(path):
        pass
    assert names_in(tmp_path) == []


def test_sha256_of_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"abc", bytes(1024 * 1024 + 1)):
        path.write_bytes(content)
        assert sha256_of_file(path) == hashlib.sha256(content).hexdigest()


def test_sha256_of_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CamsegError, match=f"^cannot read {tmp_path / 'none'}: No such file"):
        sha256_of_file(tmp_path / "none")
    with pytest.raises(CamsegError, match=f"^cannot read {tmp_path}: Is a directory"):
        sha256_of_file(tmp_path)


# --- YAML ---


def test_plain_data(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb: [x, 0.5, null]\nc: {d: true}\n")
    assert read_yaml(path) == {"a": 1, "b": ["x", 0.5, None], "c": {"d": True}}
    assert parse_yaml("80", "--set") == 80


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a: 1\na: 2", "^here, line 2: not YAML: key 'a' stands twice$"),
        ("b: {a: 1, a: 2}", "^here, line 1: not YAML: key 'a' stands twice$"),
        ("a: [", "^here, line 1: not YAML: expected the node content"),
        ("a: 2020-13-45", "^here: not YAML: month must be in 1..12$"),
        ("[1, 2]: 3", "^here(, line 1)?: not YAML: "),
        (5000 * "[", "^here(, line 1)?: not YAML: "),
        ("a: " + 5000 * "1", "^here: not YAML: Exceeds the limit"),
        ("!!python/object:os.system {}", "^here, line 1: not YAML: could not determine"),
    ],
)
def test_what_is_not_yaml(text: str, rule: str) -> None:
    with pytest.raises(CamsegError, match=rule) as caught:
        parse_yaml(text, "here")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CamsegError, match=r"^cannot read .*absent\.yaml: No such file"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CamsegError, match=r"bytes\.yaml: not YAML: "):
        read_yaml(tmp_path / "bytes.yaml")


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_anything_is_data_or_one_line(content: bytes | str) -> None:
    try:
        parse_yaml(content, "here")
    except CamsegError as error:
        assert "\n" not in str(error)


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    with pytest.raises(RuntimeError), new_folder(target) as unfinished:
        (unfinished / "half").write_bytes(b"1")
        assert not target.exists()
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    target.mkdir()  # an empty one may be there
    with new_folder(target) as unfinished:
        (unfinished / "whole").write_bytes(b"12")
    assert (target / "whole").read_bytes() == b"12"
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(CamsegError, match="folder is not empty"), new_folder(target):
        pass
    with pytest.raises(CamsegError, match="whole is not empty"), new_folder(target / "whole"):
        pass
