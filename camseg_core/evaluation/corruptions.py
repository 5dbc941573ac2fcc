# SPDX-License-Identifier: Apache-2.0
"""Image corruptions for the robustness sweep: the eight published ones, and fog, rain and snow.

The published code is not available; the levels are read from the figures of CAM-Seg (arXiv
2503.15617). docs/robustness.md says how each corruption is computed. Images are RGB uint8
[H, W, 3].
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from camseg_core.errors import CamsegError
from camseg_core.evaluation.weather_filters import SEVERITIES, WEATHER_FILTERS
from camseg_core.images.arrays import UInt8, check_image

Filter = Callable[[UInt8, Any, np.random.Generator], UInt8]


@dataclass(frozen=True)
class Kind:
    """A kind of corruption and its levels.

    Attributes:
        filter: function of an image, a level and a generator that returns a corrupted copy.
        levels: the levels of its sweep.
        least, most: ends of the range of valid levels, which are valid too.
        meaning: what a level is, with its unit.
        whole: true if only whole numbers are valid.
        identity: the level that changes nothing; None if there is none.
    """

    filter: Filter
    levels: tuple[float, ...]
    least: float
    most: float
    meaning: str
    whole: bool = False
    identity: float | None = None

    def refusal(self, name: str, level: str) -> CamsegError:
        """Return the error for a level that is not valid."""
        kind = "a whole number" if self.whole else "a number"
        return CamsegError(
            f"corruption {name} at level {level}: its level is {self.meaning}, {kind} from "
            f"{self.least:g} to {self.most:g} (a sweep takes {_listed(self.levels)})"
        )


@dataclass(frozen=True)
class Corruption:
    """One corruption at one level; its text is ``name:level``.

    Attributes:
        name: a key of `CORRUPTIONS`.
        level: a valid level of that kind.

    Raises:
        CamsegError: the corruption is unknown, or the level is not valid.
    """

    name: str
    level: float

    def __post_init__(self) -> None:
        """Refuse what `corrupt` cannot do."""
        valid = _kind(self.name)
        # NaN is within no range.
        if not valid.least <= self.level <= valid.most or (
            valid.whole and self.level != int(self.level)
        ):
            raise valid.refusal(self.name, f"{self.level:g}")
        # 10 and 10.0, 0.0 and -0.0 are one level, with one text and one generator.
        object.__setattr__(self, "level", float(self.level) + 0.0)

    def __str__(self) -> str:
        return f"{self.name}:{self.level:g}"


def select_corruptions(text: str) -> tuple[Corruption, ...]:
    """Return the corruptions that a text names, in its order, each once.

    Args:
        text: ``none``, or a comma list of: ``all`` (the published eight at their levels),
            ``weather`` (fog, rain and snow at every severity), a corruption's name (at the levels
            of its sweep), or ``name:level`` with any valid level.

    Raises:
        CamsegError: a name is unknown, or a level is no number or not valid.
    """
    items = [item.strip() for item in text.split(",")]
    if items == ["none"]:
        return ()
    return tuple(dict.fromkeys(corruption for item in items for corruption in _read_item(item)))


def corrupt(image: UInt8, name: str, level: float, generator: np.random.Generator) -> UInt8:
    """Return a corrupted copy of an image.

    Args:
        image: RGB uint8 [H, W, 3], of any size.
        name: a key of `CORRUPTIONS`.
        level: a valid level of that kind.
        generator: the only source of randomness; the same state gives the same bytes.

    Raises:
        CamsegError: the corruption, the level or the image is not valid, or weather is asked for
            and albumentations is not installed.
    """
    corruption = Corruption(name, level)
    image = check_image(image)
    kind = CORRUPTIONS[name]
    if corruption.level == kind.identity:
        return image.copy()  # PIL would round on the way to HSV and back
    level = int(corruption.level) if kind.whole else corruption.level
    return kind.filter(image, level, generator)


def corruption_generator(
    seed: int, sample_name: str, name: str, level: float
) -> np.random.Generator:
    """Return the generator for one corruption of one image.

    It depends on the arguments only, so that shards, resumed runs and other orders of the images
    corrupt every image alike.

    Args:
        seed: seed of the evaluation.
        sample_name: `SampleMetadata.name`, the same on every machine.
        name: a key of `CORRUPTIONS`.
        level: a valid level of that kind.

    Raises:
        CamsegError: the corruption or the level is not valid.
    """
    corruption = Corruption(name, level)
    text = f"{seed}\n{sample_name}\n{corruption.name}\n{corruption.level!r}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    # PCG64 is named since default_rng may stand for another one some day.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(digest))))


def _read_item(item: str) -> Iterator[Corruption]:
    name, colon, level = item.partition(":")
    if colon:
        kind = _kind(name)
        try:
            number = float(level)
        except ValueError:
            raise kind.refusal(name, repr(level)) from None
        yield Corruption(name, number)
        return
    groups = {"all": PUBLISHED_CORRUPTIONS, "weather": WEATHER_FILTERS}
    for known in groups.get(name, (name,)):
        for known_level in _kind(known).levels:
            yield Corruption(known, known_level)


def _kind(name: str) -> Kind:
    if name in CORRUPTIONS:
        return CORRUPTIONS[name]
    known = "; ".join(f"{known} ({_listed(kind.levels)})" for known, kind in CORRUPTIONS.items())
    raise CamsegError(
        f"no corruption {name!r}; give none alone, or a comma list of all, weather, NAME and "
        f"NAME:LEVEL with {known}"
    )


def _listed(levels: tuple[float, ...]) -> str:
    return ", ".join(f"{level:g}" for level in levels)


def _gaussian_noise(image: UInt8, sigma: float, generator: np.random.Generator) -> UInt8:
    """Add independent normal noise to every channel of every pixel, rounded, then clip."""
    noise = generator.standard_normal(image.shape, np.float32) * np.float32(sigma)
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)


def _gaussian_blur(image: UInt8, sigma: float, _: np.random.Generator) -> UInt8:
    """Blur with OpenCV's kernel for ``sigma`` (about 6 sigma wide), the border mirrored."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _motion_blur(image: UInt8, length: int, _: np.random.Generator) -> UInt8:
    """Average ``length`` pixels of a row, the border mirrored."""
    return np.asarray(cv2.blur(image, (length, 1)), np.uint8)


