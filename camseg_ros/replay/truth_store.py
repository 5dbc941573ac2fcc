# SPDX-License-Identifier: Apache-2.0
"""A camera's truth by stamp, kept on disk: a bag may hold it long before or after the images."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from camseg_ros.bag.camera_topics import CameraTopics
from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.reader import Bag
from camseg_ros.bag.serialization import UnreadableMessageError
from camseg_ros.conversions import BadFrameError
from camseg_ros.replay.truth_messages import read_truth

UInt8 = NDArray[np.uint8]

MEMORY_BYTES = 64 << 20
"""What of it is kept in memory; the rest is on disk."""

FASTEST = 1
"""Of zlib's levels: masks shrink to a fiftieth at any."""


class TruthStore:
    """Class ids uint8 [H, W] by stamp in nanoseconds.

    Attributes:
        refused: messages that are no class ids, with why.
        repeated: messages whose stamp an earlier one had; the first counts.
    """

    def __init__(self) -> None:
        """Start empty; `close` removes the file."""
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - see `close`
        self._places: dict[int, tuple[int, int, tuple[int, ...]]] = {}
        self.refused: list[str] = []
        self.repeated = 0

    def read(self, messages: Iterable[BagMessage]) -> None:
        """Take all truth messages of a camera."""
        for message in messages:
            self._read_one(message)

    def _read_one(self, message: BagMessage) -> None:
        try:
            stamp, class_ids = read_truth(message)
        except (UnreadableMessageError, BadFrameError) as error:
            self.refused.append(f"{message.topic}: {error}")
        else:
            self.add(stamp, class_ids)

    def add(self, stamp: int, class_ids: UInt8) -> None:
        """Keep class ids [H, W] of a stamp that is new."""
        if stamp in self._places:
            self.repeated += 1
            return
        packed = zlib.compress(np.ascontiguousarray(class_ids).tobytes(), FASTEST)
        self._file.seek(0, 2)
        self._places[stamp] = (self._file.tell(), len(packed), class_ids.shape)
        self._file.write(packed)

    def get(self, stamp: int) -> UInt8 | None:
        """Give the class ids of a stamp; None without."""
        if stamp not in self._places:
            return None
        place, size, shape = self._places[stamp]
        self._file.seek(place)
        return np.frombuffer(zlib.decompress(self._file.read(size)), np.uint8).reshape(shape)

    def __len__(self) -> int:
        """Number of stamps."""
        return len(self._places)

    def __contains__(self, stamp: object) -> bool:
        """True if the stamp has class ids."""
        return stamp in self._places

    def __iter__(self) -> Iterator[int]:
        """Give the stamps in the order of the bag."""
        return iter(self._places)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


def read_stored_truth(bag: Bag, camera: CameraTopics, stack: ExitStack) -> TruthStore:
    """Read all truth of a camera from a bag; ``stack`` closes the store."""
    store = TruthStore()
    stack.callback(store.close)
    if camera.truth is not None:
        store.read(bag.messages([camera.truth]))
    return store
