# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from camseg_core.labels import CITYSCAPES
from camseg_ros.replay.accuracy import AccuracyRow, DatasetAccuracy
from camseg_ros.replay.bag_frames import CameraCounts
from camseg_ros.replay.drive_result import DriveResult, FrameResult, read_drives
from camseg_ros.replay.gates import Gate, GateOutcome
from camseg_ros.replay.live_result import LiveAccuracy, LiveCamera, LiveResult
from camseg_ros.replay.report import ReplayFacts, replay_notes, write_report
from camseg_ros.replay.snapshots import SNAPSHOTS, Snapshots

FACTS = ReplayFacts("offline", "demo.safetensors", "ab" * 32, False, CITYSCAPES, "steps 1", 1)
ROW = AccuracyRow("kitti-step val", "", None, None, 7, 0.4321, 0.8765, 0.0123, 0.0456)
ACCURACY = DatasetAccuracy(
    "kitti-step val",
    "",
    (ROW, replace(ROW, sequence="0002", mean_iou=None)),
    dict.fromkeys(CITYSCAPES.names) | {"person": 0.3141},
)
LIVE = LiveResult(
    cameras={
        "left": LiveCamera(
            100,
            {"in": 90, "out": 60, "dropped": 27, "refused": 3},
            60,
            {"p50": 61.5, "p95": 71.5, "p99": 81.5},
            LiveAccuracy(60, 0.5432, 0.9, 0.02, {"road": 0.9}),
        )
    },
    node_ms={"age": {"p50": 50.5, "p95": 60.5, "p99": 70.5}},
    steps=4,
    rate=2.0,
    machine="a machine",
)


def drive(name: str = "0002", **counts: int) -> DriveResult:
    frames = [
        FrameResult("left", 10**9 * n, 0.9, 0.1 * n, None if n == 0 else 0.05, 100, n)
        for n in range(5)
    ]
    counted = {"left": asdict(CameraCounts(images=5, **counts))}
    return DriveResult(name, "kitti-step", "val", "", "clear", name, "", "", counted, frames)


def page(tmp_path: Path, *drives: DriveResult, facts: ReplayFacts = FACTS, **given: object) -> str:
    path = write_report(tmp_path, facts, drives, **{"accuracies": [ACCURACY], **given})  # type: ignore[arg-type]
    return path.read_text()


def test_figures_stand_in_the_page_and_it_is_the_same_twice(tmp_path: Path) -> None:
    text = page(tmp_path, drive())
    for shown in ("43.21", "87.65", "1.23", "4.56", "31.41", "demo.safetensors", "abababababab"):
        assert shown in text
    assert "<svg" in text
    assert "RANDOM" not in text
    assert "Timing" not in text
    assert page(tmp_path, drive()) == text


def test_accuracy_and_timing_are_in_tables_of_their_own(tmp_path: Path) -> None:
    text = page(tmp_path, drive(), facts=replace(FACTS, mode="live"), accuracies=[], live=LIVE)
    timing, accuracy = (
        text.partition(f'<table class="{name}">')[2].partition("</table>")[0]
        for name in ("timing", "live-accuracy")
    )
    for shown in ("61.5", "71.5", "81.5", "100", ">10<", "90", "60", "27", "3"):
        assert shown in timing
    assert "54.32" not in timing
    assert "54.32" in accuracy
    assert "71.5" not in accuracy
    assert "70.5" in text
    assert "a machine" in text
    assert "30.0 <small>%" in text  # 27 of 90 dropped


def test_what_is_inserted_is_escaped(tmp_path: Path) -> None:
    odd = replace(drive("<b>x</b>"), loss="damaged: <i>torn</i>")
    facts = replace(FACTS, weights="<u>w</u>", sampling="<s>", is_random=True)
    outcome = GateOutcome(Gate("mean_iou", 0.5, None), "<em>k</em>", 0.4)
    text = page(tmp_path, odd, facts=facts, outcomes=[outcome])
    for raw in ("<b>", "<i>", "<u>", "<s>", "<em>"):
        assert raw not in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "RANDOM WEIGHTS" in text
    assert "FAILED" in text


def test_notes_say_what_a_reader_must_know() -> None:
    counts = CameraCounts(images=9, refused=2, repeated=3, unordered=1, problems=["bad step"])
    found = replace(
        drive(),
        loss="damaged: cut off; lost at the end: 4 frames, 0.400 s",
        counts={"left": asdict(counts)},
    )
    assert list(replay_notes([found])) == [
        "0002 is damaged: cut off; lost at the end: 4 frames, 0.400 s.",
        "0002: 2 images could not be read (bad step).",
        "0002: 3 images have the stamp of an earlier one and are left out.",
        "0002: 1 images are older than one before them.",
        "0002 has no truth: nothing of it is scored.",
    ]
    assert list(replay_notes([drive(with_truth=5, truth=5)])) == []


def test_results_come_back_from_their_files(tmp_path: Path) -> None:
    for name in ("b", "a"):
        drive(name).write(tmp_path)
    found = read_drives(tmp_path)
    assert found == [drive("a"), drive("b")]
    assert found[0].flicker.stable == 500
    assert found[0].flicker.share == 10 / 500
    assert found[0].total("images") == 5


def test_snapshots_are_spread_and_show_three_pictures(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, "0002", 10, CITYSCAPES)
    image = np.full((20, 40, 3), 200, np.uint8)
    ids, confidence = np.zeros((20, 40), np.uint8), np.full((20, 40), 30, np.uint8)
    for index in range(10):
        snapshots.offer(index, image, ids, confidence)
    assert snapshots.names == [f"0002_{n:06d}.jpg" for n in (0, 3, 6, 9)]
    assert len(snapshots.names) == SNAPSHOTS
    picture = cv2.imread(str(tmp_path / "pictures" / snapshots.names[0]))
    assert picture.shape == (210, 1260, 3)
    assert [int(picture[100, x].mean().round(-1)) for x in (200, 1060)] == [200, 30]
    few = Snapshots(tmp_path, "x", 1, CITYSCAPES)
    few.offer(0, image, ids, confidence)
    assert few.names == ["x_000000.jpg"]
