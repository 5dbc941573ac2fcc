# SPDX-License-Identifier: Apache-2.0
"""Random values, each from a generator of its own that is keyed by what the value is for."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Color = tuple[float, float, float]
"""Linear RGB albedo or radiance; 0 is black, 1 is a white surface."""


def generator(*keys: int | str) -> np.random.Generator:
    """Return the generator that belongs to ``keys``: words, and numbers of at least 0.

    Other keys give an independent stream, so that a new kind of object does not change the rest.
    """
    entropy = [zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


class Draw:
    """Random values for one purpose.

    All of them come from ``Generator.random``, whose stream has been the same in every version of
    numpy, by arithmetic that is the same on every processor.
    """

    def __init__(self, *keys: int | str) -> None:
        self._random = generator(*keys).random

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw a number from ``low`` up to ``high``."""
        return low + (high - low) * self._random()

    def integer(self, count: int) -> int:
        """Draw one of 0..count-1."""
        return int(self._random() * count)

    def chance(self, probability: float) -> bool:
        """Draw True with this probability."""
        return self._random() < probability

    def pick(self, items: Sequence[Item]) -> Item:
        """Draw one of ``items``."""
        return items[self.integer(len(items))]

    def pick_weighted(self, items: Sequence[tuple[Item, float]]) -> Item:
        """Draw one of the items of (item, weight), the likelier the larger its weight."""
        place = self._random() * sum(weight for _, weight in items)
        for item, weight in items:
            place -= weight
            if place < 0:
                return item
        return items[-1][0]

    def sign(self) -> int:
        """Draw -1 or 1."""
        return 1 if self._random() < 0.5 else -1

    def order(self, count: int) -> list[int]:
        """Draw an order of 0..count-1."""
        keys = [self._random() for _ in range(count)]
        return sorted(range(count), key=keys.__getitem__)

    def places(
        self, start: float, end: float, low: float, high: float | None = None
    ) -> Iterator[float]:
        """Give places from ``start`` up to ``end``, drawn ``low`` to ``high`` apart, or ``low``."""
        while start < end:
            yield start
            start += low if high is None else self.uniform(low, high)

    def paint(self, saturation: float = 0.85) -> Color:
        """Draw the colour of something that people painted, wove or built.

        Cars, clothes, walls, houses and buses share this one range, so that none is told by colour.
        """
        if self.chance(0.4):
            grey = self.uniform(0.02, 0.85) ** 1.3
            warmth = self.uniform(-0.06, 0.08)
            return grey * (1 + warmth), grey, grey * (1 - warmth)
        red, green, blue = colorsys.hsv_to_rgb(
            self.uniform(), self.uniform(0.1, saturation), self.uniform(0.15, 0.95)
        )
        return red * red, green * green, blue * blue  # about linear

    def near(self, color: Color, spread: float) -> Color:
        """Draw a colour that differs from ``color`` by a factor of 1 +- spread per channel."""
        red, green, blue = (
            min(1.0, max(0.0, value * self.uniform(1 - spread, 1 + spread))) for value in color
        )
        return red, green, blue
