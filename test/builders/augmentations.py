# SPDX-License-Identifier: Apache-2.0
"""Augmentations that tests start from."""

from __future__ import annotations

from camseg_core.training.augmentation import AugmentationConfig

STILL = AugmentationConfig(
    flip_probability=0.0,
    scale_range=(1.0, 1.0),
    rotation_range_degrees=(0.0, 0.0),
    brightness_range=(1.0, 1.0),
    contrast_range=(1.0, 1.0),
    saturation_range=(1.0, 1.0),
    hue_range=(0.0, 0.0),
    blur_sigma_range=(0.0, 0.0),
    noise_sigma_range=(0.0, 0.0),
)
"""Changes nothing."""
