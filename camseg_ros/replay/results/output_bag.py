# SPDX-License-Identifier: Apache-2.0
"""A bag of what the node publishes: masks, confidence, and what the class ids mean."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from std_msgs.msg import Header, String

from camseg_core.images.arrays import UInt8
from camseg_core.labels import LabelSet
from camseg_ros.bag.writer import BagWriter
from camseg_ros.messages.images import image_message, stamp_ns
from camseg_ros.messages.labels import labels_json
from camseg_ros.node.parameters import NODE_NAME

BAGS_FOLDER = "bags"
LABELS = f"/{NODE_NAME}/labels"


class OutputBag:
    """Topics have the node's names; log times are the stamps. A context manager."""

    def __init__(self, path: Path, label_set: LabelSet, weights_sha256: str) -> None:
        """Prepare to write the folder ``path``; see `BagWriter`."""
        self._writer = BagWriter(path)
        self._labels = labels_json(label_set, weights_sha256)
        self._begun = False

    def __enter__(self) -> OutputBag:
        """Open the bag."""
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Bring it to its place, or remove it after an error."""
        self._writer.__exit__(kind, error, trace)

    def write(self, camera: str, header: Header, class_ids: UInt8, confidence: UInt8) -> None:
        """Append the outputs of one frame, uint8 [H, W] each.

        Raises:
            CamsegError: the disk is full.
        """
        time_ns = stamp_ns(header)
        if not self._begun:
            self._writer.write(LABELS, String(data=self._labels), time_ns, latched=True)
            self._begun = True
        for topic, picture in (("mask", class_ids), ("confidence", confidence)):
            message = image_message(picture, "mono8", header)
            self._writer.write(f"/{NODE_NAME}/{camera}/{topic}", message, time_ns)
