# SPDX-License-Identifier: Apache-2.0
from array import array
from typing import Any

import numpy as np
import pytest
import rclpy.serialization
import zstandard
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import OccupancyGrid
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from camseg_ros.bag.serialization import (
    STORES,
    UnreadableMessageError,
    decode,
    decompressed,
    encode,
    type_name,
)


def messages() -> list[Any]:
    image = Image(height=2, width=3, encoding="rgb8", step=9)
    image.data = array("B", range(18))
    image.header.stamp.sec, image.header.stamp.nanosec = 5, 7
    image.header.frame_id = "left"
    info = CameraInfo(distortion_model="plumb_bob", height=4, width=5)
    info.k, info.d = np.arange(9.0), array("d", [1.5, -2.0])
    info.roi.do_rectify = True
    grid = OccupancyGrid()
    grid.data = array("b", [-1, 0, 100])
    grid.info.resolution, grid.info.origin.position.x = 0.5, -1.25
    status = DiagnosticStatus(level=b"\2", name="a", values=[KeyValue(key="k", value="v")])
    compressed = CompressedImage(format="png", data=array("B", [1, 2, 255]))
    diagnostics = DiagnosticArray(status=[status])
    return [image, Image(), info, grid, diagnostics, compressed, String(data="é"), String()]


@pytest.mark.parametrize("message", messages(), ids=lambda m: type(m).__name__)
def test_agrees_with_rclpy_in_both_directions(message: Any) -> None:
    assert rclpy.serialization.deserialize_message(encode(message), type(message)) == message
    by_ros = rclpy.serialization.serialize_message(message)
    assert decode(by_ros, type_name(type(message)), "cdr") == message


def test_ros1_drops_seq_and_finds_capital_fields() -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](sec=3, nanosec=4)
    header = types["std_msgs/msg/Header"](seq=9, stamp=stamp, frame_id="left")
    roi = types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    info = types["sensor_msgs/msg/CameraInfo"](
        header=header, height=4, width=5, distortion_model="plumb_bob", D=np.array([0.5]),
        K=np.arange(9.0), R=np.eye(3).ravel(), P=np.arange(12.0), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip
    raw = store.serialize_ros1(info, "sensor_msgs/msg/CameraInfo")
    message = decode(raw, "sensor_msgs/msg/CameraInfo", "ros1")
    assert (message.header.stamp.sec, message.header.frame_id) == (3, "left")
    assert message.k.tolist() == list(range(9))
    assert list(message.d) == [0.5]


def test_a_text_that_is_no_utf_8_costs_nothing_else() -> None:
    image = Image(height=1, width=2, encoding="mono8", step=2, data=array("B", b"\xff\xfe"))
    image.header.frame_id = "cam_?x?"
    raw = encode(image).replace(b"cam_?x?", b"cam_\xffx\xe4")
    with pytest.raises(SerdeError, match="can't decode byte 0xff"):
        STORES["cdr"].deserialize_cdr(raw, "sensor_msgs/msg/Image")
    assert decode(raw, "sensor_msgs/msg/Image", "cdr") == image


@pytest.mark.parametrize(
    ("message_type", "rule"),
    [
        ("sensor_msgs/msg/Image", r"^5 bytes are not a sensor_msgs/msg/Image: .*$"),
        ("no_msgs/msg/Thing", "'no_msgs/msg/Thing' is not installed here"),
    ],
)
def test_what_is_no_message(message_type: str, rule: str) -> None:
    with pytest.raises(UnreadableMessageError, match=rule):
        decode(b"\0\1\0\0\7", message_type, "cdr")


def test_a_compressed_message_is_decompressed() -> None:
    raw = encode(String(data="x" * 1000))
    packed = zstandard.ZstdCompressor().compress(raw)
    assert decompressed(packed) == raw
    assert decompressed(raw) == raw
    with pytest.raises(UnreadableMessageError, match=f"ends after {len(packed) - 2} bytes"):
        decompressed(packed[:-2])
