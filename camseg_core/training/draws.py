# SPDX-License-Identifier: Apache-2.0
"""Randomness of training: every draw is a function of seed, purpose and place in the run.

So a resumed run, another number of processes or of worker threads draws the same.
Shapes: B = images of a batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, purpose: str, *place: int) -> np.random.Generator:
    """Return the numpy generator of one purpose at one place."""
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose, place)))


def torch_generator(
    seed: int, purpose: str, *place: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the torch generator of one purpose at one place; each kind of device has its own."""
    return torch.Generator(device).manual_seed(torch_seed(seed, purpose, *place))


def torch_seed(seed: int, purpose: str, *place: int) -> int:
    """Return a seed for torch, of one purpose at one place."""
    return int(_sequence(seed, purpose, place).generate_state(1, np.uint64)[0])


def _sequence(seed: int, purpose: str, place: Sequence[int]) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()), *place))


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
    """Noise for images of one step, drawn for the whole batch; each process takes its rows.

    So the number of processes changes nothing, and a device draws once for all images.
    """

    def __init__(
        self, seed: int, step: int, batch_size: int, rows: Sequence[int], device: torch.device
    ) -> None:
        """Draw for ``rows`` of the ``batch_size`` images of step ``step``."""
        self._seed = seed
        self._step = step
        self._batch_size = batch_size
        self._rows = list(rows)
        self._device = device

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Draw standard normal noise, float [B, *shape]."""
        return self._rows_of(torch.randn, purpose, shape)

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Draw numbers from 0 to 1, float [B, *shape]."""
        return self._rows_of(torch.rand, purpose, shape)

    def integers(self, purpose: str, high: int, *shape: int) -> Tensor:
        """Draw whole numbers 0..high-1, int64 [B, *shape]."""
        return self._rows_of(partial(torch.randint, high), purpose, shape)

    def order(self, purpose: str, length: int) -> Tensor:
        """Draw a random order of 0..length-1 for each image, int64 [B, length]."""
        return self.uniform(purpose, length).argsort(dim=1)

    def _rows_of(self, draw: Callable[..., Tensor], purpose: str, shape: Sequence[int]) -> Tensor:
        generator = torch_generator(self._seed, purpose, self._step, device=self._device)
        drawn = draw((self._batch_size, *shape), generator=generator, device=self._device)
        return drawn[self._rows]

    def shared(self, purpose: str) -> np.random.Generator:
        """Return the generator of what all images of a step share, on all processes."""
        return generator(self._seed, purpose, self._step)
