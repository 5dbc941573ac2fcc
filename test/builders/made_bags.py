# SPDX-License-Identifier: Apache-2.0
"""Small bags for tests: images of noise with ground truth beside them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from camseg_ros.bag.camera_topics import CameraTopics
from camseg_ros.bag.reader import Bag
from camseg_ros.bag.serialization import encode
from camseg_ros.bag.writer import BagWriter
from camseg_ros.messages.images import image_message

CAMERA = CameraTopics.below("/kitti/camera_color_left")
STEP_NS = 10**8


def header(stamp_ns: int, frame_id: str = "camera") -> Header:
    made = Header(frame_id=frame_id)
    made.stamp.sec, made.stamp.nanosec = divmod(stamp_ns, 10**9)
    return made


def noise_image(index: int, size: tuple[int, int] = (24, 32)) -> Image:
    pixels = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
    return image_message(pixels, "rgb8", header((index + 1) * STEP_NS))


def truth_image(index: int, size: tuple[int, int] = (24, 32)) -> Image:
    ids = np.random.default_rng(1000 + index).integers(0, 19, size, np.uint8)
    return image_message(ids, "mono8", header((index + 1) * STEP_NS))


def write_bag(
    path: Path,
    frames: int = 6,
    *,
    storage: Any = "mcap",
    compression: Any = "none",
    size: tuple[int, int] = (24, 32),
    first: int = 0,
) -> Path:
    with BagWriter(path, storage, compression) as writer:
        writer.write("/about", String(data="noise"), (first + 1) * STEP_NS, latched=True)
        for index in range(first, first + frames):
            stamp_ns = (index + 1) * STEP_NS
            writer.write(CAMERA.image, noise_image(index, size), stamp_ns)
            writer.write(str(CAMERA.truth), truth_image(index, size), stamp_ns)
    return path


def write_rosbag1(path: Path, frames: int = 6, compression: Any = None) -> Path:
    """Write the same images and ground truth as ROS 1 does; compression is "bz2", "lz4" or None."""
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Rosbag1Writer(path)
    if compression:
        writer.set_compression(Rosbag1Writer.CompressionFormat[compression.upper()])
    with writer:
        connections = {
            topic: writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=store)
            for topic in (CAMERA.image, str(CAMERA.truth))
        }
        for index in range(frames):
            stamp_ns = (index + 1) * STEP_NS
            images = (noise_image(index), truth_image(index))
            for connection, image in zip(connections.values(), images, strict=True):
                writer.write(connection, stamp_ns, _ros1_bytes(store, image, index))
    return path


def _ros1_bytes(store: Typestore, image: Image, sequence: int) -> bytes:
    stamp = image.header.stamp
    content = store.types["sensor_msgs/msg/Image"](
        header=store.types["std_msgs/msg/Header"](
            seq=sequence,
            stamp=store.types["builtin_interfaces/msg/Time"](sec=stamp.sec, nanosec=stamp.nanosec),
            frame_id=image.header.frame_id,
        ),
        height=image.height,
        width=image.width,
        encoding=image.encoding,
        is_bigendian=0,
        step=image.step,
        data=np.frombuffer(image.data, np.uint8),
    )
    return bytes(store.serialize_ros1(content, "sensor_msgs/msg/Image"))


def write_split_bag(path: Path, parts: int = 2, frames: int = 3) -> Path:
    """Write a bag in several files, as recorders do, with metadata.yaml of all."""
    path.mkdir(parents=True)
    information: dict[str, Any] = {}
    for part in range(parts):
        one = write_bag(path / f"part_{part}", frames, first=part * frames)
        shutil.move(storage_file(one), path / f"{path.name}_{part}.mcap")
        content = yaml.safe_load((one / "metadata.yaml").read_text())
        found = content["rosbag2_bagfile_information"]
        shutil.rmtree(one)
        if not information:
            information = {**found, "relative_file_paths": []}
        else:
            information["message_count"] += found["message_count"]
            pairs = zip(
                information["topics_with_message_count"],
                found["topics_with_message_count"],
                strict=True,
            )
            for entry, other in pairs:
                entry["message_count"] += other["message_count"]
        information["relative_file_paths"].append(f"{path.name}_{part}.mcap")
    information.pop("files", None)
    information["duration"]["nanoseconds"] = (parts * frames - 1) * STEP_NS
    text = yaml.safe_dump({"rosbag2_bagfile_information": information}, sort_keys=False)
    (path / "metadata.yaml").write_text(text)
    return path


def storage_file(bag: Path) -> Path:
    """Return a bag's one file with messages."""
    (found,) = (path for path in bag.iterdir() if path.suffix != ".yaml")
    return found


def cut_copy(bag: Path, to: Path, size: int, *, metadata: bool) -> Path:
    """Copy a bag with its file cut off after ``size`` bytes, with metadata.yaml or without."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    file = storage_file(bag)
    (to / file.name).write_bytes(file.read_bytes()[:size])
    if metadata:
        shutil.copy(bag / "metadata.yaml", to)
    return to


def images_of(bag: Bag, topic: str) -> dict[int, bytes]:
    """Log time -> the image's bytes."""
    return {m.log_ns: bytes(m.decode().data) for m in bag.messages([topic])}


def written_images(
    topic: str, frames: int = 6, size: tuple[int, int] = (24, 32)
) -> dict[int, bytes]:
    make = noise_image if topic == CAMERA.image else truth_image
    return {(i + 1) * STEP_NS: bytes(make(i, size).data) for i in range(frames)}


def write_mcap_of_others(path: Path, order: list[int], **settings: Any) -> Path:
    """Write noise images with the mcap package, in any order of time, one every 10 ns."""
    return write_mcap(path, [(i * 10, encode(noise_image(i))) for i in order], **settings)


def write_mcap(
    path: Path,
    contents: Iterable[tuple[int, bytes]],
    *,
    encoding: str = "cdr",
    profile: str = "ros2",
    schema: str = "sensor_msgs/msg/Image",
    **settings: Any,
) -> Path:
    """Write the bytes of images, each with its log time, with the mcap package."""
    definition, _ = get_typestore(Stores.ROS2_JAZZY).generate_msgdef(
        "sensor_msgs/msg/Image", ros_version=2
    )
    with path.open("wb") as file:
        writer = McapWriter(file, **settings)
        writer.start(profile, "others")
        schema_id = writer.register_schema(schema, f"{profile}msg", definition.encode())
        channel = writer.register_channel(CAMERA.image, encoding, schema_id)
        for time_ns, content in contents:
            writer.add_message(channel, log_time=time_ns, data=content, publish_time=0)
        writer.finish()
    return path
