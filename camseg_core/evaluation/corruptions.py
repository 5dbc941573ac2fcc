# SPDX-License-Identifier: Apache-2.0
"""Image corruptions of the robustness sweep: the eight published ones with their strengths, and
fog, rain and snow.

The published code is not available; strengths are read from the figures of CAM-Seg (arXiv
2503.15617). How each is computed here stands in docs/robustness.md. Images are RGB uint8
[H, W, 3].
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from camseg_core.errors import CamsegError
from camseg_core.evaluation.weather_filters import MAX_SEVERITY, WEATHER_FILTERS
from camseg_core.images.arrays import UInt8
from camseg_core.images.fit import check_image

PUBLISHED_CORRUPTIONS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "gaussian_noise": (5, 10, 20, 30, 50, 100),
        "gaussian_blur": (1, 5, 11, 25, 50),
        "motion_blur": (3, 9, 15, 21, 35, 51, 75, 105, 151, 221),
        "salt_and_pepper": (1, 2, 5, 10, 25, 50, 60, 70, 80),
        "brightness": (0.5, 0.75, 1.25, 1.5),
        "contrast": (0.5, 0.75, 1.25, 1.5),
        "saturation": (0, 0.5, 1.5, 2),
        "hue": (-0.2, -0.1, 0.1, 0.2),
    }
)
"""The eight corruptions and their published strengths."""

CORRUPTIONS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        **PUBLISHED_CORRUPTIONS,
        **{name: tuple(range(1, MAX_SEVERITY + 1)) for name in WEATHER_FILTERS},
    }
)
"""Every corruption and the levels that a sweep of it takes."""


@dataclass(frozen=True)
class LevelRange:
    """What a corruption's level may be.

    Attributes:
        least, most: the valid levels, ends included.
        meaning: what the number is, with its unit.
        whole: true if only whole numbers are valid.
        identity: the level that changes nothing, if there is one.
    """

    least: float
    most: float
    meaning: str
    whole: bool = False
    identity: float | None = None

    def rule(self) -> str:
        """Return the rule in words."""
        kind = "a whole number" if self.whole else "a number"
        return f"{self.meaning}, {kind} from {self.least:g} to {self.most:g}"


LEVEL_RANGES: Mapping[str, LevelRange] = MappingProxyType(
    {
        "gaussian_noise": LevelRange(0, 255, "standard deviation in grey levels", identity=0),
        "gaussian_blur": LevelRange(0, 100, "standard deviation in pixels", identity=0),
        "motion_blur": LevelRange(1, 1001, "length in pixels", whole=True, identity=1),
        "salt_and_pepper": LevelRange(0, 100, "share of the pixels in percent", identity=0),
        "brightness": LevelRange(0, 10, "factor", identity=1),
        "contrast": LevelRange(0, 10, "factor", identity=1),
        "saturation": LevelRange(0, 10, "factor", identity=1),
        "hue": LevelRange(-0.5, 0.5, "turn as a share of the full circle", identity=0),
        **{name: LevelRange(1, MAX_SEVERITY, "severity", whole=True) for name in WEATHER_FILTERS},
    }
)
"""The valid levels of every corruption; the published ones are some of them."""


@dataclass(frozen=True)
class Corruption:
    """One corruption at one level; as text ``name:level``.

    Attributes:
        name: a key of `CORRUPTIONS`.
        level: within the corruption's `LEVEL_RANGES`; its meaning is the corruption's.

    Raises:
        CamsegError: no such corruption, or the level is outside the range.
    """

    name: str
    level: float

    def __post_init__(self) -> None:
        """Refuse what `corrupt` could not do."""
        if self.name not in CORRUPTIONS:
            raise CamsegError(f"no corruption {self.name!r}; known are {', '.join(CORRUPTIONS)}")
        valid = LEVEL_RANGES[self.name]
        # NaN is within no range.
        if not valid.least <= self.level <= valid.most or (
            valid.whole and self.level != int(self.level)
        ):
            raise CamsegError(
                f"corruption {self.name} at level {self.level:g}: its level is {valid.rule()} "
                f"(a sweep takes {_listed(CORRUPTIONS[self.name])})"
            )
        # 10 and 10.0, 0.0 and -0.0 are one level, with one text and one generator.
        object.__setattr__(self, "level", float(self.level) + 0.0)

    def __str__(self) -> str:
        return f"{self.name}:{self.level:g}"


def select_corruptions(text: str) -> tuple[Corruption, ...]:
    """Read which corruptions are meant, in the order of the text, each once.

    Args:
        text: a comma list of: ``all`` (the published eight at their levels), ``weather`` (fog,
            rain, snow at every severity), a corruption's name (at its levels), or ``name:level``
            with any valid level; or ``none`` alone.

    Raises:
        CamsegError: an unknown name, or a level that is no number or outside its range.
    """
    entries = [entry.strip() for entry in text.split(",")]
    if entries == ["none"]:
        return ()
    return tuple(
        dict.fromkeys(corruption for entry in entries for corruption in _read_entry(entry))
    )


def corrupt(image: UInt8, name: str, level: float, generator: np.random.Generator) -> UInt8:
    """Return a corrupted copy of an image.

    Args:
        image: RGB uint8 [H, W, 3], of any size.
        name: a key of `CORRUPTIONS`.
        level: within the corruption's `LEVEL_RANGES`.
        generator: the only source of randomness; the same state gives the same bytes.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        CamsegError: no such corruption or level, no such image, or albumentations is needed
            (weather) and not installed.
    """
    corruption = Corruption(name, level)
    image = check_image(image)
    if corruption.level == LEVEL_RANGES[name].identity:
        return image.copy()  # exactly: PIL's way to HSV and back would round
    if name in WEATHER_FILTERS:
        return WEATHER_FILTERS[name](image, int(corruption.level), generator)
    return _FILTERS[name](image, corruption.level, generator)


def corruption_generator(
    seed: int, sample_name: str, name: str, level: float
) -> np.random.Generator:
    """Return the generator for one corruption of one image: a function of the arguments only.

    So shards, resumed runs and other orders of the images corrupt every image alike.

    Args:
        seed: of the evaluation.
        sample_name: `SampleMetadata.name`, the same on every machine.
        name: a key of `CORRUPTIONS`.
        level: within the corruption's `LEVEL_RANGES`.

    Raises:
        CamsegError: no such corruption or level.
    """
    corruption = Corruption(name, level)
    text = f"{seed}\n{sample_name}\n{corruption.name}\n{corruption.level!r}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    # PCG64 by name: what default_rng stands for may change.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(digest))))


def _read_entry(entry: str) -> Iterator[Corruption]:
    name, colon, level = entry.partition(":")
    if entry == "all":
        names = tuple(PUBLISHED_CORRUPTIONS)
    elif entry == "weather":
        names = tuple(WEATHER_FILTERS)
    elif name in CORRUPTIONS:
        names = (name,)
    else:
        known = "; ".join(f"{known} ({_listed(levels)})" for known, levels in CORRUPTIONS.items())
        raise CamsegError(
            f"no corruption {entry!r}; give none alone, or a comma list of all, weather, NAME and "
            f"NAME:LEVEL with {known}"
        )
    if colon:
        yield Corruption(name, _read_level(name, level))
        return
    for name in names:
        for known_level in CORRUPTIONS[name]:
            yield Corruption(name, known_level)


def _read_level(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CamsegError(
            f"corruption {name} at level {text!r}: its level is {LEVEL_RANGES[name].rule()} "
            f"(a sweep takes {_listed(CORRUPTIONS[name])})"
        ) from None


def _listed(levels: tuple[float, ...]) -> str:
    return ", ".join(f"{level:g}" for level in levels)


def _gaussian_noise(image: UInt8, sigma: float, generator: np.random.Generator) -> UInt8:
    """Add independent normal noise to every channel of every pixel, rounded, then clip."""
    noise = generator.standard_normal(image.shape, np.float32) * np.float32(sigma)
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)


def _gaussian_blur(image: UInt8, sigma: float, _: np.random.Generator) -> UInt8:
    """Blur with OpenCV's kernel for ``sigma`` (about 6 sigma wide), the border mirrored."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _motion_blur(image: UInt8, length: float, _: np.random.Generator) -> UInt8:
    """Average ``length`` pixels of a row, the border mirrored."""
    return np.asarray(cv2.blur(image, (int(length), 1)), np.uint8)


