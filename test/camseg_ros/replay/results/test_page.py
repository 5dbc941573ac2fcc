# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import made_replay
import numpy as np
from made_replay import FACTS, LIVE, ROW, made_drive

from camseg_core.evaluation.frames import FrameScore, picture_path
from camseg_core.evaluation.report.page import data_uri
from camseg_core.images.drawing import encode_png
from camseg_core.system.files import write_bytes
from camseg_ros.bag.dataset import CameraCounts
from camseg_ros.replay.results.drives import DriveResult
from camseg_ros.replay.results.gates import Bounds, Gate, GateOutcome
from camseg_ros.replay.results.page import ReplayFacts, replay_notes, write_report

ACCURACY = replace(made_replay.ACCURACY, rows=(ROW, {"sequence": "0002", "frames": 0}))


def page(tmp_path: Path, *drives: DriveResult, facts: ReplayFacts = FACTS, **given: object) -> str:
    path = write_report(tmp_path, facts, drives, **{"accuracies": [ACCURACY], **given})  # type: ignore[arg-type]
    return path.read_text()


def test_figures_stand_in_the_page_and_it_is_the_same_twice(tmp_path: Path) -> None:
    text = page(tmp_path, made_drive())
    for shown in ("43.21", "87.65", "1.23", "4.56", "31.41", "demo.safetensors", "abababababab"):
        assert shown in text
    assert "<svg" in text
    assert "RANDOM" not in text
    assert "Timing" not in text
    assert page(tmp_path, made_drive()) == text


def test_accuracy_and_timing_are_in_tables_of_their_own(tmp_path: Path) -> None:
    text = page(tmp_path, made_drive(), facts=replace(FACTS, mode="live"), accuracies=[], live=LIVE)
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


def test_notes_say_what_a_reader_must_know() -> None:
    counts = CameraCounts(images=9, refused=2, repeated=3, unordered=1, problems=["bad step"])
    found = replace(
        made_drive(),
        loss="damaged: cut off; lost: 4 frames, 0.400 s",
        counts={"left": counts},
    )
    assert list(replay_notes([found])) == [
        "0002 is damaged: cut off; lost: 4 frames, 0.400 s.",
        "0002: 2 images could not be read.",
        "0002: 3 images have the stamp of an earlier one and are left out.",
        "0002: 1 images are older than one before them.",
        "0002: bad step.",
        "0002 has no ground truth: nothing of it is scored.",
    ]
    whole = made_drive(with_truth=5, truth=5)
    assert list(replay_notes([whole], LIVE)) == []
    late = replace(LIVE, shortfall="the budget was not kept")
    assert list(replay_notes([whole], late)) == ["The budget was not kept."]


def test_every_text_of_a_live_page_is_escaped(tmp_path: Path) -> None:
    odd = '<b>&"x'
    (camera,) = LIVE.cameras.values()
    live = replace(
        LIVE, cameras={odd: camera}, node_ms={odd: {"p50": 1.0}}, machine=odd, problems=[odd]
    )
    found = made_drive(odd)
    frames = [replace(frame, camera=odd) for frame in found.frames]
    said = {"dataset": odd, "split": odd, "condition": odd, "run": odd, "loss": odd}
    counts = {odd: CameraCounts(refused=1, problems=[odd])}
    row = {**ROW, "condition": odd}
    accuracy = replace(ACCURACY, dataset=odd, part=odd, rows=(row,))
    found = replace(found, **said, frames=frames, counts=counts)  # type: ignore[arg-type]
    facts = replace(FACTS, mode=odd, weights=odd, sampling=odd, is_random=True)
    outcome = GateOutcome(Gate(odd, Bounds(min=0.5)), odd, None)
    text = page(tmp_path, found, facts=facts, accuracies=[accuracy], outcomes=[outcome], live=live)
    assert "<b>" not in text
    assert '&"x' not in text
    assert text.count("&lt;b&gt;&amp;&#34;x") > 20
    assert "RANDOM WEIGHTS" in text
    assert "FAILED" in text


def test_worst_frames_come_first_with_their_pictures(tmp_path: Path) -> None:
    drives = [replace(made_drive(name), run="run") for name in ("a", "b")]
    content = encode_png(np.full((2, 3), 7, np.uint8))
    name = "b/left/1000000000"
    path = picture_path(tmp_path / "run", FrameScore(0.1, name, FACTS.steps), "prediction")
    write_bytes(path, content)
    text = page(tmp_path, *drives).partition("<h2>Worst frames</h2>")[2]
    shown = [part.partition("</span>")[0] for part in text.split('<span class="soft">')[1:]]
    assert shown[:4] == ["a/left/0", "b/left/0", "a/left/1000000000", name]
    assert f'src="{data_uri("png", content)}" alt="prediction of {name}"' in text
    assert text.count("<img") == 1  # the other pictures are not there
    assert "Worst frames" not in page(tmp_path, made_drive())  # without records


def test_a_drive_s_pictures_are_in_the_page(tmp_path: Path) -> None:
    write_bytes(tmp_path / "pictures" / "a_000000.jpg", b"jpeg")
    found = replace(made_drive(), pictures=["a_000000.jpg", "lost.jpg"])
    text = page(tmp_path, found)
    assert f'src="{data_uri("jpeg", b"jpeg")}" alt="image, overlay and confidence of 0002"' in text
    assert text.count("<img") == 1
