# SPDX-License-Identifier: Apache-2.0
"""CAM-Seg in PyTorch: continuous-latent, diffusion-based segmentation. Imports no ROS.

`Segmenter` and `SamplingOptions` are imported when they are first asked for, so that importing the
package does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camseg_core.diffusion.options import SamplingOptions
    from camseg_core.segmenter import Segmenter

__all__ = ["SamplingOptions", "Segmenter"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from camseg_core import segmenter

    return getattr(segmenter, name)
