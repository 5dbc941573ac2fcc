# SPDX-License-Identifier: Apache-2.0
"""The node in another process, which ends with the one that started it, and the client of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from camseg_core.errors import TERMINATED, CamsegError
from camseg_ros.messages.images import stamp_ns
from camseg_ros.remote.node_client import NodeClient, node_process, ros_context
from camseg_ros.remote.traffic import CameraTraffic, frame_counts

PARAMETERS = {"weights": "random:tiny", "steps": 1, "warmup_height": 24, "warmup_width": 32}


def test_from_the_start_of_the_node_to_its_end() -> None:
    with ros_context() as context, node_process(PARAMETERS) as process:
        client = NodeClient(context, "client", ["camera"])
        traffic = CameraTraffic()
        publisher = client.node.create_publisher(Image, "camera/image_raw", 1)
        client.node.create_subscription(
            Image,
            "/segment_node/camera/mask",
            lambda message: traffic.on_mask(stamp_ns(message.header), 1),
            QoSProfile(depth=5),
        )
        client.start()
        try:
            client.wait_until_active(process, lambda: publisher.get_subscription_count() > 0)
            client.wait_until_matched(["mask"])
            message = Image(height=24, width=32, step=96, encoding="rgb8", data=bytes(24 * 96))
            publisher.publish(message)
            client.wait(lambda: bool(client.camera_values["camera"]), 30.0, "diagnostics")
            client.wait_for_last_masks({"camera": traffic})
            assert client.end_node(process) == 0
        finally:
            client.close()
            client.close()  # no harm
        counts = frame_counts(client.camera_values["camera"])
        assert counts["in"] == counts["out"] == len(traffic.masks) == 1
        assert client.node_values["steps"] == "1"


def test_waits_have_an_end() -> None:
    with ros_context() as context:
        client = NodeClient(context, "client")
        with pytest.raises(CamsegError, match="^waited 0 s for rain in vain$"):
            client.wait(lambda: False, 0.01, "rain")
        assert client.wait(lambda: False, 0.01) is False
        client.close()  # it was never started


def test_a_node_that_cannot_start_is_an_error() -> None:
    with ros_context() as context, node_process({"weights": "/nowhere"}) as process:
        client = NodeClient(context, "client")
        client.start()
        try:
            with pytest.raises(CamsegError, match="^segment_node ended with status 2$"):
                client.wait_until_active(process, lambda: True)
        finally:
            client.close()


WAITER = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
STARTER = f"""
import signal
from camseg_ros.remote.node_client import node_process
with node_process({{}}, ("-c", {WAITER!r})):
    signal.pause()
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, -signal.SIGINT)]
)
def test_the_node_is_not_left_behind(number: signal.Signals, status: int) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    assert is_alive(pid)
    starter.send_signal(number)
    starter.communicate(timeout=60)
    assert starter.returncode == status
    assert not is_alive(pid)


def test_unknown_parameters() -> None:
    with (
        pytest.raises(
            CamsegError, match=r"^segment_node has no parameter stepz; did you mean 'steps'\?$"
        ),
        node_process({"stepz": 3, "steps": 2}),
    ):
        pass
