# SPDX-License-Identifier: Apache-2.0
"""The node hears cameras with the stock settings of DDS, and tells why it hears nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from lifecycle_msgs.msg import State
from node_user import NodeUser, node_user
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from camseg_ros.node.dds_environment import PROFILES_VARIABLES
from camseg_ros.remote.node_client import node_process, ros_context

PARAMETERS = {
    "weights": "random:tiny", "steps": 1, "warmup_height": 24, "warmup_width": 40,
    "no_input_warn_s": 0.2, "no_input_error_s": 0.5,
}  # fmt: skip
FRAMES = 15
DRIVER = """
import sys, time, rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
width, height, frames = map(int, sys.argv[1:])
rclpy.init()
node = rclpy.create_node("stock_driver")
images = node.create_publisher(Image, "camera/image_raw", 10)
while images.get_subscription_count() < 2:
    time.sleep(0.01)
message = Image(width=width, height=height, step=3 * width, encoding="rgb8",
                data=bytes(3 * width * height))
for number in range(frames):
    message.header.stamp.sec = number + 1
    images.publish(message)
    time.sleep(0.1)
print("all", flush=True)
sys.stdin.read()  # until both have counted
node.destroy_node()
rclpy.try_shutdown()
"""
LISTENER = """
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("stock_listener")
node.create_subscription(
    Image, "camera/image_raw", lambda message: print(message.header.stamp.sec, flush=True), 10)
try:
    rclpy.spin(node)
except rclpy.executors.ExternalShutdownException:
    node.destroy_node()
"""


@pytest.fixture(scope="module")
def user() -> Iterator[NodeUser]:
    with node_process(PARAMETERS), node_user() as made:
        made.wait_for_state(State.PRIMARY_STATE_ACTIVE)
        yield made


@contextmanager
def stock_program(code: str, *arguments: object, stdout: Path) -> Iterator[None]:
    """Run a program without our profile of Fast DDS."""
    stock = {name: value for name, value in os.environ.items() if name not in PROFILES_VARIABLES}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with (
        stdout.open("w") as out,
        subprocess.Popen(command, env=stock, stdin=subprocess.PIPE, stdout=out) as process,
    ):
        try:
            yield
        finally:  # in order, so that the node learns of it at once
            assert process.stdin is not None
            process.stdin.close()
            process.terminate()
            try:
                process.wait(timeout=10.0)
            except subprocess.TimeoutExpired:  # it waits for somebody to listen
                process.kill()


@pytest.fixture
def other() -> Iterator[Node]:
    """Return a node that no thread spins: what it has can be destroyed at any time."""
    with ros_context() as context:
        made = Node("other", context=context, use_global_arguments=False)
        yield made
        made.destroy_node()


def test_no_input_tells_why(user: NodeUser, other: Node) -> None:
    elsewhere = other.create_publisher(Image, "/front/image", 1)
    told = (
        ": nobody publishes /camera/image_raw (sensor_msgs/msg/Image, reliable); images are "
        "published on /front/image"
    )
    user.wait(lambda: user.status("camera") and user.status("camera").message.endswith(told))
    assert user.status("camera").message.startswith("no input yet after ")
    assert user.values("camera")["image_topic"] == "/camera/image_raw"
    other.destroy_publisher(elsewhere)
    text = other.create_publisher(String, "/camera/image_raw", 1)
    told = (
        ": /camera/image_raw (sensor_msgs/msg/Image, reliable) is published with another type by "
        "/other (std_msgs/msg/String, reliable)"
    )
    user.wait(lambda: user.status("camera").message.endswith(told))
    assert user.values("camera")["publishers"] == "/other (std_msgs/msg/String, reliable)"
    other.destroy_publisher(text)


@pytest.mark.parametrize("size", [(640, 480), (1920, 1080)])
def test_no_more_frames_are_lost_than_by_a_plain_reliable_subscriber(
    size: tuple[int, int], user: NodeUser, tmp_path: Path
) -> None:
    heard, published = tmp_path / "heard", tmp_path / "published"
    before = int(user.values("camera")["frames_in"])

    def in_node() -> int:
        return int(user.values("camera")["frames_in"]) - before

    with (
        stock_program(LISTENER, stdout=heard),
        stock_program(DRIVER, *size, FRAMES, stdout=published),
    ):
        user.wait(published.read_text)
        with suppress(AssertionError):  # a busy machine may lose frames of both
            user.wait(lambda: in_node() == FRAMES, limit_s=10.0)
        plain = len(heard.read_text().split())
        assert in_node() >= plain > 0
        assert user.values("camera")["reliability"] == "reliable"
    user.wait(lambda: user.values("camera")["publishers"] == "")
