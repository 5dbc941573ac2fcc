# SPDX-License-Identifier: Apache-2.0
"""Messages with truth to class ids: mono8, or a PNG of 8 bits that changes no id."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from camseg_ros.bag.contents import BagMessage
from camseg_ros.conversions import BadFrameError, array_from_image_message, stamp_ns

UInt8 = NDArray[np.uint8]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH, PNG_COLOR_TYPE = 24, 25
"""Where they stand in a PNG file (https://www.w3.org/TR/png-3/#11IHDR)."""

GRAY, RGB = 0, 2


def read_truth(message: BagMessage) -> tuple[int, UInt8]:
    """Give stamp in nanoseconds and class ids uint8 [H, W] of a bag's truth message.

    Raises:
        UnreadableMessageError: no message of its type.
        BadFrameError: no class ids.
    """
    image = message.decode()
    if isinstance(image, CompressedImage):
        return stamp_ns(image.header), class_ids_of_compressed(image)
    if isinstance(image, Image):
        return stamp_ns(image.header), class_ids_of(image)
    raise BadFrameError(f"truth of type {message.message_type}: an Image of mono8 is needed")


def class_ids_of(image: Image) -> UInt8:
    """Give the class ids uint8 [H, W] of a truth image.

    Raises:
        BadFrameError: no class ids.
    """
    if image.encoding not in ("mono8", "8UC1"):
        raise BadFrameError(f"truth of encoding {image.encoding!r}: mono8 is needed")
    image.encoding = "mono8"
    return array_from_image_message(image)


def class_ids_of_compressed(image: CompressedImage) -> UInt8:
    """Give the class ids uint8 [H, W] of compressed truth, gray or with three equal channels.

    Raises:
        BadFrameError: another format, which may have changed ids; or a picture in colour.
    """
    content = bytes(image.data)
    described = f"compressed truth of format {image.format!r}"
    if not content.startswith(PNG_MAGIC) or len(content) <= PNG_COLOR_TYPE:
        raise BadFrameError(f"{described}: PNG is needed, other formats change ids")
    depth, color_type = content[PNG_DEPTH], content[PNG_COLOR_TYPE]
    if depth != 8 or color_type not in (GRAY, RGB):
        raise BadFrameError(
            f"{described}: a PNG of {depth} bits and colour type {color_type}; gray (0) or RGB (2) "
            "of 8 bits is needed"
        )
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise BadFrameError(f"{described}: cannot be decoded")
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise BadFrameError(f"{described} is in colour: a gray image of ids is needed")
        pixels = pixels[..., 0]
    return np.ascontiguousarray(pixels, np.uint8)
