# SPDX-License-Identifier: Apache-2.0
"""Messages that tell what the class ids mean: JSON, and LabelInfo where vision_msgs is found."""

from __future__ import annotations

import json
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from camseg_core.labels import UNLABELED, LabelSet


def labels_json(label_set: LabelSet, weights_sha256: str) -> str:
    """Return ids, names, palette (RGB 0..255), label-set name and weights hash as JSON."""
    return json.dumps({**label_set.described(), "weights_sha256": weights_sha256})


def label_info_message(label_set: LabelSet, threshold: float, frame_id: str, stamp: Time) -> Any:
    """Build a vision_msgs/LabelInfo; return None where vision_msgs is not installed.

    It lists all classes and the id of unlabeled pixels; ``threshold`` is the least confidence of a
    labeled pixel, 0..1.

    Raises:
        Exception: vision_msgs is installed and does not work, in whatever way.
    """
    try:
        import vision_msgs  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "vision_msgs":
            raise
        return None
    from vision_msgs.msg import LabelInfo, VisionClass

    return LabelInfo(
        header=Header(stamp=stamp, frame_id=frame_id),
        class_map=[
            VisionClass(class_id=class_id, class_name=name)
            for class_id, name in [*enumerate(label_set.names), (UNLABELED, "unlabeled")]
        ],
        threshold=threshold,
    )
