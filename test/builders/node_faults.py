# SPDX-License-Identifier: Apache-2.0
"""What faults of the node are made of: a camera and its masks, other processes, a dead one.

As a program it is one of those other processes: ``camera TOPIC PERIOD_S`` publishes frames stamped
by the system's clock, ``idle TOPIC`` subscribes reliably and never takes what comes.
"""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from lifecycle_msgs.msg import State
from node_user import NodeUser, node_user
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from camseg_ros.messages.images import image_message, stamp_ns
from camseg_ros.remote.node_client import NODE_PROGRAM, node_process

PARAMETERS: Mapping[str, Any] = {
    "weights": "random:tiny",
    "steps": 1,
    "warmup_height": 24,
    "warmup_width": 40,
    # The tests that look at a camera's condition set the limit that they are about.
    "no_input_warn_s": 0.0,
    "no_input_error_s": 0.0,
    "input_age_warn_s": 0.0,
    "latency_warn_ms": 0.0,
}
UNCONFIGURED, ACTIVE = State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_ACTIVE
CAMERA = "camera"
IMAGE_TOPIC = f"{CAMERA}/image_raw"
MASK_TOPIC = f"{CAMERA}/mask"
SHARED_MEMORY = Path("/dev/shm")
COUNTS = ("in", "out", "dropped", "refused")


@contextmanager
def running(
    program: tuple[str, ...] = NODE_PROGRAM, **parameters: Any
) -> Iterator[tuple[NodeUser, subprocess.Popen[bytes]]]:
    """Run a node in its own process, with a user of it in this one, from when it has started."""
    with node_process({**PARAMETERS, **parameters}, program) as process, node_user() as user:
        user.wait_for_state(ACTIVE if parameters.get("autostart", True) else UNCONFIGURED)
        yield user, process


class Stream:
    """A camera of this process, and the masks of its frames."""

    def __init__(self, user: NodeUser) -> None:
        self.user = user
        self.camera = user.camera(Image, IMAGE_TOPIC)
        self.masks = user.listen(Image, MASK_TOPIC, 100)

    def wait_until_matched(self, nodes: int = 1) -> None:
        """Wait until so many nodes hear the camera and see that somebody wants masks."""
        self.user.wait(lambda: self.camera.get_subscription_count() == nodes)
        self.user.wait(lambda: self.user.values(CAMERA).get("subscribers_mask", "0") != "0")

    def publish(self, *frames: Image) -> list[Image]:
        """Publish frames, each when the mask of the one before has come; return the masks."""
        first = len(self.masks)
        for frame in frames:
            seen = len(self.masks)
            self.camera.publish(frame)
            self.user.wait(lambda seen=seen: len(self.masks) > seen)
        return self.masks[first:]

    def publish_until_heard(self) -> int:
        """Publish frames until the mask of one has come; return its stamp.

        Both sides may have to discover each other first.
        """
        self.masks.clear()
        with self.publishing(0.03) as published:
            mask = self.user.wait(
                lambda: next((m for m in self.masks if stamp_ns(m.header) in published), None)
            )
        return stamp_ns(mask.header)

    @contextmanager
    def publishing(
        self, period_s: float, next_stamp: Callable[[], int] = time.time_ns
    ) -> Iterator[list[int]]:
        """Publish frames all the time; yield the growing list of their stamps."""
        stamps: list[int] = []

        def publish() -> None:
            stamps.append(next_stamp())
            self.camera.publish(frame_at(stamps[-1]))

        timer = self.user.node.create_timer(period_s, publish)
        try:
            yield stamps
        finally:
            timer.cancel()
            self.user.node.destroy_timer(timer)


def header(stamp: int, frame_id: str = "lens") -> Header:
    """Return a header with a stamp in nanoseconds."""
    made = Header(frame_id=frame_id)
    made.stamp.sec, made.stamp.nanosec = divmod(stamp, 10**9)
    return made


def frame_at(stamp: int, height: int = 24, width: int = 40) -> Image:
    """Return a camera image of random pixels, which depend on its stamp."""
    pixels = np.random.default_rng(stamp).integers(0, 256, (height, width, 3), np.uint8)
    return image_message(pixels, "rgb8", header(stamp))


def exact_counts(user: NodeUser, name: str = CAMERA) -> dict[str, int]:
    """Wait until nothing is under way, and return a camera's counts, which must add up."""
    user.wait_for_idle()
    values = user.values(name)
    counts = {key: int(values[f"frames_{key}"]) for key in COUNTS}
    assert counts["in"] == counts["out"] + counts["dropped"] + counts["refused"], counts
    return counts


@contextmanager
def other_process(*arguments: str) -> Iterator[psutil.Popen]:
    """Run this file as a program, and kill it at the end."""
    process = psutil.Popen([sys.executable, __file__, *arguments])
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(process)


def kill(process: subprocess.Popen[bytes] | psutil.Popen) -> None:
    """Kill a process, and remove the shared memory that nobody but it would give back.

    Fast DDS leaves 64 MiB of each process that is killed; ``fastdds shm clean`` does the same.
    """
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    process.send_signal(signal.SIGKILL)
    process.wait()
    for name in set(re.findall(rf"{SHARED_MEMORY}/(fastrtps_[0-9a-f]{{16}})\n", maps)):
        lock = SHARED_MEMORY / f"{name}_el"
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its owner holds it as it lives
        except OSError:
            continue
        (SHARED_MEMORY / name).unlink(missing_ok=True)
        lock.unlink(missing_ok=True)


def main(kind: str, topic: str, period_s: str = "0") -> None:
    """Be the process that ``kind`` says, until it is killed."""
    rclpy.init()
    node = rclpy.create_node(f"{kind}_process")
    if kind == "camera":
        publisher = node.create_publisher(Image, topic, 1)
        node.create_timer(float(period_s), lambda: publisher.publish(frame_at(time.time_ns())))
        rclpy.spin(node)
    reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    node.create_subscription(Image, topic, print, reliable)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
