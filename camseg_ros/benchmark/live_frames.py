# SPDX-License-Identifier: Apache-2.0
"""Frames from memory over DDS to the real node in its own process; what comes out is collected."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from camseg_core.images.arrays import UInt8
from camseg_ros.messages.images import array_from_image_message, image_message, stamp_ns
from camseg_ros.messages.outputs import OUTPUTS
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.node_client import NodeClient, frame_counts, ros_context
from camseg_ros.remote.node_process import NodeParameters, node_process

CAMERA = "camera"
FRAME_ID = "camera_optical_frame"
PICTURES = ("mask", "confidence", "overlay")
ARRIVAL_LIMIT_S = 10.0


@dataclass
class Received:
    """What came back for one stamp; pictures uint8 [H, W] or [H, W, 3]."""

    pictures: dict[str, UInt8] = field(default_factory=dict)
    latency_ns: int | None = None


@dataclass
class CameraReplay:
    """What came back for one camera.

    Attributes:
        published: stamps of the frames played, ns, in order.
        masks: stamps of the masks received, ns, in order of arrival, repeats included.
        received: per stamp, the pictures and the latency from publishing to the mask's arrival.
        values: the node's last diagnostics of this camera.
    """

    published: list[int] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)
    received: dict[int, Received] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def latencies_ms(self) -> NDArray[np.float64]:
        """Return all latencies in milliseconds."""
        latencies_ns = [item.latency_ns for item in self.received.values() if item.latency_ns]
        return np.array(latencies_ns, np.float64) / 1e6

    def problems(self) -> list[str]:
        """List what breaks the node's promises; empty if all held."""
        count = frame_counts(self.values)
        problems = []
        if not self.masks:
            problems.append("no mask came back")
        if len(set(self.masks)) != len(self.masks):
            problems.append("a stamp came back twice")
        if not set(self.masks) <= set(self.published):
            problems.append("a mask carries a stamp that no input frame had")
        if not count:
            problems.append("the node sent no diagnostics")
        elif count["in"] != count["out"] + count["dropped"] + count["refused"]:
            problems.append(f"in is not out + dropped + refused: {count}")
        elif count["out"] < len(self.masks):
            problems.append(f"the node counts {count['out']} out, {len(self.masks)} arrived")
        return problems


@dataclass(frozen=True)
class ReplayResult:
    """What a live replay saw.

    Attributes:
        cameras: what came back for each camera.
        values: the node's last diagnostics of itself.
        exit_status: of the node's process.
    """

    cameras: dict[str, CameraReplay]
    values: dict[str, str]
    exit_status: int

    @property
    def only(self) -> CameraReplay:
        """What came back where there is one camera."""
        (camera,) = self.cameras.values()
        return camera

    def problems(self) -> list[str]:
        """List what breaks the node's promises, per camera; empty if all held."""
        problems = [
            f"{name}: {problem}"
            for name, camera in self.cameras.items()
            for problem in camera.problems()
        ]
        if self.exit_status != 0:
            problems.append(f"the node exited with status {self.exit_status}")
        return problems


def latency_percentile_ms(latencies_ms: NDArray[np.float64], percent: float) -> float:
    """Return a percentile, not-a-number without masks."""
    return float(np.percentile(latencies_ms, percent)) if latencies_ms.size else float("nan")


