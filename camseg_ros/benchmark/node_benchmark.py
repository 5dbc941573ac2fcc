# SPDX-License-Identifier: Apache-2.0
"""The node measured as its users meet it: in its own process, over DDS.

There are two latencies: ``latency_ms`` is the time from publishing a frame to the arrival of its
mask here, on one steady clock; ``node_ms`` has the node's own times, from the entry of a frame.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from camseg_ros.messages.images import image_message, stamp_ns
from camseg_ros.node.health import PERCENTILES
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.node_client import NodeClient, ros_context
from camseg_ros.remote.node_process import NodeParameters, node_process
from camseg_ros.remote.player import PlayedTopic, Player, TimedMessage
from camseg_ros.remote.traffic import CameraTraffic, frame_counts, node_percentiles_ms

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


@dataclass(frozen=True)
class NodeRun:
    """What one run of the node showed.

    Attributes:
        traffic: the frames and masks of each camera.
        camera_values: the node's last diagnostics of each camera.
        node_values: the node's last diagnostics of itself.
        usage: CPU and memory of the node's process.
        exit_status: exit status of the node's process.
    """

    traffic: Mapping[str, CameraTraffic]
    camera_values: Mapping[str, Mapping[str, str]]
    node_values: Mapping[str, str]
    usage: Mapping[str, float]
    exit_status: int

    def problems(self) -> list[str]:
        """List what breaks the node's promises; empty if all held."""
        problems = [
            f"{name}: {problem}"
            for name, traffic in self.traffic.items()
            for problem in traffic.problems(frame_counts(self.camera_values[name]))
        ]
        if self.exit_status != 0:
            problems.append(f"the node exited with status {self.exit_status}")
        return problems


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
        calibration = replace(
            benchmark,
            rate_hz=CALIBRATION_RATE_HZ,
            seconds=min(CALIBRATION_SECONDS, benchmark.seconds),
        )
        values = play_frames(calibration, frames).node_values
        rate_hz = overload * 1000.0 / float(values["processing_p50_ms"])
        benchmark = replace(benchmark, rate_hz=rate_hz)
    run = play_frames(benchmark, frames)
    unknown = {f"p{percent}": float("nan") for percent in PERCENTILES}
    return {
        "settings": {
            "cameras": benchmark.cameras,
            "rate_hz": round(benchmark.rate_hz, 3),
            "seconds": benchmark.seconds,
            "height": benchmark.height,
            "width": benchmark.width,
            "parameters": dict(benchmark.parameters),
        },
        "cameras": {
            name: {
                "played": traffic.played,
                **{
                    key: int(run.camera_values[name][f"frames_{key}"])
                    for key in ("in", "out", "dropped", "refused")
                },
                "masks_received": len(traffic.masks),
                "rate_out_hz": traffic.rate_hz(),
                "latency_ms": traffic.latency_ms() or unknown,
            }
            for name, traffic in run.traffic.items()
        },
        "node_ms": node_percentiles_ms(run.node_values),
        "steps": int(run.node_values["steps"]),
        "weights_sha256": run.node_values["weights_sha256"],
        "process": run.usage,
        "problems": run.problems(),
    }


def summary_lines(result: dict[str, Any]) -> Iterator[str]:
    """Return the main figures as a few lines of text."""
    for name, camera in result["cameras"].items():
        latency = camera["latency_ms"]
        yield (
            f"{name}: played {camera['played']} at {result['settings']['rate_hz']:g} Hz, "
            f"in {camera['in']} = out {camera['out']} + dropped {camera['dropped']} + refused "
            f"{camera['refused']}; {camera['rate_out_hz']:.2f} Hz out; end to end p50 "
            f"{latency['p50']:.0f}, p95 {latency['p95']:.0f}, p99 {latency['p99']:.0f} ms"
        )
    usage = result["process"]
    age, processing = (result["node_ms"].get(name, {}) for name in ("age", "processing"))
    nan = float("nan")
    yield (
        f"node: age at output p99 {age.get('p99', nan):.0f} ms, processing p50 "
        f"{processing.get('p50', nan):.0f}, p99 {processing.get('p99', nan):.0f} ms; "
        f"steps {result['steps']}; CPU {usage['cpu_percent_mean']:.0f} % of one core; memory "
        f"{usage['memory_mib_first']:.0f} MiB at first, {usage['memory_mib_last']:.0f} at last"
    )


def _frames(benchmark: NodeBenchmark) -> list[UInt8]:
    drive = SyntheticDrive(
        SYNTHETIC_SEED, benchmark.width, benchmark.height, frames_per_sequence=SYNTHETIC_FRAMES
    )
    return [drive.frame(index).image for index in range(SYNTHETIC_FRAMES)]


def play_frames(benchmark: NodeBenchmark, frames: Sequence[UInt8]) -> NodeRun:
    """Play RGB frames uint8 [H, W, 3], over and over, through a node that is started for it.

    Every camera gets every frame. The node is shut down through its lifecycle at the end.

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
    with (
        ros_context() as context,
        node_process(parameters) as process,
        progress_bar(count * len(names), "frame", "play") as bar,
        _usage(process.pid) as usage,
    ):
        client = NodeClient(context, "camseg_player", names)
        played = {topic: PlayedTopic(Image, newest_frame, name) for name, topic in topics.items()}
        player = Player(client.node, played, has_clock=False)
        for name in names:
            client.node.create_subscription(
                Image,
                f"{NODE_NAME}/{name}/mask",
                partial(_on_mask, player.traffic[name]),
                QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE),
            )
        client.start()
        try:
            client.wait_until_active(process, player.is_heard)
            client.wait_until_matched(["mask"])
            usage.start()
            start_ns = time.time_ns()
            messages = _messages(frames, count, start_ns, benchmark.rate_hz, [*topics.values()])
            player.play(messages, start_ns, progress=bar.update)
            usage.stop()  # what the node does at its end is not its work
            client.wait_for_last_masks(player.traffic)
            exit_status = client.end_node(process)
        finally:
            client.close()
    return NodeRun(
        player.traffic, client.camera_values, client.node_values, usage.figures(), exit_status
    )


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


class _Usage:
    """CPU time and resident memory of a process, sampled in a thread from `start` to `stop`."""

    def __init__(self, process_id: int) -> None:
        self._samples: list[tuple[float, float]] = []  # CPU percent since the last one, MiB
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, args=(process_id,))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def figures(self) -> dict[str, float]:
        if not self._samples:
            return dict.fromkeys(FIGURES, float("nan"))
        percent, memory = (list(column) for column in zip(*self._samples, strict=True))
        values = (float(np.mean(percent)), memory[0], memory[-1], max(memory))
        return dict(zip(FIGURES, values, strict=True))

    def _sample(self, process_id: int) -> None:
        try:
            process = psutil.Process(process_id)
            process.cpu_percent()
            while not self._over.wait(SAMPLE_PERIOD_S):
                self._samples.append((process.cpu_percent(), process.memory_info().rss / MIB))
        except psutil.NoSuchProcess:  # it has ended, as it should in the end
            return


@contextmanager
def _usage(process_id: int) -> Iterator[_Usage]:
    usage = _Usage(process_id)
    try:
        yield usage
    finally:
        usage.stop()
