# SPDX-License-Identifier: Apache-2.0
"""The topics of each camera's results: their names and contents, as plain data."""

from __future__ import annotations

from typing import NamedTuple


class OutputTopic(NamedTuple):
    """One topic below ``~/<camera>/``.

    Attributes:
        topic: Name of the topic there.
        kind: Type of its messages, with the encoding of an image.
        content: What it holds, in Markdown.
    """

    topic: str
    kind: str
    content: str


OUTPUT_TOPICS: dict[str, OutputTopic] = {
    "mask": OutputTopic(
        "mask", "Image mono8", "class id 0..C-1, 255 = unlabeled, at the input's size or "
        "`output_height` x `output_width`",
    ),
    "mask_compressed": OutputTopic(
        "mask/compressed", "CompressedImage", "the same as PNG (JPEG would change ids)"
    ),
    "confidence": OutputTopic(
        "confidence", "Image mono8", "largest class probability, 0..255 (see [model.md](model.md))"
    ),
    "class_probabilities": OutputTopic(
        "class_probabilities", "Image `8UC<C>`", "probability of each class, 0..255, one pixel per "
        "token (16 x 16 pixels of the model's input)",
    ),
    "class_summary": OutputTopic(
        "class_summary", "Image 32FC2, 1 x C", "share of the pixels and mean confidence 0..1 of "
        "each class",
    ),
    "overlay": OutputTopic("overlay", "Image rgb8", "class colours over the image"),
    "camera_info": OutputTopic(
        "camera_info", "CameraInfo", "calibration for the mask's size, once the camera's own has "
        "come",
    ),
    "drivable_grid": OutputTopic(
        "drivable_grid", "nav_msgs/OccupancyGrid", "the ground from above, in `grid_frame`; see "
        "below",
    ),
}  # fmt: skip
"""Topics by the name that parameter ``outputs`` has for them; `outputs` builds their messages."""
