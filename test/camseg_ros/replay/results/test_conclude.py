# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_replay import ACCURACY, CLASS_IOU, FACTS, LIVE, ROW, made_drive

from camseg_core.errors import BAD_INPUT, FAILED_CHECK
from camseg_ros.replay.results.conclude import conclude, live_lines, write_summary
from camseg_ros.replay.results.drives import DriveResult
from camseg_ros.replay.results.gates import Bounds, Gate, GateOutcome, known_figures
from camseg_ros.replay.results.live_result import LiveResult

DRIVE = made_drive(with_truth=5, truth=5)
LIVE_FACTS = replace(FACTS, mode="live")
(CAMERA,) = LIVE.cameras.values()
GOOD = Gate("mean_iou", Bounds(min=0.5))
BAD = Gate("latency_p99_ms", Bounds(max=80.0))
LINES = [
    "left: played 100, in 90 = out 60 + dropped 27 + refused 3 (10 lost in DDS before it); "
    "latency p50 62 ms, p95 72 ms, p99 82 ms",
    "left: on 60 frames that came out: mIoU 54.32, pixel accuracy 90.00, ECE 2.00",
]


def conclude_live(
    out: Path, *gates: Gate, live: LiveResult = LIVE, drive: DriveResult = DRIVE
) -> int:
    drive.write(out)
    return conclude(out, LIVE_FACTS, gates, live)


def test_page_figures_and_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude_live(tmp_path) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [*LINES, str(tmp_path / "replay.html")]
    assert printed.err == ""
    assert json.loads((tmp_path / "replay.json").read_bytes())["mode"] == "live"
    assert "Live replay" in (tmp_path / "replay.html").read_text()
    assert not (tmp_path / "junit.xml").exists()
    conclude(tmp_path, replace(LIVE_FACTS, is_random=True), live=LIVE)
    assert "RANDOM WEIGHTS" in (tmp_path / "replay.html").read_text()


def test_gates_decide_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude_live(tmp_path, GOOD) == 0
    assert "gate mean_iou passed: left: it is 0.5432" in capsys.readouterr().out
    assert conclude_live(tmp_path, GOOD, BAD) == FAILED_CHECK
    printed = capsys.readouterr()
    assert "gate mean_iou passed" in printed.out
    assert printed.err == (
        "gate latency_p99_ms FAILED: left: it is 81.5, at most 80 is asked for\n"
    )
    assert 'failures="1"' in (tmp_path / "junit.xml").read_text()
    assert len(json.loads((tmp_path / "replay.json").read_bytes())["gates"]) == 2


def test_broken_promises_and_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = replace(LIVE, problems=["left: no mask came back"])
    assert conclude_live(tmp_path, GOOD, live=broken) == FAILED_CHECK
    assert capsys.readouterr().err == "camseg: left: no mask came back\n"
    late = replace(LIVE, shortfall="the budget was not kept")
    assert conclude_live(tmp_path, GOOD, live=late) == 0  # no promise: the node told it
    assert capsys.readouterr().err == "camseg: note: The budget was not kept.\n"
    assert "<li>The budget was not kept.</li>" in (tmp_path / "replay.html").read_text()
    cut = replace(DRIVE, loss="damaged: cut off")
    assert conclude_live(tmp_path, BAD, live=broken, drive=cut) == BAD_INPUT
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "camseg: note: 0002 is damaged: cut off."
    assert errors[-1] == "camseg: left: no mask came back"


@pytest.mark.parametrize(
    ("drive", "problem"),
    [
        (replace(DRIVE, frames=[]), "0002: no frame came out"),
        (
            made_drive(with_truth=0, truth=5, truth_refused=2),
            "0002: it holds ground truth (7 images), and no frame was scored",
        ),
    ],
)
def test_a_replay_that_scored_nothing_has_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], drive: DriveResult, problem: str
) -> None:
    assert conclude_live(tmp_path, GOOD, drive=drive) == FAILED_CHECK
    assert capsys.readouterr().err.splitlines()[-1] == f"camseg: {problem}"


