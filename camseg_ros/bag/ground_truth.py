# SPDX-License-Identifier: Apache-2.0
"""A camera's ground truth by stamp, kept on disk because it may come long before its images."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from camseg_core.errors import CamsegError, shown
from camseg_core.images.arrays import UInt8
from camseg_core.images.decoding import decode_image
from camseg_ros.bag.camera_topics import CameraTopics
from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.reader import Bag
from camseg_ros.bag.serialization import UnreadableMessageError
from camseg_ros.messages.images import (
    PNG_DEPTH,
    PNG_MAGIC,
    BadFrameError,
    array_from_image_message,
    stamp_ns,
)

MEMORY_BYTES = 64 << 20
"""Size up to which ground truth is kept in memory; more than that is kept on disk."""

FASTEST = 1
"""The fastest level of zlib; masks shrink to a fiftieth at any level."""


class TruthStore:
    """Class ids uint8 [H, W] by stamp in nanoseconds.

    Attributes:
        refused: reasons for refusing messages that hold no class ids.
        repeated: number of messages left out because an earlier one has the same stamp.
    """

    def __init__(self) -> None:
        """Make an empty store; `close` removes its file."""
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - see `close`
        self._spans: dict[int, tuple[int, int, tuple[int, ...]]] = {}
        self.refused: list[str] = []
        self.repeated = 0

    def read(self, messages: Iterable[BagMessage]) -> None:
        """Take all ground truth messages of a camera."""
        for message in messages:
            try:
                stamp, class_ids = read_truth(message)
            except (UnreadableMessageError, BadFrameError) as error:  # noqa: PERF203 - rare
                self.refused.append(f"{message.topic}: {error}")
            else:
                self.add(stamp, class_ids)

    def add(self, stamp: int, class_ids: UInt8) -> None:
        """Keep the class ids [H, W] of a stamp, if it is new."""
        if stamp in self._spans:
            self.repeated += 1
            return
        packed = zlib.compress(np.ascontiguousarray(class_ids).tobytes(), FASTEST)
        self._file.seek(0, 2)
        self._spans[stamp] = (self._file.tell(), len(packed), class_ids.shape)
        self._file.write(packed)

    def get(self, stamp: int) -> UInt8 | None:
        """Return the class ids of a stamp; None if there are none."""
        if stamp not in self._spans:
            return None
        offset, size, shape = self._spans[stamp]
        self._file.seek(offset)
        return np.frombuffer(zlib.decompress(self._file.read(size)), np.uint8).reshape(shape)

    def __len__(self) -> int:
        """Return the number of stamps."""
        return len(self._spans)

    def __contains__(self, stamp: object) -> bool:
        """Return whether a stamp has class ids."""
        return stamp in self._spans

    def __iter__(self) -> Iterator[int]:
        """Return the stamps in the order of the bag."""
        return iter(self._spans)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


def read_stored_truth(bag: Bag, camera: CameraTopics, stack: ExitStack) -> TruthStore:
    """Read all ground truth of a camera from a bag; ``stack`` closes the store."""
    store = TruthStore()
    stack.callback(store.close)
    if camera.truth is not None:
        store.read(bag.messages([camera.truth]))
    return store


PNG_COLOR_TYPE = 25
"""Place of the colour type in a PNG file (https://www.w3.org/TR/png-3/#11IHDR)."""

GRAY, RGB = 0, 2


def read_truth(message: BagMessage) -> tuple[int, UInt8]:
    """Return the stamp in nanoseconds and the class ids uint8 [H, W] of a ground truth message.

    Raises:
        UnreadableMessageError: the bytes are not a message of its type.
        BadFrameError: the message holds no class ids.
    """
    image = message.decode()
    if isinstance(image, CompressedImage):
        return stamp_ns(image.header), class_ids_of_compressed(image)
    if isinstance(image, Image):
        return stamp_ns(image.header), class_ids_of(image)
    raise BadFrameError(f"ground truth of type {message.message_type}: a mono8 Image is needed")


def class_ids_of(image: Image) -> UInt8:
    """Return the class ids uint8 [H, W] of a ground truth image.

    Raises:
        BadFrameError: the image holds no class ids.
    """
    if image.encoding not in ("mono8", "8UC1"):
        raise BadFrameError(f"ground truth of encoding {shown(image.encoding)}: mono8 is needed")
    image.encoding = "mono8"
    return array_from_image_message(image)


def class_ids_of_compressed(image: CompressedImage) -> UInt8:
    """Return the class ids uint8 [H, W] of a compressed image, gray or of three equal channels.

    Raises:
        BadFrameError: the image is in colour, or in a format that may have changed ids.
    """
    content = bytes(image.data)
    described = f"compressed ground truth of format {shown(image.format)}"
    if not content.startswith(PNG_MAGIC) or len(content) <= PNG_COLOR_TYPE:
        raise BadFrameError(f"{described}: PNG is needed, other formats change ids")
    depth, color_type = content[PNG_DEPTH], content[PNG_COLOR_TYPE]
    if depth != 8 or color_type not in (GRAY, RGB):
        raise BadFrameError(
            f"{described}: a PNG of {depth} bits and colour type {color_type}; gray (0) or RGB (2) "
            "of 8 bits is needed"
        )
    try:
        pixels = decode_image(content, ("PNG",))
    except CamsegError as error:
        raise BadFrameError(f"{described} {error}") from None
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise BadFrameError(f"{described} is in colour: a gray image of ids is needed")
        pixels = pixels[..., 0]
    return np.ascontiguousarray(pixels, np.uint8)
