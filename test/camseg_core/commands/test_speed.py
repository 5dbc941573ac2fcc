# SPDX-License-Identifier: Apache-2.0
"""``camseg benchmark speed``: a table, a file and a plot; what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from camseg_core.cli import main

TINY = ["benchmark", "speed", "--weights", "random:tiny", "--repeats", "1", "--threads", "1"]


def test_table_file_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, plot = tmp_path / "speed.json", tmp_path / "speed.svg"
    assert main([*TINY, "--ways", "exact,fast", "--json", str(numbers), "--plot", str(plot)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows[2:4]] == ["| exact", "| fast"]
    assert [way["name"] for way in json.loads(numbers.read_text())["ways"]] == ["exact", "fast"]
    shown = "".join(ElementTree.parse(plot).getroot().itertext())
    assert "images a second" in shown


def test_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--sweep", "fast", "--cameras", "1,2", "--size", "64x32,32x32"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows[2:6]] == [
        f"| {size}, steps 1, cameras {cameras}, threads 1"
        for size in ("64 x 32", "32 x 32")
        for cameras in (1, 2)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--repeats", "0"], "--repeats is 0; at least 1 is needed"),
        (["--cameras", "0"], "--cameras is 0; at least 1 is needed"),
        (["--cameras", "1,2"], "need --sweep PROFILE"),
        (["--steps", "4"], "need --sweep PROFILE"),
        (["--size", "64x32"], "need --sweep PROFILE"),
        (["--threads", "0"], "--threads is 0; 1 to 1024 are possible"),
        (["--sweep", "fast", "--ways", "exact"], "no --ways, --image or --providers"),
        (["--sweep", "fast", "--size", "65x32"], "stride"),
        (["--plot", "speed.jpeg"], "--plot is speed.jpeg: a name that ends in .svg, .png, .pdf"),
        (["--ways", "slow"], "unknown way 'slow'; these weights have published, exact, "),
        (["--image", "none.png"], "none.png"),
    ],
)
def test_what_is_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, *options]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert "Traceback" not in errors
