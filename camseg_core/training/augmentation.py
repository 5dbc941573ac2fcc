# SPDX-License-Identifier: Apache-2.0
"""Paired augmentation: one random geometry for image and labels, random colours for the image.

Geometry is one affine map from output to source pixels, so that flip, scale, rotation and crop
cost one resampling and cannot disagree between image and labels. Everything random is drawn from
the generator that is passed in, in a fixed order.

Shapes: H, W = the source; H', W' = the output. Pixel centres are whole numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError
from camseg_core.evaluation.corruptions import CORRUPTIONS, Corruption, corrupt
from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED

Float64 = NDArray[np.float64]
Range = tuple[float, float]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601, as PIL and OpenCV have them)."""

MAX_SIDE = 32766
"""cv2.warpAffine addresses pixels with 16 bits."""

# The least and the most that each range may hold.
LIMITS: dict[str, Range] = {
    "scale_range": (0.05, 20.0),
    "rotation_range_degrees": (-180.0, 180.0),
    "brightness_range": (0.0, 10.0),
    "contrast_range": (0.0, 10.0),
    "saturation_range": (0.0, 10.0),
    "hue_range": (-0.5, 0.5),
    "blur_sigma_range": (0.0, 50.0),
    "noise_sigma_range": (0.0, 255.0),
}


