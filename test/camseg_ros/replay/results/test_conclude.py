# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_replay import LIVE, made_drive

from camseg_core.errors import BAD_INPUT, FAILED_CHECK
from camseg_core.labels import CITYSCAPES
from camseg_ros.replay.results.conclude import conclude_live, live_lines
from camseg_ros.replay.results.gates import Gate
from camseg_ros.replay.results.live_result import LiveAccuracy, LiveReplay

FOUND = LiveReplay(made_drive(with_truth=5, truth=5), LIVE, CITYSCAPES, "ab" * 32)
(CAMERA,) = LIVE.cameras.values()
GOOD = Gate("mean_iou", 0.5, None)
BAD = Gate("latency_p99_ms", None, 80.0)
LINES = [
    "left: played 100, in 90 = out 60 + dropped 27 + refused 3 (10 lost in DDS before it); "
    "latency p50 62 ms, p95 72 ms, p99 82 ms",
    "left: on 60 frames that came out: mIoU 54.32, pixel accuracy 90.00, calibration error 2.00",
]


def conclude(out: Path, found: LiveReplay = FOUND, *gates: Gate, weights: str = "demo") -> int:
    return conclude_live(out, found, weights, "profile balanced", gates)


def test_page_figures_and_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(tmp_path, weights="/a/b/model.safetensors") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [*LINES, str(tmp_path / "replay.html")]
    assert printed.err == ""
    content = json.loads((tmp_path / "replay.json").read_bytes())
    assert (content["mode"], content["is_random"]) == ("live", False)
    assert (content["weights"], content["weights_sha256"]) == ("model.safetensors", "ab" * 32)
    assert content["sampling"] == "profile balanced"
    assert "Live replay" in (tmp_path / "replay.html").read_text()
    assert not (tmp_path / "junit.xml").exists()


def test_random_weights_are_told(tmp_path: Path) -> None:
    assert conclude(tmp_path, replace(FOUND, weights_sha256=""), weights="random:tiny") == 0
    content = json.loads((tmp_path / "replay.json").read_bytes())
    assert (content["weights"], content["weights_sha256"]) == ("random:tiny", None)
    assert content["is_random"] is True
    assert "RANDOM WEIGHTS" in (tmp_path / "replay.html").read_text()


def test_gates_decide_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(tmp_path, FOUND, GOOD) == 0
    assert "gate mean_iou passed: left: it is 0.5432" in capsys.readouterr().out
    assert conclude(tmp_path, FOUND, GOOD, BAD) == FAILED_CHECK
    printed = capsys.readouterr()
    assert "gate mean_iou passed" in printed.out
    assert printed.err == (
        "gate latency_p99_ms FAILED: left: it is 81.5, at most 80 is asked for\n"
    )
    assert 'failures="1"' in (tmp_path / "junit.xml").read_text()
    assert len(json.loads((tmp_path / "replay.json").read_bytes())["gates"]) == 2


def test_broken_promises_and_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = replace(FOUND, live=replace(LIVE, problems=["left: no mask came back"]))
    assert conclude(tmp_path, broken, GOOD) == FAILED_CHECK
    assert capsys.readouterr().err == "camseg: left: no mask came back\n"
    cut = replace(broken, drive=replace(FOUND.drive, loss="damaged: cut off"))
    assert conclude(tmp_path, cut, BAD) == BAD_INPUT
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "camseg: note: 0002 is damaged: cut off."
    assert errors[-1] == "camseg: left: no mask came back"


def test_lines_without_truth_and_of_another_player() -> None:
    silent = LiveAccuracy(0, None, None, None, {})
    camera = replace(CAMERA, played=0, latency_ms={}, accuracy=silent)
    live = replace(LIVE, cameras={"rear": camera}, node_ms={"latency": {"p95": 44.4}})
    assert list(live_lines(live)) == [
        "rear: in 90 = out 60 + dropped 27 + refused 3; latency p95 44 ms"
    ]
    unheard = replace(LIVE, cameras={"rear": camera}, node_ms={})
    assert list(live_lines(unheard)) == [
        "rear: in 90 = out 60 + dropped 27 + refused 3; latency not measured"
    ]
    partly = replace(CAMERA, frames=70, counts={**CAMERA.counts, "in": 97})
    assert list(live_lines(replace(LIVE, cameras={"left": partly}))) == [
        "left: played 100, in 97 = out 60 + dropped 27 + refused 3 (3 lost in DDS before it); "
        "latency p50 62 ms, p95 72 ms, p99 82 ms",
        "left: on 60 of the 70 frames that came out: mIoU 54.32, pixel accuracy 90.00, "
        "calibration error 2.00",
    ]
    undefined = replace(CAMERA, frames=3, accuracy=LiveAccuracy(3, None, 0.5, None, {}))
    assert list(live_lines(replace(LIVE, cameras={"left": undefined})))[1] == (
        "left: on 3 frames that came out: mIoU -, pixel accuracy 50.00, calibration error -"
    )
