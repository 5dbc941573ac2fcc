# SPDX-License-Identifier: Apache-2.0
"""The messages about a segmented frame, each made only when it is asked for; no rclpy.

H and W are the mask's size, C is the number of classes, h and w are the size of the token grid.
"""

from __future__ import annotations

from array import array as byte_array
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from camseg_core.images.arrays import UInt8
from camseg_core.images.drawing import encode_png, overlay_image
from camseg_core.labels import UNLABELED, LabelSet
from camseg_core.segmentation import Segmentation
from camseg_ros.ground.view import GridRules, GroundView
from camseg_ros.messages.images import image_message

PNG_FORMAT = "mono8; png compressed mono8"
"""Format of a mono8 image as image_transport's compressed plugin states it."""


@dataclass(frozen=True)
class OutputSettings:
    """How masks are finished before they are published.

    Attributes:
        least_confidence: Least confidence of each class id, uint8 [256]; pixels below it become
            unlabeled.
        height, width: Size of mask, confidence and overlay, pixels; 0 follows from the other one
            by the input's aspect, and two zeros are the input's size.
        grid: What the pixels mean for the drivable grid.
    """

    least_confidence: UInt8
    height: int = 0
    width: int = 0
    grid: GridRules | None = None


def least_confidence_table(shares: Sequence[float]) -> UInt8:
    """Return the least confidence of each class id, uint8 [256], from the classes' shares 0..1."""
    table = np.zeros(256, np.uint8)
    # Rounded up: a pixel at the limit or above it stays.
    table[: len(shares)] = np.ceil(np.round(255.0 * np.array(shares), 6))
    return table


@dataclass(frozen=True, eq=False)
class FrameOutputs:
    """The messages about one frame; each part is computed when it is first asked for.

    Attributes:
        image: Input image, RGB uint8 [H, W, 3], for the overlay.
        segmentation: Result for this image.
        header: Header of the input; every message carries its stamp and frame_id.
        settings: How the mask is finished.
        label_set: Classes of the model.
        camera_info: The camera's last calibration, if there is any.
        ground: What projects the mask on the ground, if there is anything.
    """

    image: UInt8
    segmentation: Segmentation
    header: Header
    settings: OutputSettings
    label_set: LabelSet
    camera_info: CameraInfo | None = None
    ground: GroundView | None = None

    def messages(self, names: Iterable[str]) -> dict[str, Any]:
        """Build the messages called ``names``, by name; what cannot be built yet is left out."""
        built = {name: OUTPUTS[name].build(self) for name in names}
        return {name: message for name, message in built.items() if message is not None}

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the mask."""
        input_height, input_width = self.segmentation.class_ids.shape
        height, width = self.settings.height, self.settings.width
        if not (height or width):
            return input_height, input_width
        return (
            height or max(1, round(width * input_height / input_width)),
            width or max(1, round(height * input_width / input_height)),
        )

    @cached_property
    def confidence(self) -> UInt8:
        """Largest class probability x 255, uint8 [H, W]."""
        return self._sized(self.segmentation.confidence, cv2.INTER_NEAREST_EXACT)

    @cached_property
    def class_ids(self) -> UInt8:
        """Class ids uint8 [H, W]; 255 where the confidence is below the class's least one."""
        class_ids = self._sized(self.segmentation.class_ids, cv2.INTER_NEAREST_EXACT)
        table = self.settings.least_confidence
        if not table.any():
            return class_ids
        too_low = self.confidence < np.asarray(cv2.LUT(class_ids, table), np.uint8)
        return np.where(too_low, np.uint8(UNLABELED), class_ids)

    @cached_property
    def class_summary(self) -> NDArray[np.float32]:
        """Share of all pixels and mean confidence 0..1 of each class, float32 [1, C, 2]."""
        classes = self.label_set.num_classes
        ids = self.class_ids.ravel()
        counts = np.bincount(ids, minlength=256)[:classes]
        sums = np.bincount(ids, weights=self.confidence.ravel(), minlength=256)[:classes]
        means = np.divide(sums, 255.0 * counts, out=np.zeros(classes), where=counts > 0)
        return np.stack([counts / ids.size, means], axis=-1, dtype=np.float32)[None]

    @cached_property
    def mask_camera_info(self) -> CameraInfo | None:
        """The calibration for the mask's size; None before the camera's own has come."""
        if self.camera_info is None:
            return None
        return scaled_camera_info(self.camera_info, *self.shape, self.header)

    def image_message(self, array: NDArray[Any], encoding: str) -> Image:
        """Build an image message with the input's header."""
        return image_message(array, encoding, self.header)

    def class_probabilities(self) -> Image:
        """Build the message of the class probabilities of each token, uint8 [h, w, C]."""
        probabilities = self.segmentation.token_probabilities
        return self.image_message(probabilities, f"8UC{probabilities.shape[2]}")

    def overlay(self) -> Image:
        """Build the message of the class colours over the image, uint8 [H, W, 3]."""
        image = self._sized(self.image, cv2.INTER_AREA)
        return self.image_message(overlay_image(image, self.class_ids, self.label_set), "rgb8")

    def drivable_grid(self) -> OccupancyGrid | None:
        """Build the message of the drivable grid; None without a calibration or a mounting."""
        rules = self.settings.grid
        if self.ground is None or rules is None:
            return None
        return self.ground.message(self.class_ids, self.confidence, self.mask_camera_info, rules)

    def _sized(self, array: UInt8, interpolation: int) -> UInt8:
        height, width = self.shape
        if array.shape[:2] == (height, width):
            return array
        return np.asarray(cv2.resize(array, (width, height), interpolation=interpolation), np.uint8)