def test_lines_without_truth_and_of_another_player() -> None:
    camera = replace(CAMERA, played=0, latency_ms={}, accuracy={"frames": 0})
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
        "left: on 60 of the 70 frames that came out: mIoU 54.32, pixel accuracy 90.00, ECE 2.00",
    ]
    unclear = {"mean_iou": None, "pixel_accuracy": 0.5, "calibration_error": None, "frames": 3}
    undefined = replace(CAMERA, frames=3, accuracy=unclear)
    *_, line = live_lines(replace(LIVE, cameras={"left": undefined}))
    assert line == "left: on 3 frames that came out: mIoU -, pixel accuracy 50.00, ECE -"


OUTCOMES = [
    GateOutcome(Gate("mean_iou", Bounds(min=0.4)), "kitti-step val", 0.4321),
    GateOutcome(Gate("flicker", Bounds(max=0.01)), "kitti-step val", None),
]


def test_the_figures_of_an_offline_replay(tmp_path: Path) -> None:
    drive = replace(made_drive(refused=2), loss="damaged: x")
    path = write_summary(tmp_path, FACTS, [drive], [ACCURACY], OUTCOMES)
    assert path == tmp_path / "replay.json"
    content = json.loads(path.read_bytes())
    (found,) = content.pop("drives")
    assert found.pop("counts")["left"]["refused"] == 2
    assert found == {"name": "0002", "frames": 5, "loss": "damaged: x", "flicker": 0.02}
    (accuracy,) = content.pop("accuracy")
    assert accuracy["rows"] == [ROW]
    assert accuracy["class_iou"] == CLASS_IOU
    assert content == {
        "mode": "offline",
        "weights": "demo.safetensors",
        "weights_sha256": "ab" * 32,
        "is_random": False,
        "label_set": "cityscapes",
        "sampling": "steps 1",
        "live": None,
        "gates": [
            {
                "subject": "kitti-step val", "figure": "mean_iou", "min": 0.4, "max": None,
                "value": 0.4321, "passed": True,
            },
            {
                "subject": "kitti-step val", "figure": "flicker", "min": None, "max": 0.01,
                "value": None, "passed": False,
            },
        ],
    }  # fmt: skip


def test_the_figures_of_a_live_replay(tmp_path: Path) -> None:
    path = write_summary(tmp_path, LIVE_FACTS, [made_drive()], live=LIVE)
    camera = json.loads(path.read_bytes())["live"]["cameras"]["left"]
    assert camera["counts"] == {"in": 90, "out": 60, "dropped": 27, "refused": 3}
    assert camera["latency_ms"] == {"p50": 61.5, "p95": 71.5, "p99": 81.5}
    accuracy = camera["accuracy"]
    assert (accuracy["frames"], accuracy["mean_iou"]) == (60, 0.5432)
    assert accuracy["class_iou"] == {"road": 0.9}


def test_drops_are_of_what_entered_the_node_and_losses_of_what_was_played() -> None:
    assert (CAMERA.drop_rate, CAMERA.lost_in_dds) == (27 / 90, 10)
    assert replace(CAMERA, counts={**CAMERA.counts, "in": 0}).drop_rate is None
    assert replace(CAMERA, played=80).lost_in_dds == 0  # others played, too


def test_figures_for_gates() -> None:
    (figures,) = LIVE.figures().values()
    known = {n: v for n, v in figures.items() if n.partition(".")[0] in known_figures()}
    del known["class_iou"]
    assert known == {
        "mean_iou": 0.5432,
        "pixel_accuracy": 0.9,
        "calibration_error": 0.02,
        "drop_rate": 0.3,
        "latency_p50_ms": 61.5,
        "latency_p95_ms": 71.5,
        "latency_p99_ms": 81.5,
        "age_p99_ms": 70.5,
        "class_iou.road": 0.9,
    }


def test_where_another_player_plays_latency_is_the_node_s() -> None:
    camera = replace(CAMERA, latency_ms={})
    live = replace(LIVE, cameras={"a": camera, "b": CAMERA}, node_ms={"latency": {"p95": 44.0}})
    figures = live.figures()
    assert figures["a"]["latency_p95_ms"] == 44.0
    assert "latency_p99_ms" not in figures["a"]
    assert figures["a"]["age_p99_ms"] is None
    assert figures["b"]["latency_p95_ms"] == 71.5
