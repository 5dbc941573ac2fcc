# SPDX-License-Identifier: Apache-2.0
"""What the class ids mean, for subscribers: as JSON, and as vision_msgs has it.

vision_msgs is looked for where it is needed: it comes with a ROS 2 installation only.
"""

from __future__ import annotations

import json
from typing import Any

from builtin_interfaces.msg import Time

from camseg_core.labels import UNLABELED, LabelSet


def labels_json(label_set: LabelSet, weights_sha256: str) -> str:
    """Return ids, names, palette (RGB 0..255), label-set name and weights hash as JSON."""
    content = {
        "label_set": label_set.name,
        "weights_sha256": weights_sha256,
        "unlabeled": UNLABELED,
        "classes": [
            {"id": class_id, "name": name, "color": list(color)}
            for class_id, (name, color) in enumerate(
                zip(label_set.names, label_set.palette, strict=True)
            )
        ],
    }
    return json.dumps(content)


def class_table(label_set: LabelSet) -> list[tuple[int, str]]:
    """List class ids and names as LabelInfo does, unlabeled pixels included."""
    return [*enumerate(label_set.names), (UNLABELED, "unlabeled")]


def label_info_type() -> Any | None:
    """Return the type vision_msgs/LabelInfo, None where it is not installed."""
    try:
        from vision_msgs.msg import LabelInfo
    except ImportError:
        return None
    return LabelInfo


def label_info_message(label_set: LabelSet, threshold: float, frame_id: str, stamp: Time) -> Any:
    """Build a vision_msgs/LabelInfo: all classes, and the least confidence of a labeled pixel.

    Raises:
        ImportError: vision_msgs is not installed.
    """
    from vision_msgs.msg import LabelInfo, VisionClass

    message = LabelInfo()
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    message.class_map = [
        VisionClass(class_id=class_id, class_name=name) for class_id, name in class_table(label_set)
    ]
    message.threshold = threshold
    return message
