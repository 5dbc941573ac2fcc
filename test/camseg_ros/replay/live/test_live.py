# SPDX-License-Identifier: Apache-2.0
"""A bag over DDS through the real node: exact masks, the page, gates; the programs alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bags
import pytest
from std_srvs.srv import SetBool

from camseg_core.cli import main
from camseg_ros.bag.reader import open_bag
from camseg_ros.messages.images import stamp_ns
from camseg_ros.node.dds_environment import use_free_domain
from camseg_ros.remote.node_client import NodeClient, ros_context
from camseg_ros.remote.node_process import node_process
from camseg_ros.replay.results.out_folder import MARKER, prepare_folder

NAME = bags.CAMERA.name
MASK, CONFIDENCE = f"/segment_node/{NAME}/mask", f"/segment_node/{NAME}/confidence"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def drawn_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bags")
    made = ["--dataset", "synthetic", "--frames", 12, "--size", "128x64", "--out", out]
    assert run("bag", "make", *made) == 0
    return out / "synthetic_clear_9000"


def pictures(bag: Path, topic: str) -> dict[int, bytes]:
    with open_bag(bag) as opened:
        messages = [m.decode() for m in opened.messages([topic])]
    return {stamp_ns(m.header): bytes(m.data) for m in messages}


@pytest.mark.parametrize("steps", [1, 3])
def test_live_masks_are_the_offline_ones_on_every_frame(
    drawn_bag: Path, tmp_path: Path, steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["--steps", steps, "--threads", 1]
    assert run("replay", drawn_bag, *how, "--out", tmp_path / "offline", "--write-bag") == 0
    live = ["--mode", "live", "--out", tmp_path / "live", "--rate", 0.5, "--loops", 2]
    assert run("replay", drawn_bag, *how, *live) == 0
    said = capsys.readouterr().out
    for topic in (MASK, CONFIDENCE):
        offline, lived = (
            pictures(tmp_path / mode / "bags" / drawn_bag.name, topic)
            for mode in ("offline", "live")
        )
        assert len(offline) == 12
        assert len(lived) >= 6
        for stamp, content in lived.items():
            assert content == offline[stamp]
    content = json.loads((tmp_path / "live" / "replay.json").read_bytes())
    camera = content["live"]["cameras"][NAME]
    assert camera["played"] == 24
    assert camera["accuracy"]["frames"] == len(lived)
    counts = camera["counts"]
    assert counts["in"] == counts["out"] + counts["dropped"] + counts["refused"]
    assert content["live"]["steps"] == steps
    assert content["live"]["problems"] == []
    if len(lived) == 12:
        offline_content = json.loads((tmp_path / "offline" / "replay.json").read_bytes())
        expected = offline_content["accuracy"][0]["rows"][0]["mean_iou"]
        assert camera["accuracy"]["mean_iou"] == pytest.approx(expected, abs=1e-12)
    page = (tmp_path / "live" / "replay.html").read_text()
    for text in ("Live replay", "Timing, over DDS", "Accuracy of the frames that came out"):
        assert text in page
    assert f"{NAME}: played 24, in " in said


def test_gates_of_a_live_replay(
    drawn_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = tmp_path / "gates.yaml"
    gates.write_text(
        "latency_p99_ms: {min: 1000000}\nmean_iou: {min: 0.0}\nclass_iou: {road: {min: 0}}"
    )
    out = tmp_path / "live"
    prepare_folder(out)
    (out / "report.html").write_text("of an earlier replay")
    live = ["--mode", "live", "--out", out, "--weights", "random:tiny"]
    assert run("replay", drawn_bag, *live, "--gates", gates) == 1
    assert not (out / "report.html").exists()
    assert (out / MARKER).is_file()
    found = capsys.readouterr()
    assert f"gate latency_p99_ms FAILED: {NAME}: it is " in found.err
    assert f"gate mean_iou passed: {NAME}" in found.out
    assert "RANDOM WEIGHTS" in (tmp_path / "live" / "replay.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--rounds", 3], "--rounds is for --mode offline; the node takes profile, steps"),
        (["--max-frames", 3], "--heads, --ema and --max-frames are for --mode offline"),
        (["--rate", 0], "the rate is 0.0; 0.001 to 1000"),
        (["--loops", 0], "--loops is 0; 1 or more is needed"),
        (["--set", "stepz=3"], "segment_node has no parameter stepz"),
    ],
)
def test_what_is_refused(
    drawn_bag: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    rule: str,
) -> None:
    given = ["--mode", "live", "--out", tmp_path / "out"]
    assert run("replay", drawn_bag, drawn_bag, *given) == 2
    assert capsys.readouterr().err == "camseg: 2 bags; --mode live plays one\n"
    assert run("replay", drawn_bag, *given, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"camseg: {rule}")
    assert error.count("\n") == 1


def test_a_gate_of_an_unknown_class_is_refused_before_the_bag_is_played(
    drawn_bag: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gates = tmp_path / "gates.yaml"
    gates.write_text("class_iou: {boat: {min: 0.1}}")
    out = ["--out", tmp_path / "out", "--weights", "random:tiny"]
    assert run("replay", drawn_bag, *out) == 0
    page = (tmp_path / "out" / "replay.html").read_bytes()
    how = ["--gates", gates, *out]
    for mode in ("offline", "live"):
        assert run("replay", drawn_bag, "--mode", mode, *how) == 2
        errors = capfd.readouterr().err
        assert "camseg: gate class_iou.boat: the weights know no class 'boat'; known are" in errors
        assert mode == "offline" or "frames in 0 = out 0 + dropped 0 + refused 0" in errors
    # The results of the replay before stay.
    assert (tmp_path / "out" / "replay.html").read_bytes() == page


def test_truth_of_other_classes_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import dataset_trees as trees

    root = trees.camvid(tmp_path / "camvid", stems=("0001TP_000001", "0001TP_000002"))
    made = ["--dataset", "camvid", "--root", root, "--out", tmp_path / "bags"]
    assert run("bag", "make", *made) == 0
    bag = tmp_path / "bags" / "0001TP"
    for mode in ("offline", "live"):
        assert run("replay", bag, "--mode", mode, "--out", tmp_path / "out") == 2
        assert "the truth in" in capfd.readouterr().err
    assert not (tmp_path / "out" / "replay.html").exists()


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program by its module and parameters; none outlives the test."""
    programs: list[subprocess.Popen[str]] = []

    def started(module: str, *parameters: str) -> subprocess.Popen[str]:
        given = [part for parameter in parameters for part in ("-p", parameter)]
        programs.append(
            subprocess.Popen(
                [sys.executable, "-m", f"camseg_ros.replay.{module}", "--ros-args", *given],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return programs[-1]

    yield started
    for program in programs:
        program.kill()
        program.communicate()


def test_player_and_evaluator_as_programs_of_their_own(
    drawn_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    use_free_domain()
    out = tmp_path / "out"
    parameters = {
        "weights": "demo",
        "torch_threads": 1,
        "use_sim_time": True,
        "cameras": [NAME],
        f"{NAME}.image_topic": bags.CAMERA.image,
        "warmup_height": 64,
        "warmup_width": 128,
    }
    player = start(
        "play_node", f"bag:={drawn_bag}", "rate:=0.5", "start_paused:=true", "wait_for_truth:=true"
    )
    evaluator = start("evaluate_node", f"out:={out}", "idle_limit_s:=0.0")
    with ros_context() as context, node_process(parameters):
        client = NodeClient(context, "user", [NAME])
        pause = client.node.create_client(SetBool, "/play_node/pause")
        client.start()
        try:
            client.wait_until_matched(["mask", "confidence"])
            assert pause.wait_for_service(timeout_sec=30)
            resumed = pause.call_async(SetBool.Request(data=False))
            client.poll(resumed.done, 30, "the player's answer")
            assert resumed.result().message == "playing"
            assert player.wait(timeout=60) == 0
            client.wait_until_idle()
            client.wait_until_idle()
            client.wait(lambda: int(client.camera_values[NAME]["frames_out"]) >= 6, 30, "six masks")
        finally:
            client.close()
        evaluator.send_signal(signal.SIGINT)
        said, errors = evaluator.communicate(timeout=60)
    assert evaluator.returncode == 0, errors
    assert f"{out}/replay.html" in said
    content = json.loads((out / "replay.json").read_bytes())
    camera = content["live"]["cameras"][NAME]
    assert camera["accuracy"]["frames"] >= 6
    assert camera["accuracy"]["frames"] == camera["masks"]
    assert content["live"]["node_ms"]["age"]["p99"] > 0.0
    assert content["live"]["rate"] is None
    assert "Played by another player." in (out / "replay.html").read_text()


@pytest.mark.parametrize(
    ("module", "parameters", "rule"),
    [
        ("play_node", [], "play_node: no bag; -p bag:=FOLDER is needed"),
        ("play_node", ["bag:=/nowhere"], "play_node: no such bag: /nowhere"),
        ("play_node", ["bag:=/nowhere", "rate:=0.0"], "play_node: the rate is 0.0; 0.001"),
        ("play_node", ["bag:=3"], "play_node: parameter bag is 3; text is needed"),
        ("play_node", ["rate:=fast"], "play_node: parameter rate is 'fast'; a number is needed"),
        ("play_node", ["bag:=/nowhere", "rate:=2"], "play_node: no such bag: /nowhere"),
        ("play_node", ["loops:=1.5"], "play_node: parameter loops is 1.5; a whole number is nee"),
        (
            "play_node",
            ["image_topics:=[1, 2]"],
            "play_node: parameter image_topics is [1, 2]; a list of",
        ),
        ("evaluate_node", ["cameras:=[a, b]"], "evaluate_node: cameras has 2 entries and truth"),
        ("evaluate_node", ["cameras:=[]"], "evaluate_node: cameras has 0 entries and truth_topics"),
        ("evaluate_node", ["name:=../x"], "evaluate_node: name is '../x'; a name of a folder is n"),
        ("evaluate_node", ["gates:=/nowhere.yaml"], "evaluate_node: cannot read /nowhere.yaml"),
    ],
)
def test_bad_usage_of_the_programs(
    module: str, parameters: list[str], rule: str, start: Start
) -> None:
    program = start(module, *parameters)
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 2
    lines = [line for line in errors.splitlines() if line]
    assert len(lines) == 1, errors
    assert lines[0].startswith(rule)


def test_the_evaluator_that_heard_nobody_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    use_free_domain()
    program = start("evaluate_node", f"out:={tmp_path / 'out'}")
    assert program.stderr is not None
    line = program.stderr.readline()
    assert "waiting for the node" in line
    os.kill(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 2
    assert errors == "evaluate_node: stopped before the node was heard: nothing was scored\n"