@dataclass(frozen=True)
class AugmentationConfig:
    """What `augment` may do; each range is (least, most), drawn from uniformly.

    The defaults are meant for road images that are already near the size the model reads.

    Attributes:
        flip_probability: probability of mirroring left and right, 0..1.
        scale_range: factor on the source's size, 0.05..20; 2 shows things twice as large.
        crop_size: (H', W') in pixels; None keeps the source's size. Where the scaled source is
            larger the window lies anywhere in it, where it is smaller it lies anywhere in the
            window.
        rotation_range_degrees: around the window's centre, -180..180; positive turns what is seen
            anticlockwise.
        brightness_range: factor on all channels, 0..10.
        contrast_range: factor on the distance to the image's mean grey, 0..10.
        saturation_range: factor on the distance to each pixel's grey, 0..10.
        hue_range: turn of the hue as a share of the full circle, -0.5..0.5.
        blur_sigma_range: Gaussian blur in output pixels, 0..50.
        noise_sigma_range: Gaussian noise in grey levels, 0..255, independent per channel.
        corruption_probability: probability of one corruption more, 0..1, of a kind drawn from
            ``corruptions``.
        corruptions: the kinds of `camseg_core.evaluation.corruptions`, each with the range that its
            level is drawn from.

    Raises:
        CamsegError: a value out of its range.
    """

    flip_probability: float = 0.5
    scale_range: Range = (0.75, 1.5)
    crop_size: tuple[int, int] | None = None
    rotation_range_degrees: Range = (-3.0, 3.0)
    brightness_range: Range = (0.7, 1.3)
    contrast_range: Range = (0.7, 1.3)
    saturation_range: Range = (0.5, 1.5)
    hue_range: Range = (-0.03, 0.03)
    blur_sigma_range: Range = (0.0, 1.0)
    noise_sigma_range: Range = (0.0, 8.0)
    corruption_probability: float = 0.0
    corruptions: dict[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every range, so that a training run does not fail after an hour."""
        for name in ("flip_probability", "corruption_probability"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise CamsegError(f"augmentation: {name} {value!r}; a number from 0 to 1 is needed")
        for name, (least, most) in LIMITS.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise CamsegError(
                    f"augmentation: {name} {(low, high)!r}; "
                    f"(least, most) with {least:g} <= least <= most <= {most:g} is needed"
                )
        if self.crop_size is not None and not all(0 < side <= MAX_SIDE for side in self.crop_size):
            raise CamsegError(
                f"augmentation: crop_size {self.crop_size!r}; "
                f"(height, width) in pixels, from 1 to {MAX_SIDE}, is needed"
            )
        if self.corruption_probability and not self.corruptions:
            raise CamsegError("augmentation: corruption_probability is set, but no corruptions")
        for name, levels in self.corruptions.items():
            for level in levels:
                whole = name in CORRUPTIONS and CORRUPTIONS[name].whole
                Corruption(name, round(level) if whole else level)


@dataclass(frozen=True)
class Geometry:
    """One random geometry.

    Attributes:
        height, width: the output's size H', W'.
        source_from_output: float64 [2, 3]; times (x', y', 1) of an output pixel's centre it gives
            (x, y) in the source.
        scale: size of things in the output relative to the source.
    """

    height: int
    width: int
    source_from_output: Float64
    scale: float


def augment(
    image: UInt8,
    class_ids: UInt8,
    config: AugmentationConfig,
    generator: np.random.Generator,
) -> tuple[UInt8, UInt8]:
    """Return a randomly changed copy of an image and the same change of its labels.

    In this order: geometry, blur (optics), colour (light and camera), noise (sensor), corruption.

    Args:
        image: RGB uint8 [H, W, 3].
        class_ids: uint8 [H, W], 255 = unlabeled.
        config: what may change and how far.
        generator: the only source of randomness; the same state gives the same bytes.

    Returns:
        image uint8 [H', W', 3] and class ids uint8 [H', W']: the source's size, or
        ``config.crop_size``. Both are new arrays.
    """
    geometry = draw_geometry(image.shape[0], image.shape[1], config, generator)
    warped = warp_image(image, geometry)
    warped_ids = warp_class_ids(class_ids, geometry)
    changed = _change_appearance(warped, config, generator)
    if config.corruption_probability and generator.random() < config.corruption_probability:
        name = list(config.corruptions)[generator.integers(len(config.corruptions))]
        level = generator.uniform(*config.corruptions[name])
        level = round(level) if CORRUPTIONS[name].whole else level
        changed = corrupt(changed, name, level, generator)
    return changed, warped_ids


def draw_geometry(
    height: int, width: int, config: AugmentationConfig, generator: np.random.Generator
) -> Geometry:
    """Draw flip, scale, rotation and window for a source of ``height`` x ``width`` pixels.

    All five numbers are drawn whatever the configuration says, so that changing one setting does
    not change the others' draws.
    """
    flip = generator.random() < config.flip_probability
    # Uniform in the logarithm: half size is as likely as double size.
    least, most = config.scale_range
    scale = least * (most / least) ** generator.random() if most > least else least
    angle = math.radians(generator.uniform(*config.rotation_range_degrees))
    out_height, out_width = config.crop_size or (height, width)
    top = _window_start(height * scale, out_height, generator.random())
    left = _window_start(width * scale, out_width, generator.random())

    # From right to left: output pixel -> turned about the window's centre -> scaled source ->
    # source -> mirrored source. Continuous coordinates put pixel centres at halves.
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = _translation(-0.5, -0.5)
    if flip:
        matrix = matrix @ np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    matrix = matrix @ np.diag([1 / scale, 1 / scale, 1.0])
    matrix = matrix @ _translation(left + out_width / 2, top + out_height / 2)
    matrix = matrix @ np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    matrix = matrix @ _translation(0.5 - out_width / 2, 0.5 - out_height / 2)
    return Geometry(out_height, out_width, matrix[:2], scale)


def warp_image(image: UInt8, geometry: Geometry) -> UInt8:
    """Resample an image uint8 [H, W, 3] to [H', W', 3]: bilinear, averaging areas when it shrinks.

    Outside the source its border is repeated, as `camseg_core.images.fit.Fit` pads at inference:
    the network meets the same kind of outside in training. A reflection would look like more of the
    scene while its label says unlabeled; a constant is an edge that no inference input has.
    """
    matrix = geometry.source_from_output
    if geometry.scale < 1:
        # Bilinear reads four pixels however far apart its samples are, and would alias.
        height, width = image.shape[:2]
        reduced = (max(1, round(width * geometry.scale)), max(1, round(height * geometry.scale)))
        image = np.asarray(cv2.resize(image, reduced, interpolation=cv2.INTER_AREA), np.uint8)
        factors = np.array([reduced[0] / width, reduced[1] / height])
        matrix = matrix * factors[:, None]
        matrix[:, 2] += (factors - 1) / 2  # centres: (x + 0.5) * factor - 0.5
    warped = cv2.warpAffine(
        image,
        matrix,
        (geometry.width, geometry.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, np.uint8)


def warp_class_ids(class_ids: UInt8, geometry: Geometry) -> UInt8:
    """Resample class ids uint8 [H, W] to [H', W'] by nearest neighbour; outside is unlabeled."""
    warped = cv2.warpAffine(
        class_ids,
        geometry.source_from_output,
        (geometry.width, geometry.height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(UNLABELED,),
    )
    return np.asarray(warped, np.uint8)


def color_matrix(
    mean_grey: float, brightness: float, contrast: float, saturation: float, hue: float
) -> Float64:
    """Return brightness, contrast, saturation and hue as one affine map of RGB: float64 [3, 4].

    Each is affine by itself: a factor; a factor about ``mean_grey`` (0..255, as PIL's enhancer
    takes it); a factor about the pixel's grey; a turn about the grey axis by ``hue`` of a circle.
    One map means one rounding and one clipping.
    """
    turn, _ = cv2.Rodrigues(np.full(3, 2 * math.pi * hue / math.sqrt(3)))
    grey = np.tile(LUMA, (3, 1))
    linear = contrast * brightness * (saturation * np.eye(3) + (1 - saturation) * grey) @ turn
    offset = np.full((3, 1), (1 - contrast) * brightness * mean_grey)
    return np.hstack([linear, offset])


def _change_appearance(
    image: UInt8, config: AugmentationConfig, generator: np.random.Generator
) -> UInt8:
    """Blur, colour and noise of an image uint8 [H', W', 3]."""
    blur_sigma = generator.uniform(*config.blur_sigma_range)
    brightness = generator.uniform(*config.brightness_range)
    contrast = generator.uniform(*config.contrast_range)
    saturation = generator.uniform(*config.saturation_range)
    hue = generator.uniform(*config.hue_range)
    noise_sigma = generator.uniform(*config.noise_sigma_range)
    if blur_sigma > 0:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur_sigma), np.uint8)
    if (brightness, contrast, saturation, hue) != (1, 1, 1, 0):
        mean_grey = float(np.dot(cv2.mean(image)[:3], LUMA))
        matrix = color_matrix(mean_grey, brightness, contrast, saturation, hue)
        image = np.asarray(cv2.transform(image, matrix), np.uint8)
    if noise_sigma > 0:
        noise = generator.standard_normal(image.shape, np.float32) * np.float32(noise_sigma)
        image = np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)
    return image


def _window_start(scaled_side: float, out_side: int, share: float) -> int:
    """Where the window starts in the scaled source; negative where the source is smaller.

    A whole number: at scale 1 without rotation pixels are taken as they are.
    """
    return round((scaled_side - out_side) * share)


def _translation(x: float, y: float) -> Float64:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
