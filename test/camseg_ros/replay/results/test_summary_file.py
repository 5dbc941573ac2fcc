# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path

from made_replay import ACCURACY, CLASS_IOU, FACTS, LIVE, ROW, made_drive

from camseg_ros.replay.results.gates import Gate, GateOutcome
from camseg_ros.replay.results.summary_file import offline_figures, write_summary

OUTCOMES = [
    GateOutcome(Gate("mean_iou", 0.4, None), "kitti-step val", 0.4321),
    GateOutcome(Gate("flicker", None, 0.01), "kitti-step val", None),
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
    assert accuracy["rows"] == [
        {
            "dataset": "kitti-step val",
            "part": "",
            "condition": None,
            "sequence": None,
            "frames": 7,
            "mean_iou": 0.4321,
            "pixel_accuracy": 0.8765,
            "calibration_error": 0.0123,
            "flicker": 0.0456,
        }
    ]
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


def test_the_figures_of_a_live_replay_and_the_same_bytes_twice(tmp_path: Path) -> None:
    arguments = (replace(FACTS, mode="live", weights_sha256=None), [made_drive()], [], [], LIVE)
    content = write_summary(tmp_path, *arguments).read_bytes()
    assert write_summary(tmp_path, *arguments).read_bytes() == content
    live = json.loads(content)["live"]
    assert live["cameras"]["left"]["counts"] == {"in": 90, "out": 60, "dropped": 27, "refused": 3}
    assert live["cameras"]["left"]["latency_ms"] == {"p50": 61.5, "p95": 71.5, "p99": 81.5}
    assert live["cameras"]["left"]["accuracy"]["mean_iou"] == 0.5432
    assert (live["steps"], live["rate"], live["problems"]) == (4, 2.0, [])
    assert json.loads(content)["gates"] == []


def test_gates_know_data_sets_by_name_and_part() -> None:
    adverse = replace(ACCURACY, part="adverse", rows=(replace(ROW, mean_iou=None), ROW))
    figures = offline_figures([ACCURACY, adverse])
    assert list(figures) == ["kitti-step val", "kitti-step val adverse"]
    found = dict(figures["kitti-step val"])
    classes = {name: found.pop(f"class_iou.{name}") for name in CLASS_IOU}
    assert classes == CLASS_IOU
    assert found == {
        "mean_iou": 0.4321, "pixel_accuracy": 0.8765, "calibration_error": 0.0123,
        "flicker": 0.0456,
    }  # fmt: skip
    assert figures["kitti-step val adverse"]["mean_iou"] is None
