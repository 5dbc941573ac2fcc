# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent, whatever goes wrong on the way."""

from __future__ import annotations

import hashlib
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camseg_core.errors import CamsegError
from camseg_core.system.files import atomic_path, parse_yaml, read_yaml, sha256_of_file, write_bytes


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@contextmanager
def files_no_larger_than(limit: int) -> Iterator[None]:
    """Let the system refuse larger files, as it does where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_write_bytes_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    write_bytes(path, b"one")
    assert path.read_bytes() == b"one"
    write_bytes(path, b"")
    assert path.read_bytes() == b""
    write_bytes(path, bytes(range(256)) * 5000)
    assert path.read_bytes() == bytes(range(256)) * 5000
    assert names_in(path.parent) == ["file.bin"]


def test_who_reads_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_bytes(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


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


def test_a_refused_large_file_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with (
        files_no_larger_than(4096),
        pytest.raises(CamsegError, match=rf"^cannot write {re.escape(str(path))}: File too large$"),
    ):
        write_bytes(path, bytes(100_000))
    assert names_in(tmp_path) == []


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "regular").write_bytes(b"old")
    for path in (tmp_path / "regular" / "file", tmp_path / "regular" / "folder" / "file"):
        with pytest.raises(
            CamsegError, match=rf"^cannot write {re.escape(str(path))}: (Not a directory|File exis)"
        ):
            write_bytes(path, b"new")
    assert (tmp_path / "regular").read_bytes() == b"old"


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(CamsegError, match=rf"^cannot write {re.escape(str(path))}: Is a directory"):
        write_bytes(path, b"new")
    assert names_in(tmp_path) == ["folder"]


def test_a_name_of_the_greatest_length_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")  # 255 bytes
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["n" * 300, ".", "/"])
def test_a_name_that_no_file_can_have_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CamsegError, match=f"^cannot write {re.escape(name)}"):
        write_bytes(Path(name), b"new")
    assert names_in(tmp_path) == []


def test_nothing_written_is_an_error_not_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(CamsegError, match="^cannot write .*: No such file"), atomic_path(path):
        pass
    assert names_in(tmp_path) == []


def test_sha256_of_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert (
        sha256_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    path.write_bytes(b"")
    assert (
        sha256_of_file(path) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    large = bytes(1024 * 1024 + 1)
    path.write_bytes(large)
    assert sha256_of_file(path) == hashlib.sha256(large).hexdigest()


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