def replay_live(
    frames: Iterable[UInt8],
    *,
    rate_hz: float,
    parameters: NodeParameters,
    cameras: Sequence[str] = (CAMERA,),
    keep: Sequence[str] = PICTURES,
    progress: Callable[[], object] = lambda: None,
    observe: Callable[[int], object] = lambda pid: None,
) -> ReplayResult:
    """Play RGB frames uint8 [H, W, 3] at ``rate_hz`` through a node started for it.

    The node runs in its own process with ``parameters`` set and is shut down through its lifecycle
    at the end. Every camera gets every frame.

    Args:
        frames: to play.
        rate_hz: of each camera.
        parameters: of the node, without cameras and image topics.
        cameras: their names.
        keep: outputs to listen to, ``mask`` among them; with ``mask`` alone no picture is kept.
        progress: called once per frame played.
        observe: called with the node's process id when it is active and seen, before the first
            frame.

    Raises:
        CamsegError: the node did not start, or did not end.
    """
    parameters = {
        **parameters,
        "cameras": list(cameras),
        **{f"{name}.image_topic": image_topic(name) for name in cameras},
    }
    with ros_context() as context, node_process(parameters) as process:
        player = _Player(context, cameras, keep)
        client = player.client
        try:
            client.wait_until_active(process, player.is_heard)
            client.wait_until_matched(keep)
            observe(process.pid)
            player.play(frames, rate_hz, progress)
            player.drain()
            exit_status = client.end_node(process)
        finally:
            client.close()
    for name, camera in player.cameras.items():
        camera.values = client.camera_values[name]
    return ReplayResult(player.cameras, client.node_values, exit_status)


def image_topic(camera: str) -> str:
    """Return the topic on which a camera is played."""
    return f"{camera}/image_raw"


class _Player:
    """Publishes frames and collects outputs."""

    def __init__(self, context: Context, cameras: Sequence[str], keep: Sequence[str]) -> None:
        self.cameras = {name: CameraReplay() for name in cameras}
        self.client = NodeClient(context, "camseg_player", cameras)
        self._keep = keep
        self._sent_ns: dict[int, int] = {}
        node = self.client.node
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._publishers = {
            name: node.create_publisher(Image, image_topic(name), best_effort) for name in cameras
        }
        for name in cameras:
            for output in keep:
                node.create_subscription(
                    Image,
                    f"{NODE_NAME}/{name}/{OUTPUTS[output].topic}",
                    lambda message, name=name, output=output: self._on_picture(
                        name, output, message
                    ),
                    QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE),
                )
        self.client.start()

    def is_heard(self) -> bool:
        """True when every camera's frames have a listener."""
        return all(item.get_subscription_count() > 0 for item in self._publishers.values())

    def play(self, frames: Iterable[UInt8], rate_hz: float, progress: Callable[[], object]) -> None:
        """Publish at the rate, each frame at its time; stamps are its times since the epoch."""
        start_ns, epoch_ns = time.monotonic_ns(), time.time_ns()
        for index, image in enumerate(frames):
            due_ns = int(index * 1e9 / rate_hz)
            stamp = epoch_ns + due_ns
            header = Header(frame_id=FRAME_ID)
            header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
            message = image_message(image, "rgb8", header)
            delay_s = (start_ns + due_ns - time.monotonic_ns()) / 1e9
            if delay_s > 0:
                time.sleep(delay_s)  # the camera's clock, not a guess at somebody's readiness
            with self.client.changed:
                for camera in self.cameras.values():
                    camera.published.append(stamp)
                self._sent_ns[stamp] = time.monotonic_ns()
            for publisher in self._publishers.values():
                publisher.publish(message)
            progress()

    def drain(self) -> None:
        """Wait until the node has nothing left to do, and a little for its last masks."""
        # Two diagnostics: the first may have left the node before the last frame reached it.
        self.client.wait_until_idle()
        self.client.wait_until_idle()
        with self.client.changed:
            self.client.changed.wait_for(
                lambda: all(
                    int(self.client.camera_values[name]["frames_out"]) <= len(camera.masks)
                    for name, camera in self.cameras.items()
                ),
                ARRIVAL_LIMIT_S,
            )

    def _on_picture(self, name: str, output: str, message: Image) -> None:
        arrived_ns = time.monotonic_ns()
        stamp = stamp_ns(message.header)
        camera = self.cameras[name]
        with self.client.changed:
            item = camera.received.setdefault(stamp, Received())
            if len(self._keep) > 1:
                item.pictures[output] = array_from_image_message(message)
            if output == "mask":
                camera.masks.append(stamp)
                if stamp in self._sent_ns:
                    item.latency_ns = arrived_ns - self._sent_ns[stamp]
            self.client.changed.notify_all()
