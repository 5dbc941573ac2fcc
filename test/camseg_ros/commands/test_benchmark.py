# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from camseg_core.cli import main
from camseg_ros.benchmark import node_benchmark

TINY = ["--weights", "random:tiny", "--seconds", "2", "--size", "64x32"]


def test_overload_plays_faster_than_the_node_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "node.json"
    how = ["--set", "steps=30", "--overload", "3", "--cameras", "2"]
    assert main(["benchmark", "node", *TINY, *how, "--json", str(out)]) == 0
    content = json.loads(out.read_text(encoding="utf-8"))
    settings, node_ms = content["settings"], content["node_ms"]
    assert settings["parameters"] == {"weights": "random:tiny", "steps": 30}
    assert settings["rate_hz"] > 2.0 / (node_ms["processing"]["p99"] / 1000)
    assert sorted(content["cameras"]) == ["camera_0", "camera_1"]
    for camera in content["cameras"].values():
        assert camera["played"] == max(2, round(2 * settings["rate_hz"]))
        assert camera["in"] == camera["out"] + camera["dropped"] + camera["refused"]
        assert 0 < camera["masks_received"] <= camera["out"]
        assert camera["dropped"] > 0
        assert 0.0 < camera["latency_ms"]["p50"] <= camera["latency_ms"]["p99"]
        isaac = camera["ros2_benchmark"]
        missed = camera["played"] - camera["masks_received"]
        assert isaac["BasicPerformanceMetrics.NUM_MISSED_FRAMES"] == missed
        assert isaac["BasicPerformanceMetrics.MEAN_LATENCY"] > 0.0
    assert content["steps"] == 30
    assert content["problems"] == []
    assert content["process"]["memory_mib_most"] >= content["process"]["memory_mib_first"] > 50.0
    assert node_ms["processing"]["p50"] >= node_ms["denoiser"]["p50"]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"camera_0: played {camera['played']} at ")
    assert "node: age at output p50 " in said[2]
    assert said[-1] == str(out)


def test_json_prints_all_figures_and_problems_decide_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {"problems": ["camera: no mask came back"]}
    monkeypatch.setattr(node_benchmark, "run_node_benchmark", lambda *_: result)
    assert main(["benchmark", "node", "--seconds", "1", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["problems"] == result["problems"]
    assert printed.err == "camseg: camera: no mask came back\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rate", "0"], "--rate is 0.0; a number above 0 is needed"),
        (["--seconds", "nan"], "--seconds is nan; a number above 0 is needed"),
        (["--overload", "-1"], "--overload is -1.0; a number above 0 is needed"),
        (["--cameras", "0"], "--cameras is 0; at least 1 is needed"),
        (["--size", "64x8"], "--size is 64x8; at least 16x16 is needed"),
        (["--set", "steps"], "--set 'steps': NAME=VALUE is needed"),
        (["--set", "stepz=3"], "segment_node has no parameter stepz; did you mean 'steps'?"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "node", *arguments]) == 2
    assert capsys.readouterr().err.splitlines() == [f"camseg: {told}"]