def _salt_and_pepper(image: UInt8, percent: float, generator: np.random.Generator) -> UInt8:
    """Make each pixel white or black, all channels, each with half of the probability."""
    chance = generator.random(image.shape[:2])
    noisy = image.copy()
    noisy[chance < percent / 100] = 255
    noisy[chance < percent / 200] = 0
    return noisy


def _brightness(image: UInt8, factor: float, _: np.random.Generator) -> UInt8:
    return np.array(ImageEnhance.Brightness(Image.fromarray(image)).enhance(factor))


def _contrast(image: UInt8, factor: float, _: np.random.Generator) -> UInt8:
    return np.array(ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor))


def _saturation(image: UInt8, factor: float, _: np.random.Generator) -> UInt8:
    return np.array(ImageEnhance.Color(Image.fromarray(image)).enhance(factor))


def _hue(image: UInt8, turn: float, _: np.random.Generator) -> UInt8:
    """Turn the hue, a byte that wraps around, as torchvision does on PIL images."""
    hsv = np.array(Image.fromarray(image).convert("HSV"))
    hsv[..., 0] += np.uint8(math.trunc(turn * 255) % 256)
    return np.array(Image.fromarray(hsv, "HSV").convert("RGB"))


_FILTERS: Mapping[str, Callable[[UInt8, float, np.random.Generator], UInt8]] = {
    "gaussian_noise": _gaussian_noise,
    "gaussian_blur": _gaussian_blur,
    "motion_blur": _motion_blur,
    "salt_and_pepper": _salt_and_pepper,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}
