# SPDX-License-Identifier: Apache-2.0
"""Find each camera's topics in a bag (images, calibration, ground truth) by name or by type.

Names follow kitti2bag: ``/kitti/camera_color_left/image_rect`` with ``camera_info`` beside it. This
package adds ``semantic_gt/image`` (mono8, 255 = unlabeled) and ``semantic_gt/about``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from camseg_core.errors import CamsegError
from camseg_ros.bag.contents import BagTopic
from camseg_ros.bag.reader import Bag
from camseg_ros.messages.output_topics import OUTPUT_TOPICS

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"

KITTI_CAMERA = "/kitti/camera_color_left"
TRUTH = "semantic_gt/image"
ABOUT_LEAF, ABOUT_TYPE = "about", "std_msgs/msg/String"
ABOUT = f"semantic_gt/{ABOUT_LEAF}"
CAMERA_INFO = "camera_info"

BESIDE = {
    "camera_info": ((CAMERA_INFO, "sensor_msgs/msg/CameraInfo"),),
    "truth": (
        (TRUTH, IMAGE),
        (TRUTH, COMPRESSED_IMAGE),
        (f"{TRUTH}/compressed", COMPRESSED_IMAGE),
    ),
    "about": ((ABOUT, ABOUT_TYPE),),
}
"""Topics beside a camera's images: field of `CameraTopics` -> names and their types."""

# Images by type that are not a camera's: ground truth, depth, and what this package publishes.
_PUBLISHED = "|".join(re.escape(item.topic) for item in OUTPUT_TOPICS.values())
_NO_CAMERA = re.compile(
    rf".*/(semantic_gt/.*|{_PUBLISHED}|compressedDepth|.*depth.*|.*disparity.*)"
)


@dataclass(frozen=True)
class CameraTopics:
    """One camera's topics in a bag.

    Attributes:
        name: Name for the node and for results; letters, digits and underscores.
        image: Topic of its images.
        is_compressed: True if the images are CompressedImage messages.
        camera_info: Topic of its calibration; None where the bag has none.
        truth: Topic of its ground truth; None where the bag has none.
        about: Topic that says what the ground truth means; None where the bag has none.
    """

    name: str
    image: str
    is_compressed: bool = False
    camera_info: str | None = None
    truth: str | None = None
    about: str | None = None

    @classmethod
    def below(cls, base: str, *, image: str = "image_rect") -> CameraTopics:
        """Return the topics of a camera below ``base``, such as `KITTI_CAMERA`."""
        return cls(
            name=base.rpartition("/")[2],
            image=f"{base}/{image}",
            is_compressed=image.endswith("/compressed"),
            camera_info=f"{base}/{CAMERA_INFO}",
            truth=f"{base}/{TRUTH}",
            about=f"{base}/{ABOUT}",
        )


def find_cameras(
    topics: Mapping[str, BagTopic],
    image_topics: Sequence[str] = (),
    truth_topics: Sequence[str] = (),
) -> list[CameraTopics]:
    """Find a bag's cameras.

    Args:
        topics: Topics of the bag, by name.
        image_topics: Topics of the camera images; if empty, all topics with images except those
            known to be something else (ground truth, masks, depth).
        truth_topics: Topics of their ground truth, in the same order; if empty,
            ``semantic_gt/image`` beside the images is used if it exists.

    Raises:
        CamsegError: The bag lacks a topic, a topic holds no images, or there is no camera.
    """
    for name in (*image_topics, *truth_topics):
        _check_image_topic(topics, name)
    if truth_topics and len(truth_topics) != len(image_topics):
        raise CamsegError(
            f"{len(truth_topics)} ground truth topics for {len(image_topics)} image topics; "
            "one for each is needed, in the same order"
        )
    chosen = list(image_topics) or _by_type(topics)
    if not chosen:
        known = ", ".join(f"{t.name} ({t.message_type})" for t in topics.values()) or "none"
        raise CamsegError(f"the bag has no topic with images; its topics are: {known}")
    truths = truth_topics or [None] * len(chosen)
    cameras = zip(camera_names(chosen), chosen, truths, strict=True)
    return [_camera(topics, *camera) for camera in cameras]


