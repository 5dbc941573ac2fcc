# SPDX-License-Identifier: Apache-2.0
"""Describe a bag's contents in a few lines, for ``camseg bag info``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from camseg_core.errors import CamsegError
from camseg_ros.bag.about import read_about
from camseg_ros.bag.camera_topics import CameraTopics, find_cameras, loss_line
from camseg_ros.bag.reader import Bag
from camseg_ros.bag.serialization import UnreadableMessageError


def describe_bag(bag: Bag) -> dict[str, Any]:
    """Return plain data about a bag: times, topics, cameras with the form of their first image."""
    cameras: list[CameraTopics] = []
    with suppress(CamsegError):  # a bag may have no cameras
        cameras = find_cameras(bag.topics)
    return {
        "bag": str(bag.path),
        "start_ns": bag.start_ns,
        "end_ns": bag.end_ns,
        "topics": {
            topic.name: {"type": topic.message_type, "messages": topic.count}
            for topic in bag.topics.values()
        },
        "cameras": {camera.name: _describe_camera(bag, camera) for camera in cameras},
        "damage": loss_line(bag, cameras) or None,
    }


def info_lines(content: dict[str, Any]) -> Iterator[str]:
    """Yield what `describe_bag` returned as lines for the terminal."""
    yield content["bag"]
    if content["start_ns"] is not None:
        seconds = (content["end_ns"] - content["start_ns"]) / 1e9
        yield f"  {seconds:.3f} s, from {content['start_ns']} to {content['end_ns']} ns"
    width = max((len(name) for name in content["topics"]), default=0)
    for name, topic in content["topics"].items():
        yield f"  {name:<{width}}  {topic['messages']:>7}  {topic['type']}"
    for name, camera in content["cameras"].items():
        truth = f"{camera['truth']} with ground truth" if camera["truth"] else "no ground truth"
        yield f"  camera {name}: {camera['images']} images {camera['form']}, {truth}"
        about = camera["about"]
        if about:
            known = {key: value for key, value in about.items() if value}
            yield "    " + ", ".join(f"{key} {value}" for key, value in known.items())
    if content["damage"]:
        yield f"  {content['damage']}"


def _describe_camera(bag: Bag, camera: CameraTopics) -> dict[str, Any]:
    about = None
    with suppress(CamsegError):
        about = read_about(bag, camera)
    truth = bag.topics.get(camera.truth or "")
    return {
        "image_topic": camera.image,
        "images": bag.topics[camera.image].count,
        "form": _form(bag, camera),
        "camera_info": camera.camera_info is not None,
        "truth": truth.count if truth else 0,
        "about": None
        if about is None
        else {
            "classes": about.label_set.name if about.label_set else "",
            **{key: value for key, value in vars(about).items() if key != "label_set"},
        },
    }


def _form(bag: Bag, camera: CameraTopics) -> str:
    first = next(bag.messages([camera.image]), None)
    if first is None:
        return ""
    try:
        image = first.decode()
    except UnreadableMessageError as error:
        return f"that are not readable ({error})"
    if camera.is_compressed:
        return f"compressed ({image.format})"
    return f"{image.width} x {image.height} {image.encoding}"
