# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camseg_core.errors import CamsegError
from camseg_core.system.files import parse_yaml, read_yaml


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
