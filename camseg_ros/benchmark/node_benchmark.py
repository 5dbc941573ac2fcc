# SPDX-License-Identifier: Apache-2.0
"""The node measured as its users meet it: in its own process, over DDS.

There are two latencies: ``latency_ms`` is the time from publishing a frame to the arrival of its
mask here, on one steady clock; ``node_ms`` has the node's own times, from the entry of a frame.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import psutil
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from camseg_core.images.arrays import UInt8
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.system.progress import progress_bar
from camseg_ros.benchmark.isaac_figures import isaac_figures
from camseg_ros.messages.images import image_message, stamp_ns
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.node_client import NodeClient, NodeParameters, node_process, ros_context
from camseg_ros.remote.player import PlayedTopic, Player, TimedMessage
from camseg_ros.remote.traffic import (
    CameraTraffic,
    budget_shortfall,
    frame_counts,
    node_percentiles_ms,
)

CAMERA = "camera"
FRAME_ID = "camera_optical_frame"
SYNTHETIC_FRAMES = 24
SYNTHETIC_SEED = 9200
SAMPLE_PERIOD_S = 0.5
CALIBRATION_SECONDS = 8.0
CALIBRATION_RATE_HZ = 4.0
MIB = 2**20
FIGURES = ("cpu_percent_mean", "memory_mib_first", "memory_mib_last", "memory_mib_most")


@dataclass(frozen=True)
class NodeBenchmark:
    """What to play, and how the node is set.

    Attributes:
        cameras: number of cameras; each gets every frame.
        rate_hz: frames per second of each camera.
        seconds: duration of playing.
        height, width: size of the frames in pixels.
        parameters: parameters of the node, without cameras and their topics.
    """

    cameras: int
    rate_hz: float
    seconds: float
    height: int
    width: int
    parameters: NodeParameters


def run_node_benchmark(benchmark: NodeBenchmark, overload: float | None = None) -> dict[str, Any]:
    """Play and measure, and return plain data.

    Args:
        benchmark: what to play.
        overload: frames to play in the time that the node takes for one, which a short first run
            measures, instead of the benchmark's rate; None for its rate.

    Raises:
        CamsegError: the node did not start or did not end, or has no parameter of some name.
    """
    frames = _frames(benchmark)
    if overload is not None:
        seconds = min(CALIBRATION_SECONDS, benchmark.seconds)
        first = replace(benchmark, rate_hz=CALIBRATION_RATE_HZ, seconds=seconds)
        processing_ms = play_frames(first, frames)["node_ms"]["processing"]["p50"]
        benchmark = replace(benchmark, rate_hz=overload * 1000.0 / processing_ms)
    settings = {**asdict(benchmark), "rate_hz": round(benchmark.rate_hz, 3)}
    return {"settings": settings, **play_frames(benchmark, frames)}


def summary_lines(result: dict[str, Any]) -> Iterator[str]:
    """Return the main figures as a few lines of text."""
    for name, camera in result["cameras"].items():
        yield (
            f"{name}: played {camera['played']} at {result['settings']['rate_hz']:g} Hz, "
            f"in {camera['in']} = out {camera['out']} + dropped {camera['dropped']} + refused "
            f"{camera['refused']}; {camera['rate_out_hz']:.2f} Hz out; end to end "
            f"{_times(camera['latency_ms'])}"
        )
    node, usage = result["node_ms"], result["process"]
    yield (
        f"node: age at output {_times(node.get('age', {}))}; processing "
        f"{_times(node.get('processing', {}))}; overhead {_times(node.get('overhead', {}))}; "
        f"steps {result['steps']}; CPU "
        f"{usage['cpu_percent_mean']:.0f} % of one core; memory "
        f"{usage['memory_mib_first']:.0f} MiB at first, {usage['memory_mib_last']:.0f} at last"
    )
    if result["shortfall"]:
        yield f"node: {result['shortfall']}"


def _times(percentiles_ms: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f}" for name, value in percentiles_ms.items()) + " ms"


def _frames(benchmark: NodeBenchmark) -> list[UInt8]:
    drive = SyntheticDrive(
        SYNTHETIC_SEED, benchmark.width, benchmark.height, frames_per_sequence=SYNTHETIC_FRAMES
    )
    return [drive.frame(index).image for index in range(SYNTHETIC_FRAMES)]


def play_frames(benchmark: NodeBenchmark, frames: Sequence[UInt8]) -> dict[str, Any]:
    """Play RGB frames uint8 [H, W, 3], over and over, through a node that is started for it.

    Every camera gets every frame. The node is shut down through its lifecycle at the end.

    Returns:
        What was measured, as plain data.

    Raises:
        CamsegError: the node did not start, or did not end.
    """
    count = max(2, round(benchmark.rate_hz * benchmark.seconds))
    names = (
        [CAMERA] if benchmark.cameras == 1 else [f"{CAMERA}_{n}" for n in range(benchmark.cameras)]
    )
    topics = {name: f"{name}/image_raw" for name in names}
    parameters = {
        "warmup_height": benchmark.height,
        "warmup_width": benchmark.width,
        **benchmark.parameters,
        "cameras": names,
        **{f"{name}.image_topic": topic for name, topic in topics.items()},
    }
    newest_frame = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    every_mask = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
    with (
        ros_context() as context,
        node_process(parameters) as process,
        progress_bar(count * len(names), "frame", "play") as bar,
        closing(NodeClient(context, "camseg_player", names)) as client,
    ):
        played = {topic: PlayedTopic(Image, newest_frame, name) for name, topic in topics.items()}
        player = Player(client.node, played, has_clock=False)
        for name, traffic in player.traffic.items():
            client.node.create_subscription(
                Image, f"{NODE_NAME}/{name}/mask", partial(_on_mask, traffic), every_mask
            )
        client.start()
        client.wait_until_active(process, player.is_heard)
        client.wait_until_matched(["mask"])
        with _usage_of(process.pid) as usage:  # what the node does at its end is not its work
            start_ns = time.time_ns()
            messages = _messages(frames, count, start_ns, benchmark.rate_hz, [*topics.values()])
            player.play(messages, start_ns, progress=bar.update)
        client.wait_for_last_masks(player.traffic)
        exit_status = client.end_node(process)
    problems = [] if exit_status == 0 else [f"the node exited with status {exit_status}"]
    cameras: dict[str, Any] = {}
    for name, traffic in player.traffic.items():
        counts = frame_counts(client.camera_values[name])
        problems += [f"{name}: {problem}" for problem in traffic.problems(counts)]
        cameras[name] = {
            "played": traffic.played,
            **{key: counts[key] for key in ("in", "out", "dropped", "refused")},
            "masks_received": len(traffic.masks),
            "rate_out_hz": traffic.rate_hz(),
            "latency_ms": traffic.latency_ms(),
            "ros2_benchmark": isaac_figures(traffic),
        }
    return {
        "cameras": cameras,
        "node_ms": node_percentiles_ms(client.node_values),
        "steps": int(client.node_values["steps"]),
        "weights_sha256": client.node_values["weights_sha256"],
        "process": usage,
        "problems": problems,
        "shortfall": budget_shortfall(client.node_values),
    }


def _on_mask(traffic: CameraTraffic, message: Image) -> None:
    traffic.on_mask(stamp_ns(message.header), time.monotonic_ns())


def _messages(
    frames: Sequence[UInt8], count: int, start_ns: int, rate_hz: float, topics: Sequence[str]
) -> Iterator[TimedMessage]:
    """Return frames at a rate, on every topic; their stamps are their times since the epoch."""
    for index in range(count):
        time_ns = start_ns + int(index * 1e9 / rate_hz)
        header = Header(frame_id=FRAME_ID)
        header.stamp.sec, header.stamp.nanosec = divmod(time_ns, 10**9)
        message = image_message(frames[index % len(frames)], "rgb8", header)
        for topic in topics:
            yield TimedMessage(topic, time_ns, message)


@contextmanager
def _usage_of(process_id: int) -> Iterator[dict[str, float]]:
    """Sample CPU time and resident memory of a process in a thread; return figures at the end."""
    samples: list[tuple[float, float]] = []  # CPU percent since the last one, MiB
    over = threading.Event()

    def sample() -> None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(process_id)
            process.cpu_percent()
            while not over.wait(SAMPLE_PERIOD_S):
                samples.append((process.cpu_percent(), process.memory_info().rss / MIB))

    figures = dict.fromkeys(FIGURES, float("nan"))
    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield figures
    finally:
        over.set()
        thread.join()
    if samples:
        percent, memory = zip(*samples, strict=True)
        values = (float(np.mean(percent)), memory[0], memory[-1], max(memory))
        figures |= dict(zip(FIGURES, values, strict=True))
