# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from camseg_core.cli import main

TINY = ["--weights", "random:tiny", "--seconds", "2", "--width", "64", "--height", "32"]


def test_figures_of_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "node.json"
    arguments = [*TINY, "--cameras", "2", "--set", "steps=3", "max_batch_size=1", "--out", str(out)]
    assert main(["benchmark", "node", *arguments]) == 0
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["settings"]["parameters"] == {
        "weights": "random:tiny",
        "steps": 3,
        "max_batch_size": 1,
    }
    assert sorted(content["cameras"]) == ["camera_0", "camera_1"]
    for camera in content["cameras"].values():
        assert camera["played"] == 20
        assert camera["in"] == camera["out"] + camera["dropped"] + camera["refused"]
        assert 0 < camera["masks_received"] <= camera["out"] <= 20
        assert 0.0 < camera["latency_ms"]["p50"] <= camera["latency_ms"]["p99"]
    assert content["steps"] == 3
    assert content["problems"] == []
    assert content["process"]["memory_mib_most"] >= content["process"]["memory_mib_first"] > 50.0
    assert content["node_ms"]["processing"]["p50"] >= content["node_ms"]["denoiser"]["p50"]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("camera_0: played 20 at 10 Hz, in ")
    assert said[-1] == str(out)


def test_overload_plays_faster_than_the_node_is(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*TINY, "--set", "steps=100", "samples=2", "--overload", "3"]
    assert main(["benchmark", "node", *arguments]) == 0
    content = json.loads(capsys.readouterr().out)
    camera = content["cameras"]["camera"]
    assert camera["dropped"] > 0
    assert content["settings"]["rate_hz"] > 2.0 / (content["node_ms"]["processing"]["p99"] / 1000)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rate", "0"], "--rate is 0.0; a number above 0 is needed"),
        (["--seconds", "nan"], "--seconds is nan; a number above 0 is needed"),
        (["--overload", "-1"], "--overload is -1.0; a number above 0 is needed"),
        (["--cameras", "0"], "--cameras is 0; at least 1 is needed"),
        (["--height", "8"], "--height is 8; at least 16 is needed"),
        (["--set", "steps"], "--set 'steps': NAME=VALUE is needed"),
        (["--set", "stepz=3"], "segment_node has no parameter stepz"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "node", *arguments]) == 2
    assert capsys.readouterr().err.splitlines() == [f"camseg: {told}"]