def cameras_of(
    bag: Bag, image_topics: Sequence[str] = (), truth_topics: Sequence[str] = ()
) -> list[CameraTopics]:
    """Find the cameras of an open bag; see `find_cameras`.

    Raises:
        CamsegError: See `find_cameras`; the message also says how the bag is damaged.
    """
    try:
        return find_cameras(bag.topics, image_topics, truth_topics)
    except CamsegError as error:
        if bag.loss is None:
            raise CamsegError(f"{bag.path}: {error}") from error
        raise CamsegError(f"{bag.path} is damaged ({bag.loss.reason}), and {error}") from error


def loss_line(bag: Bag, cameras: Sequence[CameraTopics], image_topics: Sequence[str] = ()) -> str:
    """Return one line that says which of a bag's frames are lost; empty for a whole bag.

    Args:
        bag: Bag that was read.
        cameras: Cameras that were found.
        image_topics: Topics that were asked for; if empty, cameras that are lost entirely count
            too.
    """
    if bag.loss is None:
        return ""
    images = {camera.image for camera in cameras}
    if not image_topics:
        images.update(_by_type({name: replace(t, count=1) for name, t in bag.topics.items()}))
    return bag.loss.line(sorted(images))


def camera_names(image_topics: Sequence[str]) -> list[str]:
    """Return a distinct name for each camera: the last parts of its topic before the image's name.

    ``/kitti/camera_color_left/image_rect`` is ``camera_color_left``, unless another camera would
    have the same name.
    """
    parts = [_base(topic).strip("/").split("/") for topic in image_topics]
    for depth in range(1, max(map(len, parts)) + 1):
        names = [_token("_".join(part[-depth:])) for part in parts]
        if len(set(names)) == len(names):
            return names
    # Two of the topics are images of one camera.
    return [_token(topic.strip("/").replace("/", "_")) for topic in image_topics]


def _by_type(topics: Mapping[str, BagTopic]) -> list[str]:
    raw = [t.name for t in topics.values() if t.message_type == IMAGE and t.count]
    compressed = [t.name for t in topics.values() if t.message_type == COMPRESSED_IMAGE and t.count]
    # image_transport puts the compressed images of a topic below it: the same frames once more.
    compressed = [name for name in compressed if name.rpartition("/")[0] not in raw]
    return sorted(name for name in (*raw, *compressed) if not _NO_CAMERA.fullmatch(name))


def _camera(
    topics: Mapping[str, BagTopic], name: str, image: str, truth: str | None
) -> CameraTopics:
    """Return a camera's topics; ``truth`` takes the place of the ground truth beside the images."""
    present = {field: _find_beside(topics, image, leaves) for field, leaves in BESIDE.items()}
    if truth is not None:
        about = _find_beside(topics, truth, ((ABOUT_LEAF, ABOUT_TYPE),))
        present.update(truth=truth, about=about or present["about"])
    return CameraTopics(name, image, topics[image].message_type == COMPRESSED_IMAGE, **present)


def _find_beside(
    topics: Mapping[str, BagTopic], topic: str, leaves: Sequence[tuple[str, str]]
) -> str | None:
    """Return the first topic beside ``topic`` that exists with its type."""
    for leaf, message_type in leaves:
        name = _beside(topic, leaf)
        if name in topics and topics[name].message_type == message_type:
            return name
    return None


def about_beside(truth_topic: str) -> str:
    """Return the topic that says what the ids of a ground truth topic mean."""
    return _beside(truth_topic, ABOUT_LEAF)


def _beside(topic: str, leaf: str) -> str:
    return f"{_base(topic)}/{leaf}".replace("//", "/")


def _base(image_topic: str) -> str:
    """Return the common beginning of a camera's topic names."""
    path = image_topic.removesuffix("/compressed")
    return path.rpartition("/")[0] or path


def _token(text: str) -> str:
    """Turn any text into a ROS name."""
    token = re.sub(r"\W", "_", text, flags=re.ASCII) or "camera"
    return f"camera_{token}" if token[0].isdigit() else token


def _check_image_topic(topics: Mapping[str, BagTopic], name: str) -> None:
    if name not in topics:
        kinds = (IMAGE, COMPRESSED_IMAGE)
        images = ", ".join(t.name for t in topics.values() if t.message_type in kinds) or "none"
        raise CamsegError(f"the bag has no topic {name}; its image topics are: {images}")
    if topics[name].message_type not in {IMAGE, COMPRESSED_IMAGE}:
        raise CamsegError(
            f"{name} has type {topics[name].message_type}; {IMAGE} or {COMPRESSED_IMAGE} is needed"
        )
