# SPDX-License-Identifier: Apache-2.0
"""The parameters of node, player and evaluator that follow from a bag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camseg_core.errors import CamsegError
from camseg_ros.bag.camera_topics import CameraTopics, cameras_of
from camseg_ros.bag.dataset import read_images
from camseg_ros.bag.reader import Bag
from camseg_ros.node.parameters import NODE_NAME


def node_parameters(bag: Bag, cameras: Sequence[CameraTopics]) -> dict[str, Any]:
    """Return what the node needs to listen to a bag that is played with ``/clock``.

    Raises:
        CamsegError: no image of the first camera can be read.
    """
    first = next(read_images(bag, cameras[0]), None)
    if first is None:
        raise CamsegError(f"{bag.path}, {cameras[0].image}: no image can be read")
    _, image = first
    parameters: dict[str, Any] = {
        "use_sim_time": True,
        "cameras": [camera.name for camera in cameras],
        "warmup_height": image.shape[0],
        "warmup_width": image.shape[1],
    }
    for camera in cameras:
        parameters[f"{camera.name}.image_topic"] = camera.image
        parameters[f"{camera.name}.transport"] = "compressed" if camera.is_compressed else "raw"
        if camera.camera_info is not None:
            parameters[f"{camera.name}.camera_info_topic"] = camera.camera_info
    return parameters


def params_file(bag: Bag) -> dict[str, Any]:
    """Return the content of a params file for the programs of a live replay of all cameras.

    Raises:
        CamsegError: see `cameras_of` and `node_parameters`.
    """
    cameras = cameras_of(bag)
    parameters = {
        NODE_NAME: node_parameters(bag, cameras),
        "play_node": {"bag": str(bag.path)},
        "evaluate_node": {
            "cameras": [camera.name for camera in cameras],
            "truth_topics": [camera.truth or "" for camera in cameras],
        },
    }
    return {f"/{name}": {"ros__parameters": values} for name, values in parameters.items()}