def _salt_and_pepper(image: UInt8, percent: float, generator: np.random.Generator) -> UInt8:
    """Make each pixel white or black, all channels, each with half of the probability."""
    chance = generator.random(image.shape[:2])
    noisy = image.copy()
    noisy[chance < percent / 100] = 255
    noisy[chance < percent / 200] = 0
    return noisy


def _enhance(enhancer: Callable[[Image.Image], Any]) -> Filter:
    """Return the filter of one of PIL's enhancers; its level is a factor."""

    def enhance(image: UInt8, factor: float, _: np.random.Generator) -> UInt8:
        return np.array(enhancer(Image.fromarray(image)).enhance(factor))

    return enhance


def _hue(image: UInt8, turn: float, _: np.random.Generator) -> UInt8:
    """Turn the hue, which is a byte that wraps around, as torchvision does on PIL images."""
    hsv = np.array(Image.fromarray(image).convert("HSV"))
    hsv[..., 0] += np.uint8(math.trunc(turn * 255) % 256)
    return np.array(Image.fromarray(hsv, "HSV").convert("RGB"))


_FACTORS = (0.5, 0.75, 1.25, 1.5)

PUBLISHED_CORRUPTIONS: Mapping[str, Kind] = {
    "gaussian_noise": Kind(
        _gaussian_noise, (5, 10, 20, 30, 50, 100), 0, 255, "standard deviation in grey levels",
        identity=0,
    ),
    "gaussian_blur": Kind(
        _gaussian_blur, (1, 5, 11, 25, 50), 0, 100, "standard deviation in pixels", identity=0
    ),
    "motion_blur": Kind(
        _motion_blur, (3, 9, 15, 21, 35, 51, 75, 105, 151, 221), 1, 1001, "length in pixels",
        whole=True, identity=1,
    ),
    "salt_and_pepper": Kind(
        _salt_and_pepper, (1, 2, 5, 10, 25, 50, 60, 70, 80), 0, 100,
        "share of the pixels in percent", identity=0,
    ),
    "brightness": Kind(
        _enhance(ImageEnhance.Brightness), _FACTORS, 0, 10, "factor", identity=1
    ),
    "contrast": Kind(_enhance(ImageEnhance.Contrast), _FACTORS, 0, 10, "factor", identity=1),
    "saturation": Kind(
        _enhance(ImageEnhance.Color), (0, 0.5, 1.5, 2), 0, 10, "factor", identity=1
    ),
    "hue": Kind(
        _hue, (-0.2, -0.1, 0.1, 0.2), -0.5, 0.5, "turn as a share of the full circle", identity=0
    ),
}  # fmt: skip
"""The eight published corruptions by name, with their published levels."""

CORRUPTIONS: Mapping[str, Kind] = {
    **PUBLISHED_CORRUPTIONS,
    **{
        name: Kind(add, SEVERITIES, SEVERITIES[0], SEVERITIES[-1], "severity", whole=True)
        for name, add in WEATHER_FILTERS.items()
    },
}
"""Every corruption by name."""
