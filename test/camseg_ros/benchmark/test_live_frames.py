# SPDX-License-Identifier: Apache-2.0
"""The node in its own process, over DDS: every promise of the contract that a user relies on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sensor_msgs.msg import Image

from camseg_core.diffusion.options import V_PROFILES
from camseg_core.errors import CamsegError
from camseg_core.segmenter import Segmenter
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.weights.loading import random_model
from camseg_ros.benchmark.live_frames import (
    CameraReplay,
    ReplayResult,
    latency_percentile_ms,
    replay_live,
)
from camseg_ros.remote.node_process import node_process


def drawn_frames(count: int, height: int, width: int) -> list[np.ndarray]:
    drive = SyntheticDrive(9200, width, height, frames_per_sequence=120)
    return [drive.frame(index).image for index in range(count)]


PARAMETERS = {"weights": "random:tiny", "steps": 2, "warmup_height": 60, "warmup_width": 97}


@pytest.fixture(scope="module")
def replayed() -> tuple[list[np.ndarray], ReplayResult]:
    frames = drawn_frames(60, 60, 97)
    return frames, replay_live(frames, rate_hz=40.0, parameters=PARAMETERS)


def test_the_node_keeps_its_promises(replayed: tuple[list[np.ndarray], ReplayResult]) -> None:
    frames, result = replayed
    assert result.problems() == []
    assert len(result.only.published) == len(frames)
    assert len(result.only.masks) >= 2
    assert result.exit_status == 0
    values = {key: int(text) for key, text in result.values.items() if "frames" in key}
    assert values["frames_refused"] == values["frames_waiting"] == values["frames_in_progress"] == 0
    assert values["frames_in"] == values["frames_out"] + values["frames_dropped"]
    assert values["frames_in"] <= len(frames)


def test_masks_are_the_segmenter_s_on_the_frame_of_their_stamp(
    replayed: tuple[list[np.ndarray], ReplayResult],
) -> None:
    frames, result = replayed
    segmenter = Segmenter(random_model("tiny"))
    for stamp, item in result.only.received.items():
        frame = frames[result.only.published.index(stamp)]
        expected = segmenter.segment(frame, replace(V_PROFILES["balanced"], steps=2))
        # Another process may lay out memory otherwise, and sums round in another order.
        assert (item.pictures["mask"] == expected.class_ids).mean() >= 0.999
        np.testing.assert_allclose(item.pictures["confidence"], expected.confidence, atol=1)


def test_latency_is_positive_and_ordered(
    replayed: tuple[list[np.ndarray], ReplayResult],
) -> None:
    _, result = replayed
    latencies_ms = result.only.latencies_ms()
    assert len(latencies_ms) == len(result.only.masks)
    p50, p95 = (latency_percentile_ms(latencies_ms, percent) for percent in (50, 95))
    assert 0.0 < p50 <= p95


def test_problems_are_found() -> None:
    values = {"frames_in": "3", "frames_out": "2", "frames_dropped": "0", "frames_refused": "0"}
    front = CameraReplay([1, 2, 3], [1, 1, 9], {}, values)
    result = ReplayResult({"front": front, "rear": CameraReplay([1], [], {}, {})}, {}, -9)
    assert result.problems() == [
        "front: a stamp came back twice",
        "front: a mask carries a stamp that no input frame had",
        "front: in is not out + dropped + refused: {'in': 3, 'out': 2, 'dropped': 0, 'refused': 0}",
        "rear: no mask came back",
        "rear: the node sent no diagnostics",
        "the node exited with status -9",
    ]


def test_a_node_that_cannot_start_is_an_error() -> None:
    with pytest.raises(CamsegError, match="segment_node ended with status 2"):
        replay_live([], rate_hz=1.0, parameters={"weights": "/nowhere"})


def test_an_unknown_parameter_is_an_error() -> None:
    with (
        pytest.raises(CamsegError, match="segment_node has no parameter stepz"),
        node_process({"stepz": 1}),
    ):
        pass


def run_node(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "camseg_ros.node.segment_node", "--ros-args", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_cleanly(number: signal.Signals) -> None:
    process = run_node("-p", "weights:=random:tiny")
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "active: listening to /camera/image_raw" in line:
            process.send_signal(number)
    assert process.wait(timeout=60) == 0
    text = "".join(said)
    assert "frames in 0 = out 0 + dropped 0 + refused 0" in text
    assert "Traceback" not in text


def test_a_signal_in_the_middle_of_a_stream_leaves_exact_counts() -> None:
    import rclpy

    process = run_node("-p", "weights:=random:tiny", "-p", "steps:=2")
    assert process.stderr is not None
    for line in process.stderr:
        if "active: listening" in line:
            break
    rclpy.init()
    try:
        camera = rclpy.create_node("camera")
        publisher = camera.create_publisher(Image, "camera/image_raw", 1)
        message = Image(height=60, width=97, step=291, encoding="bgr8", data=bytes(60 * 291))
        timer = camera.create_timer(0.01, lambda: publisher.publish(message))
        deadline = time.monotonic() + 60.0
        while publisher.get_subscription_count() == 0:
            assert time.monotonic() < deadline, "the node never listened"
            rclpy.spin_once(camera, timeout_sec=1.0)
        for _ in range(100):
            rclpy.spin_once(camera, timeout_sec=5.0)
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            rclpy.spin_once(camera, timeout_sec=1.0)
        camera.destroy_timer(timer)
        camera.destroy_node()
    finally:
        rclpy.shutdown()
    text = process.stderr.read()
    assert process.returncode == 0
    found = re.search(r"frames in (\d+) = out (\d+) \+ dropped (\d+) \+ refused (\d+)", text)
    assert found is not None
    received, out, dropped, refused = map(int, found.groups())
    assert received == out + dropped + refused
    assert received > 0
    assert refused == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-p", "steps:=-1"], "parameter steps: .*out of range.*value: -1"),
        (["-p", "steps:=many"], "parameter steps: .*type 'STRING', expecting type 'INTEGER'"),
        (["-p", "sampler:=euler"], "unknown sampler 'euler'; the samplers are"),
        (["-p", "cameras:=[]"], "cameras is empty; at least one name is needed"),
        (["-p", "cameras:=[a, a]"], "camera 'a' stands twice in cameras"),
        (["-p", "camera.mounting:=[1.0]"], "cannot configure: camera.mounting: mounting has 1 num"),
        (["-p", "weights:=/nowhere"], "cannot configure: no such weights: /nowhere"),
        (["-p", "device:=tpu"], "cannot configure: unknown device 'tpu'"),
        (["--params-file", "/nowhere.yaml"], "/nowhere.yaml"),
        (["--", "--params-file", "segment.yaml"], "unknown argument '--params-file'; usage: "),
    ],
)
def test_bad_usage_is_one_line_and_status_2(arguments: list[str], told: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "camseg_ros.node.segment_node", "--ros-args", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr
    lines = [line for line in finished.stderr.splitlines() if line and "[rcl]" not in line]
    assert len(lines) == 1
    assert re.search(told, lines[0])


def test_progress_is_told_per_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[int] = []
    progress: Callable[[], None] = lambda: played.append(1)  # noqa: E731  # a callback
    result = replay_live(
        drawn_frames(3, 60, 97),
        rate_hz=5.0,
        parameters=PARAMETERS,
        progress=progress,
    )
    assert len(played) == 3
    assert result.problems() == []
