# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import sys

import jinja2
import pytest

from camseg_core.errors import CamsegError
from camseg_core.evaluation.report.page import data_uri, moment, number, page_environment, percent

PACKAGE, TEMPLATE = "camseg_core.evaluation.report", "report.html.j2"


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (percent(0.43216, 2), "43.22"),
        (percent(1.0, 1), "100.0"),
        (percent(0.5, 0), "50"),
        (percent(None, 1), "–"),
        (number(1.23456), "1.235"),
        (number(-2.0, 1), "-2.0"),
        (number(None), "–"),
        (moment("2026-01-02T03:04:05+00:00"), "2026-01-02 03:04 UTC"),
        (moment("2026-01-02T03:04:59.123456+01:30"), "2026-01-02 03:04 UTC+01:30"),
        (moment("2026-01-02 03:04:05"), "2026-01-02 03:04"),
        (moment("yesterday"), "yesterday"),
    ],
)
def test_numbers_and_times_as_text(shown: str, text: str) -> None:
    assert shown == text


def test_a_picture_as_uri() -> None:
    head, _, tail = data_uri("png", b"\x89PNG\r\n").partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(tail) == b"\x89PNG\r\n"


def test_templates_know_the_filters_and_the_style_and_escape() -> None:
    environment = page_environment(PACKAGE, TEMPLATE)
    assert sorted(environment.list_templates()) == ["report.css", TEMPLATE]
    text = (
        "{{ x }} {{ 0.5 | percent }} {{ 0.5 | percent(0) }} {{ none | number }} {{ 2 | number(1) }}"
    )
    shown = environment.from_string(text).render(x="<b>&\"'")
    assert shown == "&lt;b&gt;&amp;&#34;&#39; 50.00 50 – 2.0"
    assert environment.from_string("{{ 'x' | moment }}").render() == "x"
    style = environment.from_string('{% include "report.css" %}').render()
    assert "--" in style
    assert "&lt;" not in style
    with pytest.raises(jinja2.UndefinedError, match="'x' is undefined"):
        environment.from_string("{{ x }}").render()


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(CamsegError, match=f"the report needs {library}, which is not installed; "):
        page_environment(PACKAGE, TEMPLATE)
