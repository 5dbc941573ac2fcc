# SPDX-License-Identifier: Apache-2.0
"""The node as a program: its signals, its arguments and its exit status."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from sensor_msgs.msg import Image

from camseg_core.errors import DEVICE_LOST
from camseg_core.segmenter import Segmenter
from camseg_ros.node.segment_node import main
from camseg_ros.remote.node_client import NodeClient, ros_context

START = ["--ros-args", "-p", "weights:=random:tiny"]


def run_node(*parameters: str) -> subprocess.Popen[str]:
    given = [part for parameter in parameters for part in ("-p", parameter)]
    return subprocess.Popen(
        [sys.executable, "-m", "camseg_ros.node.segment_node", "--ros-args", *given],
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_stream_leaves_exact_counts(number: signal.Signals) -> None:
    process = run_node("weights:=random:tiny", "steps:=2")
    assert process.stderr is not None
    with ros_context() as context:
        client = NodeClient(context, "camera")
        publisher = client.node.create_publisher(Image, "camera/image_raw", 1)
        message = Image(height=60, width=97, step=291, encoding="bgr8", data=bytes(60 * 291))
        client.start()
        try:
            client.wait(lambda: publisher.get_subscription_count() > 0, 60, "the node")
            deadline = time.monotonic() + 60
            for sent in range(1_000_000):
                publisher.publish(message)
                if sent == 60:
                    process.send_signal(number)
                if process.poll() is not None:
                    break
                assert time.monotonic() < deadline
                time.sleep(0.01)  # the camera's clock
        finally:
            client.close()
    text = process.stderr.read()
    assert (process.returncode, "Traceback" in text) == (0, False)
    found = re.search(r"frames in (\d+) = out (\d+) \+ dropped (\d+) \+ refused (\d+)", text)
    assert found is not None
    received, out, dropped, refused = map(int, found.groups())
    assert received == out + dropped + refused
    assert (received > 0, refused) == (True, 0)


@pytest.fixture
def own_signals() -> Iterator[None]:
    """A program sets the handlers of its process, which is the test's here."""
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-p", "use_sim_time:=5"], "use_sim_time"),
        (["-p", "outputs:=[depth]"], "outputs has 'depth'; it is one of mask"),
        (["-p", "steps:=-1"], "parameter steps is -1: .*out of range"),
        (["-p", "steps:=many"], "parameter steps is 'many': Wrong parameter type, expected"),
        (["-p", "sampler:=euler"], "sampler.*euler"),
        (["-p", "step:=1", "-p", "strict_parameters:=true"], r"step \(did you mean 'steps'\?\);"),
        (["-p", "camera.mounting:=[1.5, 0]"], "cannot configure: camera.mounting has 2 numbers"),
        (["-p", "cameras:=[]"], "cameras is empty; at least one name is needed"),
        (["-p", "cameras:=[a, a]"], "camera 'a' stands twice in cameras"),
        (["-p", "camera.mounting:=[1.0]"], "cannot configure: camera.mounting has 1 numbers"),
        (["-p", "weights:=/nowhere"], "cannot configure: no such weights: /nowhere"),
        (["-p", "device:=tpu"], "cannot configure: unknown device 'tpu'"),
        (
            ["-p", "weights:=random:tiny", "-p", "backend:=onnx"],
            "cannot configure: random:tiny has no condition.onnx beside it",
        ),
        (["--params-file", "/nowhere.yaml"], "/nowhere.yaml"),
        (["--", "--params-file", "segment.yaml"], "unknown argument '--params-file'; usage: "),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str], told: str, capfd: pytest.CaptureFixture[str], own_signals: None
) -> None:
    assert main(["--ros-args", *arguments]) == 2
    errors = capfd.readouterr().err
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line and "[rcl]" not in line]
    assert len(lines) == 1
    assert re.search(told, lines[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", ["load", "segment_batch"])
def test_a_signal_while_the_node_starts_ends_it(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, step: str, own_signals: None
) -> None:
    real = getattr(Segmenter, step)

    def told(*arguments: Any, **options: Any) -> Any:
        signal.raise_signal(number)
        return real(*arguments, **options)

    monkeypatch.setattr(Segmenter, step, told)
    assert main(START) == 0


def test_short_memory_at_the_start_is_no_bad_configuration(
    monkeypatch: pytest.MonkeyPatch, own_signals: None
) -> None:
    def fail(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Segmenter, "segment_batch", fail)
    assert main(START) == DEVICE_LOST
