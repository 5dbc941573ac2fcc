# SPDX-License-Identifier: Apache-2.0
"""Write bags from drives, for ``camseg bag make``."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.images.drawing import encode_jpeg, encode_png
from camseg_core.system.progress import progress_bar
from camseg_ros.bag.camera_topics import KITTI_CAMERA, CameraTopics
from camseg_ros.bag.making.drives import Drive, DriveFrame
from camseg_ros.bag.writer import BagWriter, Compression, Storage
from camseg_ros.messages.images import image_message

ImageForm = Literal["raw", "png", "jpeg"]

START_NS = 10**9
"""Stamp of a drive's first frame where the data has no time: 0 means "no time" to ROS."""

LAST_NS = 2**31 * 10**9 - 1
"""Latest stamp: builtin_interfaces/Time counts seconds in 32 signed bits (to 2038)."""

TOPIC_NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")
"""Form of a topic's name: https://design.ros2.org/articles/topic_and_service_names.html"""

SEQUENCE_GAP_NS = 2 * 10**9
"""Time between sequences in one bag, so that frames across the gap do not seem consecutive."""


@dataclass(frozen=True)
class BagForm:
    """The form in which bags are written.

    Attributes:
        rate_hz: Frames per second if the data has no times, 0.001 to 1000.
        images: Form of the images: raw, or compressed as PNG or JPEG.
        storage, compression: Format of the bag's file, see `BagWriter`.
        camera: Common beginning of the topics' names, such as ``/kitti/camera_color_left``.
    """

    rate_hz: float = 10.0
    images: ImageForm = "raw"
    storage: Storage = "mcap"
    compression: Compression = "zstd"
    camera: str = KITTI_CAMERA

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1e-3 <= self.rate_hz <= 1000.0:
            raise CamsegError(
                f"the rate is {self.rate_hz}; 0.001 to 1000 frames a second are possible"
            )
        if not TOPIC_NAME.fullmatch(self.camera):
            raise CamsegError(
                f"camera {self.camera!r}: a topic name such as {KITTI_CAMERA} is needed: parts of "
                "letters, digits and underscores that begin with no digit, each after a /"
            )


def make_bags(
    drives: Sequence[Drive], out: Path, form: BagForm, *, skips_existing: bool = False
) -> Iterator[Path]:
    """Write one bag for each drive below ``out``; yield each path once its bag is complete.

    A bag bears its name only once it is complete, so that with ``skips_existing`` those that a
    killed run did not come to are made.

    Raises:
        CamsegError: a bag exists already, and is not to be skipped; an input cannot be read, or
            nothing can be written.
    """
    existing = [out / drive.name for drive in drives if (out / drive.name).exists()]
    missing = [drive for drive in drives if out / drive.name not in existing]
    if existing and not skips_existing:
        cure = f"--skip-existing makes the {len(missing)} that are missing; or " if missing else ""
        raise CamsegError(f"{existing[0]} exists already; {cure}remove it, or give another --out")
    for drive in missing:
        yield write_drive(drive, out / drive.name, form)


def write_drive(drive: Drive, path: Path, form: BagForm) -> Path:
    """Write one bag and return its path.

    Raises:
        CamsegError: See `make_bags`.
    """
    image = "image_rect" if form.images == "raw" else "image_rect/compressed"
    topics = CameraTopics.below(form.camera, image=image)
    count = 0
    with (
        BagWriter(path, form.storage, form.compression) as writer,
        progress_bar(drive.count, "frame", drive.name) as bar,
    ):
        for count, (stamp_ns, frame) in enumerate(_stamped(drive, form.rate_hz), start=1):
            header = Header(frame_id=topics.name)
            header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
            if count == 1:
                about = String(data=drive.about.to_json())
                writer.write(str(topics.about), about, stamp_ns, latched=True)
            if frame.camera_info is not None:
                frame.camera_info.header = header
                writer.write(str(topics.camera_info), frame.camera_info, stamp_ns)
            writer.write(topics.image, _image(frame.image, form.images, header), stamp_ns)
            if frame.class_ids is not None:
                truth = image_message(frame.class_ids, "mono8", header)
                writer.write(str(topics.truth), truth, stamp_ns)
            bar.update()
        if count == 0:
            raise CamsegError(f"{drive.name} has no frame to make a bag of")
    return path


def _stamped(drive: Drive, rate_hz: float) -> Iterator[tuple[int, DriveFrame]]:
    """Yield each frame with its stamp; stamps increase whatever the data says."""
    period_ns = round(1e9 / rate_hz)
    start_ns = 0 if drive.is_absolute else START_NS
    stamp_ns: int | None = None
    gaps_ns = 0
    for frame in drive.frames():
        if stamp_ns is None:
            stamp_ns = start_ns + (frame.time_ns or 0)
        else:
            gap_ns = SEQUENCE_GAP_NS if frame.begins else 0
            gaps_ns += gap_ns
            told_ns = None if frame.time_ns is None else start_ns + frame.time_ns + gaps_ns
            stamp_ns = (
                told_ns if told_ns is not None and told_ns > stamp_ns
                else stamp_ns + period_ns + gap_ns
            )  # fmt: skip
        if stamp_ns > LAST_NS:
            raise CamsegError(
                f"{drive.name}: a frame's time is {stamp_ns} ns since 1970; ROS knows times up to "
                f"{LAST_NS} ns"
            )
        yield stamp_ns, frame


def _image(image: UInt8, form: ImageForm, header: Header) -> Image | CompressedImage:
    if form == "raw":
        return image_message(image, "rgb8", header)
    content = encode_png(image) if form == "png" else encode_jpeg(image)
    described = f"rgb8; {form} compressed bgr8"
    return CompressedImage(header=header, format=described, data=array("B", content))
