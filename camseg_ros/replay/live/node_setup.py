# SPDX-License-Identifier: Apache-2.0
"""The node's parameters for a bag: its cameras, their topics, and an image's size to warm up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from camseg_core.errors import CamsegError
from camseg_ros.bag.camera_topics import CameraTopics
from camseg_ros.bag.reader import Bag
from camseg_ros.replay.bag_frames import BagFrames

Parameters = dict[str, bool | int | float | str | list[str]]


def bag_parameters(bag: Bag, cameras: Sequence[CameraTopics]) -> Parameters:
    """Return what the node needs to listen to a bag that is played with ``/clock``.

    Raises:
        CamsegError: no image of the first camera can be read.
    """
    frame = next(iter(BagFrames(bag, [replace(cameras[0], truth=None)])), None)
    if frame is None:
        raise CamsegError(f"{bag.path}, {cameras[0].image}: no image can be read")
    parameters: Parameters = {
        "use_sim_time": True,
        "cameras": [camera.name for camera in cameras],
        "warmup_height": frame.image.shape[0],
        "warmup_width": frame.image.shape[1],
    }
    for camera in cameras:
        parameters[f"{camera.name}.image_topic"] = camera.image
        parameters[f"{camera.name}.transport"] = "compressed" if camera.is_compressed else "raw"
        if camera.camera_info is not None:
            parameters[f"{camera.name}.camera_info_topic"] = camera.camera_info
    return parameters
