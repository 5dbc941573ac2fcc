# SPDX-License-Identifier: Apache-2.0
"""Randomness of training: every draw is a function of seed, purpose and place in the run.

So a resumed run, another number of processes or of worker threads draws the same.
Shapes: B = images of a batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, purpose: str, *place: int) -> np.random.Generator:
    """Return the numpy generator of one purpose at one place."""
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose, place)))


def torch_generator(seed: int, purpose: str, *place: int) -> torch.Generator:
    """Return the torch generator (on the CPU) of one purpose at one place."""
    return torch.Generator().manual_seed(torch_seed(seed, purpose, *place))


def torch_seed(seed: int, purpose: str, *place: int) -> int:
    """Return a seed for torch, of one purpose at one place."""
    return int(_sequence(seed, purpose, place).generate_state(1, np.uint64)[0])


def _sequence(seed: int, purpose: str, place: Sequence[int]) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()), *place))


def batch_places(step: int, batch_size: int) -> range:
    """Return the places of a step's images in the endless sequence of images."""
    return range(step * batch_size, (step + 1) * batch_size)


class SampleOrder:
    """Which sample stands at a place of the endless sequence: each epoch is a new permutation."""

    def __init__(self, samples: int, seed: int) -> None:
        """Order ``samples`` samples."""
        self._samples = samples
        self._seed = seed
        self._epoch = -1
        self._permutation = np.arange(0)

    def index(self, place: int) -> int:
        """Return the index, 0..samples-1, of the sample at ``place``."""
        epoch, position = divmod(place, self._samples)
        if epoch != self._epoch:
            self._permutation = generator(self._seed, "order", epoch).permutation(self._samples)
            self._epoch = epoch
        return int(self._permutation[position])


class BatchDraws:
    """Noise for the images of one batch: each image's is a function of its place alone."""

    def __init__(self, seed: int, step: int, places: Sequence[int], device: torch.device) -> None:
        """Draw for the images at ``places`` of step ``step``."""
        self._seed = seed
        self._step = step
        self._places = places
        self._device = device

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Draw standard normal noise, float [B, *shape]."""
        rows = [
            torch.randn(shape, generator=torch_generator(self._seed, purpose, place))
            for place in self._places
        ]
        return torch.stack(rows).to(self._device)

    def integers(self, purpose: str, high: int, *shape: int) -> Tensor:
        """Draw whole numbers 0..high-1, int64 [B, *shape]."""
        rows = [
            torch.randint(high, shape, generator=torch_generator(self._seed, purpose, place))
            for place in self._places
        ]
        return torch.stack(rows).to(self._device)

    def order(self, purpose: str, length: int) -> Tensor:
        """Draw a random order of 0..length-1 for each image, int64 [B, length]."""
        rows = [
            torch.randperm(length, generator=torch_generator(self._seed, purpose, place))
            for place in self._places
        ]
        return torch.stack(rows).to(self._device)

    def shared(self, purpose: str) -> np.random.Generator:
        """Return the generator of what all images of a step share, on all processes."""
        return generator(self._seed, purpose, self._step)
