# SPDX-License-Identifier: Apache-2.0
"""Batches of augmented samples, read by threads ahead of the step that needs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from camseg_core.data.augmentation import AugmentationConfig, augment
from camseg_core.data.sample import Dataset
from camseg_core.training.draws import BatchDraws, SampleOrder, batch_places, generator
from camseg_core.training.stages import Batch

UInt8 = NDArray[np.uint8]

Job = tuple[int, int, "Future[tuple[UInt8, UInt8]]"]
"""Place, index in the data set, and the image and class ids to come."""

STEPS_AHEAD = 2


@dataclass(frozen=True)
class LoadedBatch:
    """One process's images of one step.

    Attributes:
        step: the step that they belong to.
        places: their places in the endless sequence of images.
        names: their names in the data set.
        images: RGB uint8 [B, H, W, 3].
        class_ids: uint8 [B, H, W].
    """

    step: int
    places: tuple[int, ...]
    names: tuple[str, ...]
    images: UInt8
    class_ids: UInt8

    def to_device(self, seed: int, device: torch.device, part: slice) -> Batch:
        """Give some of the images as tensors on ``device``."""
        # Permuted, not copied: rows of RGB pixels are what channels-last networks read.
        images = torch.from_numpy(self.images[part]).to(device).permute(0, 3, 1, 2)
        return Batch(
            image=images.float().div_(127.5).sub_(1.0),
            class_ids=torch.from_numpy(self.class_ids[part]).to(device).long(),
            draws=BatchDraws(seed, self.step, self.places[part], device),
        )


class Loader:
    """Reads a process's share of every step's batch: images rank, rank + world size, ..."""

    def __init__(
        self,
        dataset: Dataset,
        augmentation: AugmentationConfig,
        *,
        seed: int,
        batch_size: int,
        rank: int,
        world_size: int,
        workers: int,
    ) -> None:
        """Prepare to read; ``batch_size`` counts the images of all processes."""
        self._dataset = dataset
        self._augmentation = augmentation
        self._seed = seed
        self._batch_size = batch_size
        self._share = slice(rank, None, world_size)
        self._order = SampleOrder(len(dataset), seed)
        self._workers = workers

    def batches(self, first_step: int, last_step: int) -> Iterator[LoadedBatch]:
        """Give the batches of steps ``first_step`` to ``last_step`` - 1.

        Raises:
            CamsegError: a file cannot be read.
        """
        with ThreadPoolExecutor(self._workers) as pool:
            waiting: deque[tuple[int, list[Job]]] = deque()
            for step in range(first_step, last_step):
                places = batch_places(step, self._batch_size)[self._share]
                waiting.append((step, [self._submit(pool, place) for place in places]))
                if len(waiting) > STEPS_AHEAD:
                    yield self._collect(*waiting.popleft())
            while waiting:
                yield self._collect(*waiting.popleft())

    def _submit(self, pool: ThreadPoolExecutor, place: int) -> Job:
        index = self._order.index(place)
        return place, index, pool.submit(self._read, place, index)

    def _collect(self, step: int, jobs: list[Job]) -> LoadedBatch:
        pairs = [job.result() for _, _, job in jobs]
        return LoadedBatch(
            step=step,
            places=tuple(place for place, _, _ in jobs),
            names=tuple(self._dataset.samples[index].name for _, index, _ in jobs),
            images=np.stack([image for image, _ in pairs]),
            class_ids=np.stack([class_ids for _, class_ids in pairs]),
        )

    def _read(self, place: int, index: int) -> tuple[UInt8, UInt8]:
        sample = self._dataset.read(index)
        random = generator(self._seed, "augmentation", place)
        return augment(sample.image, sample.class_ids, self._augmentation, random)


def limit_image_threads() -> None:
    """Let OpenCV work in the thread that calls it: the loader has threads of its own."""
    cv2.setNumThreads(1)
