# SPDX-License-Identifier: Apache-2.0
"""Content against dataclasses: what is taken, and how what is refused is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camseg_core.errors import CamsegError
from camseg_core.system.validation import parse, parse_json


@dataclass(frozen=True)
class Bound:
    low: float
    name: str = "x"

    def __post_init__(self) -> None:
        if self.low < 0:
            raise CamsegError(f"low is {self.low}; 0 or more is needed")


@dataclass(frozen=True)
class Settings:
    bounds: dict[str, Bound]
    sizes: tuple[int, ...] = ()
    mode: Literal["a", "b"] = "a"
    first: Bound | None = None
    counts: list[int] = field(default_factory=list)


@given(
    st.dictionaries(st.text(max_size=5), st.builds(Bound, st.floats(0, 1e9), st.text(max_size=5))),
    st.lists(st.integers(-(2**60), 2**60)).map(tuple),
)
def test_what_a_dataclass_holds_comes_back(bounds, sizes):
    settings = Settings(bounds, sizes, "b", Bound(1.5), [3])
    assert parse(Settings, asdict(settings), "file") == settings


def test_a_whole_number_is_a_number():
    assert parse(Bound, {"low": 2}, "file").low == 2.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"bounds": {}, "sizes": [1, "2"]},
            r'f.yaml: sizes\[1\] is "2": input should be a valid int',
        ),
        ({"bounds": {}, "sizes": [1.5]}, r"f.yaml: sizes\[0\] is 1.5: .*integer"),
        ({"bounds": {"q": {"low": True}}}, r"f.yaml: bounds.q.low is true: .*number"),
        ({"bounds": {"q": {"low": -1}}}, r"f.yaml: bounds.q: low is -1.0; 0 or more is needed"),
        (
            {"bounds": {"q": {"low": 1, "lo": 2}}},
            r"f.yaml: bounds.q.lo is not known; known are low, n",
        ),
        ({"bounds": {}, "first": {"hi": 2, "low": 1}}, r"first.hi is not known; known are low, n"),
        ({"bounds": {"q": {}}}, r"f.yaml: bounds.q.low is missing"),
        ({"bounds": {}, "mode": "c"}, r"""f.yaml: mode is "c": input should be 'a' or 'b'"""),
        ([], r"f.yaml: the content is \[\]: input should be an object"),
        (None, r"f.yaml: the content is null: input should be an object"),
        (
            {"bounds": {}, "sizes": "9" * 500},
            r'f.yaml: sizes is "9{50,60}\.\.\. \(502 characters\): ',
        ),
        ({"bounds": {}, "mode": "c", "sizes": 3}, r"\(and 1 more\)$"),
        ({"bounds": {1j: 2}}, r"f.yaml: only plain values are allowed"),
    ],
)
def test_what_is_wrong_is_told_with_its_path_in_one_line(content, message):
    with pytest.raises(CamsegError, match=message) as caught:
        parse(Settings, content, "f.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", '{"low": 1} {"low": 2}', "\x00", '{"low": 1}, {"low": 2}']
)
def test_text_that_is_no_json_is_refused(text):
    with pytest.raises(CamsegError, match="f.json: "):
        parse_json(Bound, text, "f.json")