class OutputSpec(NamedTuple):
    """How one of the topics below ``~/<camera>/`` is made.

    Attributes:
        message_type: Type of its messages.
        build: Function that gives the message, or None where something for it is missing.
    """

    message_type: type
    build: Callable[[FrameOutputs], Any]


OUTPUTS: dict[str, OutputSpec] = {
    "mask": OutputSpec(Image, lambda frame: frame.image_message(frame.class_ids, "mono8")),
    "mask_compressed": OutputSpec(
        CompressedImage, lambda frame: compressed_mask_message(frame.class_ids, frame.header)
    ),
    "confidence": OutputSpec(Image, lambda frame: frame.image_message(frame.confidence, "mono8")),
    "class_probabilities": OutputSpec(Image, FrameOutputs.class_probabilities),
    "class_summary": OutputSpec(
        Image, lambda frame: frame.image_message(frame.class_summary, "32FC2")
    ),
    "overlay": OutputSpec(Image, FrameOutputs.overlay),
    "camera_info": OutputSpec(CameraInfo, lambda frame: frame.mask_camera_info),
    "drivable_grid": OutputSpec(OccupancyGrid, FrameOutputs.drivable_grid),
}
"""How the messages of `OUTPUT_TOPICS` are made, by the same names."""


def compressed_mask_message(class_ids: UInt8, header: Header) -> CompressedImage:
    """Build the message of a PNG of class ids uint8 [H, W]."""
    data = byte_array("B", encode_png(class_ids))
    return CompressedImage(header=header, format=PNG_FORMAT, data=data)


def unlabeled_messages(height: int, width: int, header: Header) -> dict[str, Any]:
    """Build the messages of the safe state: nothing is known of any pixel."""
    class_ids = np.full((height, width), UNLABELED, np.uint8)
    return {
        "mask": image_message(class_ids, "mono8", header),
        "mask_compressed": compressed_mask_message(class_ids, header),
        "confidence": image_message(np.zeros_like(class_ids), "mono8", header),
    }


def scaled_camera_info(info: CameraInfo, height: int, width: int, header: Header) -> CameraInfo:
    """Return the camera's calibration for an image of another size.

    ``info`` may describe a part (roi) or a coarser reading (binning) of the sensor: what it says of
    the image itself counts, and the result describes the whole of the new image.
    """
    scaled = deepcopy(info)
    scaled.header = header
    left, top = info.roi.x_offset, info.roi.y_offset
    read_width = info.roi.width or info.width or width
    read_height = info.roi.height or info.height or height
    scale_x, scale_y = width / read_width, height / read_height
    scaled.height, scaled.width = height, width
    scaled.binning_x = scaled.binning_y = 0
    scaled.roi = type(info.roi)()
    for name, columns in (("k", 3), ("p", 4)):
        matrix = np.array(getattr(info, name)).reshape(3, columns)
        if matrix[2, 2] != 0.0:  # calibrated
            # Pixel centres are whole numbers, so that the image's corner lies at (-0.5, -0.5).
            matrix[:2, 2] += 0.5 - np.array([left, top])
            matrix[0] *= scale_x
            matrix[1] *= scale_y
            matrix[:2, 2] -= 0.5
            setattr(scaled, name, matrix.ravel())
    return scaled
