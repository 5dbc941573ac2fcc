# SPDX-License-Identifier: Apache-2.0
"""Conversion of image messages to arrays and back: encodings, row padding, byte order.

H and W are rows and columns of the image, C its channels. Camera images become uint8 RGB [H, W, 3].
Every message is checked before it is read; one that breaks a rule is refused with BadFrameError.
"""

from __future__ import annotations

import re
import warnings
from array import array as byte_array
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from camseg_core.errors import CamsegError, CamsegWarning, in_one_line, shown
from camseg_core.images.decoding import check_size, decode_image
from camseg_core.images.limits import MAX_IMAGE_MEGAPIXELS

try:
    from cv_bridge import CvBridge

    # cv_bridge imports even where its converter does not (a build for another numpy).
    from cv_bridge.boost.cv_bridge_boost import cvtColor2 as _  # noqa: F401
except ImportError:
    _BRIDGE: Any = None
else:
    _BRIDGE = CvBridge()

# Encoding -> bytes per pixel, OpenCV code to RGB (None: it is RGB). ROS names a Bayer pattern by
# its first 2 x 2 pixels, OpenCV by the second row from the second column on: rggb is BG.
# The 4:2:2 and 4:2:0 names are those of sensor_msgs/image_encodings.hpp, the older ones included.
_CONVERSIONS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUYV),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUYV),
    "nv12": (1, cv2.COLOR_YUV2RGB_NV12),
    "nv21": (1, cv2.COLOR_YUV2RGB_NV21),
}
# Half a row of chroma belongs to each row of luma: below height rows of luma, as wide, come half as
# many of chroma. height is the image's own, and step the luma's, as drivers publish them.
_PLANAR = frozenset({"nv12", "nv21"})
# Why those of sensor_msgs/image_encodings.hpp are refused that are no image of 8 bits a channel.
_OTHER_ENCODINGS = (
    ("(mono|rgb|rgba|bgr|bgra|bayer_[rgb]{4})16|16[US]C[0-9]*", "has 16 bits a channel, not 8"),
    ("(8S|32S|32F|64F)C[0-9]*", "holds no values of 0 to 255"),
    ("8UC[0-9]*", "does not say what its channels are"),
    ("nv24", "is a 4:4:4 image in planes, which is not read"),
)
# What every cv_bridge converts: the registry's has no 4:2:2 and misspells bayer_grbg8.
_BRIDGE_ENCODINGS = frozenset(
    {"rgb8", "bgr8", "rgba8", "bgra8", "mono8", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8"}
)
# The encodings whose colours image_transport may have swapped.
_COLORS = frozenset({"rgb8", "bgr8", "rgba8", "bgra8"})
# OpenCV answers with black, not with an error, when a Bayer image is smaller.
_SMALLEST_BAYER = 3

COMPRESSED_FORMATS = ("JPEG", "PNG")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH = 24
"""Place of the bits per channel in a PNG file, whose header always comes first."""

IMAGE_ENCODINGS = tuple(_CONVERSIONS)
"""The encodings that `rgb_from_image` accepts."""


class BadFrameError(ValueError):
    """A message cannot be read; its one line says what is wrong, the value and the rule."""


def stamp_ns(header: Header) -> int:
    """Return the header's time stamp in nanoseconds, exactly."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def rgb_from_image(
    message: Image, max_megapixels: float = MAX_IMAGE_MEGAPIXELS
) -> NDArray[np.uint8]:
    """Convert a camera image to RGB.

    The message is in one of IMAGE_ENCODINGS, its rows padded or not. Returns uint8 RGB [H, W, 3],
    0..255, C-contiguous, sharing no memory with the message. Bayer images are demosaiced
    bilinearly; 4:2:2 and 4:2:0 images are read as BT.601 with luma 16..235, as OpenCV and
    cv_bridge do. 8UC1 is read as mono8, 8UC3 as bgr8, which a CamsegWarning tells.

    Raises BadFrameError if the size, encoding, byte order, step or amount of data breaks a rule, if
    the image is larger than ``max_megapixels``, or if it cannot be converted.
    """
    encoding = message.encoding
    _require_known(encoding)
    bytes_per_pixel, _code = _CONVERSIONS[encoding]
    rows = _rows(message, bytes_per_pixel)
    try:
        check_size(message.height, message.width, max_megapixels)
    except CamsegError as error:
        raise BadFrameError(f"image {error}") from None
    # Two bytes a pixel is 4:2:2, where two neighbours share their chroma; in 4:2:0 four do.
    if (bytes_per_pixel == 2 or encoding in _PLANAR) and message.width % 2:
        raise BadFrameError(f"image width {message.width}: must be even for {encoding}")
    channels = () if bytes_per_pixel == 1 else (bytes_per_pixel,)
    pixels = rows.reshape(-1, message.width, *channels)
    # cv_bridge ignores padding, and swaps bytes of big-endian messages that need no swapping.
    is_packed = message.step == rows.shape[1] and not message.is_bigendian
    by_bridge = _BRIDGE is not None and encoding in _BRIDGE_ENCODINGS and is_packed
    return _rgb_from_pixels(pixels, encoding, message if by_bridge else None)


def rgb_from_compressed(
    message: CompressedImage, max_megapixels: float = MAX_IMAGE_MEGAPIXELS
) -> NDArray[np.uint8]:
    """Decode a compressed camera image (jpeg, png) to RGB.

    The message holds one JPEG or PNG file of 8 bits a channel. Returns uint8 RGB [H, W, 3], 0..255,
    C-contiguous, sharing no memory with the message. The pixels stay where they are stored: an EXIF
    orientation is ignored. What stands before a semicolon in the format is the camera's encoding,
    and has to be one of IMAGE_ENCODINGS; a gray image of a Bayer encoding is demosaiced; colours
    are taken for swapped where image_transport takes them for it.

    Raises BadFrameError if there is no data, it cannot be decoded, is larger than
    ``max_megapixels`` or has another encoding.
    """
    encoding, is_stated, coding = message.format.partition(";")
    encoding = encoding.strip()
    if is_stated:
        _require_known(encoding)
    content = bytes(message.data)
    described = f"compressed image of format {shown(message.format)}"
    if content.startswith(PNG_MAGIC) and content[PNG_DEPTH : PNG_DEPTH + 1] == b"\x10":
        raise BadFrameError(f"{described} has 16 bits a channel; 8 are needed")
    try:
        pixels = decode_image(content, COMPRESSED_FORMATS, max_megapixels)
    except CamsegError as error:
        raise BadFrameError(f"{described} {error}") from None
    if pixels.ndim == 2:
        is_bayer = encoding.startswith("bayer_") and encoding in _CONVERSIONS
        return _rgb_from_pixels(pixels, encoding if is_bayer else "mono8")
    # compressed_image_transport writes what OpenCV took for BGR, and states it.
    if is_stated and encoding in _COLORS and "compressed bgr" not in coding:
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    return pixels


def image_message(array: NDArray[Any], encoding: str, header: Header) -> Image:
    """Build the message of an output image, with this header.

    The array is uint8 [H, W] for the encoding mono8, uint8 [H, W, 3] for rgb8, uint8 [H, W, C] for
    `8UC<C>` (such as 8UC19) and float32 [H, W, 2] for 32FC2, in any memory layout, with H and W at
    least 1. The message is little-endian, its rows are not padded, and it shares no memory with the
    array.
    """
    height, width = array.shape[:2]
    little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    data = byte_array("B")  # the one type that the field takes without a slow check
    data.frombytes(little_endian.reshape(-1).view(np.uint8).data)
    step = len(data) // height
    return Image(header=header, height=height, width=width, encoding=encoding, step=step, data=data)


def array_from_image_message(message: Image) -> NDArray[Any]:
    """Read an output image as a subscriber does: the reverse of `image_message`.

    Returns uint8 [H, W] for mono8, uint8 [H, W, 3] for rgb8, uint8 [H, W, C] for `8UC<C>` and
    float32 [H, W, 2] for 32FC2, in native byte order, C-contiguous, owning its memory.

    Raises BadFrameError if the size, encoding, byte order, step or amount of data breaks a rule.
    """
    dtype, channels = _output_layout(message.encoding)
    rows = _rows(message, dtype.itemsize * int(np.prod(channels)))
    values = rows.view(dtype.newbyteorder(">" if message.is_bigendian else "<"))
    return values.reshape(message.height, message.width, *channels).astype(dtype.newbyteorder("="))


def _require_known(encoding: str) -> None:
    """Refuse an encoding that is not read, and tell what is assumed of one that says too little."""
    if encoding == "8UC3":
        warnings.warn(
            "image encoding 8UC3 does not say the order of its colours, and is read as bgr8; "
            "publish bgr8 or rgb8",
            CamsegWarning,
            stacklevel=3,
        )
    if encoding in _CONVERSIONS:
        return
    reasons = (why for names, why in _OTHER_ENCODINGS if re.fullmatch(names, encoding))
    raise BadFrameError(
        f"image encoding {shown(encoding)} {next(reasons, 'is unknown')}: must be one of "
        f"{', '.join(IMAGE_ENCODINGS)}"
    )


def _output_layout(encoding: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the dtype and the shape after [H, W]."""
    if encoding == "32FC2":
        return np.dtype(np.float32), (2,)
    if encoding in ("mono8", "rgb8"):
        return np.dtype(np.uint8), () if encoding == "mono8" else (3,)
    match = re.fullmatch(r"8UC([1-9][0-9]{0,8})", encoding)
    if match is None:
        raise BadFrameError(
            f"output encoding {shown(encoding)}: must be mono8, rgb8, 8UC<channels> or 32FC2"
        )
    return np.dtype(np.uint8), (int(match[1]),)


def _rows(message: Image, bytes_per_pixel: int) -> NDArray[np.uint8]:
    """Check the message's size, byte order, step and data; return its rows without padding.

    Returns uint8 [H, W * bytes_per_pixel], C-contiguous, a view of the message where it can be;
    of `_PLANAR` encodings uint8 [1.5 H, W].
    """
    width, height, step, size = message.width, message.height, message.step, len(message.data)
    if width < 1 or height < 1:
        raise BadFrameError(f"image size {width} x {height}: both must be at least 1")
    if message.encoding in _PLANAR:
        if height % 2:
            raise BadFrameError(f"image height {height}: must be even for {message.encoding}")
        height = height * 3 // 2
    if message.is_bigendian not in (0, 1):
        raise BadFrameError(f"is_bigendian {message.is_bigendian}: must be 0 or 1")
    row_bytes = width * bytes_per_pixel
    if step < row_bytes:
        raise BadFrameError(
            f"image step {step}: must be at least {row_bytes}, "
            f"{width} pixels of {bytes_per_pixel} bytes ({message.encoding})"
        )
    # Drivers that copy row by row leave out the last row's padding.
    if size not in (step * height, step * (height - 1) + row_bytes):
        factor = "step x 1.5 height" if message.encoding in _PLANAR else "step x height"
        raise BadFrameError(
            f"image data of {size} bytes: must be {factor} = {step} x {height} = "
            f"{step * height}, of which only the last row's padding may be missing"
        )
    strided: NDArray[np.uint8] = np.ndarray(
        (height, row_bytes), np.uint8, buffer=message.data, strides=(step, 1)
    )
    return np.ascontiguousarray(strided)


def _rgb_from_pixels(
    pixels: NDArray[np.uint8], encoding: str, for_bridge: Image | None = None
) -> NDArray[np.uint8]:
    """Convert checked pixels [H, W] or [H, W, C], by cv_bridge if given their message."""
    height, width = pixels.shape[:2]
    if encoding.startswith("bayer_") and min(height, width) < _SMALLEST_BAYER:
        raise BadFrameError(
            f"image size {width} x {height}: both must be at least {_SMALLEST_BAYER} for {encoding}"
        )
    _bytes_per_pixel, code = _CONVERSIONS[encoding]
    try:
        if for_bridge is not None:
            rgb: Any = _BRIDGE.imgmsg_to_cv2(for_bridge, "rgb8")
        else:
            rgb = pixels if code is None else cv2.cvtColor(pixels, code)
    # The libraries raise many types (cv2.error, KeyError, TypeError); a frame must not stop a node.
    except Exception as error:
        raise BadFrameError(
            f"{encoding} image of {width} x {height}: cannot be converted: {in_one_line(error)}"
        ) from error
    # rgb8 comes back as a view of the message.
    return np.require(rgb, np.uint8, ["C_CONTIGUOUS", "OWNDATA", "WRITEABLE"])
