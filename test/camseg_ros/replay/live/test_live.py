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

import made_bags as bags
import pytest
from std_srvs.srv import SetBool

from camseg_core.cli import main
from camseg_ros.bag.reader import open_bag
from camseg_ros.messages.images import stamp_ns
from camseg_ros.node.dds_environment import use_free_domain
from camseg_ros.remote.node_client import NodeClient, node_process, ros_context
from camseg_ros.replay.live import evaluate_node, play_node
from camseg_ros.replay.results.folder import prepare_folder

NAME = bags.CAMERA.name
FRAMES = 8
MASK, CONFIDENCE = f"/segment_node/{NAME}/mask", f"/segment_node/{NAME}/confidence"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def synthetic_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bags")
    made = ["--dataset", "synthetic", "--frames", FRAMES, "--size", "128x64", "--out", out]
    assert run("bag", "make", *made) == 0
    return out / "synthetic_clear_9000"


def pictures(bag: Path, topic: str) -> dict[int, bytes]:
    with open_bag(bag) as opened:
        messages = [m.decode() for m in opened.messages([topic])]
    return {stamp_ns(m.header): bytes(m.data) for m in messages}


def test_live_masks_are_the_offline_ones_on_every_frame(
    synthetic_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = tmp_path / "gates.yaml"
    gates.write_text("latency_p99_ms: {min: 1000000}\nclass_iou: {road: {min: 0}}")
    prepare_folder(tmp_path / "live")
    (tmp_path / "live" / "report.html").write_text("of an earlier replay")
    how = ["--steps", 3, "--threads", 1]
    assert run("replay", synthetic_bag, *how, "--out", tmp_path / "offline", "--write-bag") == 0
    live = ["--mode", "live", "--out", tmp_path / "live", "--loops", 2, "--speed", 0.5]
    assert run("replay", synthetic_bag, *how, *live, "--gates", gates) == 1
    assert not (tmp_path / "live" / "report.html").exists()
    said = capsys.readouterr()
    assert f"gate latency_p99_ms FAILED: {NAME}: it is " in said.err
    assert f"gate class_iou.road passed: {NAME}" in said.out
    assert f"{NAME}: played {2 * FRAMES}, in " in said.out
    for topic in (MASK, CONFIDENCE):
        offline, lived = (
            pictures(tmp_path / mode / "bags" / synthetic_bag.name, topic)
            for mode in ("offline", "live")
        )
        assert len(offline) == FRAMES
        assert lived  # how many is a matter of speed
        for stamp, content in lived.items():
            assert content == offline[stamp]
    content = json.loads((tmp_path / "live" / "replay.json").read_bytes())
    camera = content["live"]["cameras"][NAME]
    assert camera["played"] == 2 * FRAMES
    assert camera["accuracy"]["frames"] == len(lived)
    counts = camera["counts"]
    assert counts["in"] == counts["out"] + counts["dropped"] + counts["refused"]
    assert content["live"]["steps"] == 3
    assert content["live"]["problems"] == []
    if len(lived) == FRAMES:
        offline_content = json.loads((tmp_path / "offline" / "replay.json").read_bytes())
        expected = offline_content["accuracy"][0]["rows"][0]["mean_iou"]
        assert camera["accuracy"]["mean_iou"] == pytest.approx(expected, abs=1e-12)
    page = (tmp_path / "live" / "replay.html").read_text()
    for text in ("Live replay", "Timing, over DDS", "Accuracy of the frames that came out"):
        assert text in page
    assert len(list((tmp_path / "live" / "pictures").iterdir())) == min(4, len(lived))


def test_a_gate_of_an_unknown_class_is_refused_before_the_bag_is_played(
    synthetic_bag: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gates = tmp_path / "gates.yaml"
    gates.write_text("class_iou: {boat: {min: 0.1}}")
    out = ["--out", tmp_path / "out", "--weights", "random:tiny"]
    assert run("replay", synthetic_bag, *out) == 0
    page = (tmp_path / "out" / "replay.html").read_bytes()
    how = ["--gates", gates, *out]
    for mode in ("offline", "live"):
        assert run("replay", synthetic_bag, "--mode", mode, *how) == 2
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
    live = ["--mode", "live", "--weights", "random:tiny"]
    assert run("replay", bag, *live, "--out", tmp_path / "out") == 2
    assert "the ground truth in" in capfd.readouterr().err
    assert not (tmp_path / "out" / "replay.html").exists()


MAINS = {"play_node": play_node.main, "evaluate_node": evaluate_node.main}
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def own_signals() -> Iterator[None]:
    """A program sets the handlers of its process, which is the test's here."""
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program by its module and parameters; none outlives the test."""
    programs: list[subprocess.Popen[str]] = []

    def started(module: str, *parameters: str) -> subprocess.Popen[str]:
        given = [part for parameter in parameters for part in ("-p", parameter)]
        programs.append(
            subprocess.Popen(
                [sys.executable, "-m", f"camseg_ros.replay.live.{module}", "--ros-args", *given],
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
    synthetic_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
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
        "play_node",
        f"bag:={synthetic_bag}",
        "speed:=0.5",
        "start_paused:=true",
        "wait_for_truth:=true",
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
            client.wait(resumed.done, 30, "the player's answer")
            assert resumed.result().message == "playing"
            assert player.wait(timeout=60) == 0
            client.wait_until_idle()
            client.wait_until_idle()
            client.wait(lambda: int(client.camera_values[NAME]["frames_out"]) > 0, 30, "a mask")
        finally:
            client.close()
        evaluator.send_signal(signal.SIGINT)
        said, errors = evaluator.communicate(timeout=60)
    assert evaluator.returncode == 0, errors
    assert f"{out}/replay.html" in said
    content = json.loads((out / "replay.json").read_bytes())
    camera = content["live"]["cameras"][NAME]
    assert camera["accuracy"]["frames"] == camera["masks"] > 0
    assert content["live"]["node_ms"]["age"]["p99"] > 0.0
    assert content["live"]["rate"] is None
    assert "Played by another player." in (out / "replay.html").read_text()


@pytest.mark.parametrize(
    ("module", "parameters", "rule"),
    [
        ("play_node", [], "play_node: no bag; -p bag:=FOLDER is needed"),
        ("play_node", ["bag:=/nowhere"], "play_node: no such bag: /nowhere"),
        ("play_node", ["bag:=/nowhere", "speed:=0.0"], "play_node: the speed is 0.0; 0.001"),
        ("play_node", ["speed:=fast"], 'play_node: parameters: speed is "fast": input should be a'),
        ("play_node", ["bag:=/nowhere", "speed:=2"], "play_node: no such bag: /nowhere"),
        (
            "play_node",
            ["bag:=/nowhere", "loops:=-1"],
            "play_node: loops is -1; 0 (endless) or more",
        ),
        (
            "play_node",
            ["bag:=/x", "start_offset_s:=-1"],
            "play_node: the start offset is -1.0; sec",
        ),
        ("play_node", ["image_topics:=[1]"], "play_node: parameters: image_topics[0] is 1: input"),
        ("evaluate_node", ["cameras:=[a, b]"], "evaluate_node: cameras has 2 entries and truth"),
        ("evaluate_node", ["cameras:=[]"], "evaluate_node: cameras has 0 entries and truth_topics"),
        ("evaluate_node", ["name:=../x"], "evaluate_node: name is '../x'; a name of a folder is n"),
        ("evaluate_node", ["gates:=/nowhere.yaml"], "evaluate_node: cannot read /nowhere.yaml"),
    ],
)
def test_bad_usage_of_the_programs(
    module: str,
    parameters: list[str],
    rule: str,
    capfd: pytest.CaptureFixture[str],
    own_signals: None,
) -> None:
    given = [part for parameter in parameters for part in ("-p", parameter)]
    assert MAINS[module](["--ros-args", *given]) == 2
    (line,) = filter(None, capfd.readouterr().err.splitlines())
    assert line.startswith(rule)


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
