# SPDX-License-Identifier: Apache-2.0
"""CAM-Seg in PyTorch: continuous-latent, diffusion-based segmentation. Imports no ROS.

What is listed here is the library's public side. Each name is imported when it is first asked for:
importing the package imports no torch, nor do the names that need none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camseg_core.data.datasets import open_dataset
    from camseg_core.data.sample import Dataset, Sample
    from camseg_core.diffusion.options import SamplingOptions
    from camseg_core.errors import CamsegError
    from camseg_core.images.drawing import overlay_image
    from camseg_core.images.reading import read_image
    from camseg_core.labels import LabelSet
    from camseg_core.segmentation import Segmentation
    from camseg_core.segmenter import Segmenter

__all__ = [
    "CamsegError",
    "Dataset",
    "LabelSet",
    "Sample",
    "SamplingOptions",
    "Segmentation",
    "Segmenter",
    "open_dataset",
    "overlay_image",
    "read_image",
]

_MODULES = {
    "CamsegError": "errors",
    "Dataset": "data.sample",
    "LabelSet": "labels",
    "Sample": "data.sample",
    "SamplingOptions": "diffusion.options",
    "Segmentation": "segmentation",
    "Segmenter": "segmenter",
    "open_dataset": "data.datasets",
    "overlay_image": "images.drawing",
    "read_image": "images.reading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
