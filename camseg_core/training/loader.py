# SPDX-License-Identifier: Apache-2.0
"""Batches of augmented samples, read by other processes ahead of the step that needs them.

Shapes: B = images; H, W = the window; H', W' = the sample at the model's input.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader

from camseg_core.data.sample import Dataset
from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.images.fit import Fit
from camseg_core.models.configs import ModelConfig
from camseg_core.training.augmentation import AugmentationConfig, augment
from camseg_core.training.draws import BatchDraws, SampleOrder, generator
from camseg_core.training.stages import Batch


@dataclass(frozen=True)
class AugmentedImage:
    """One augmented image, uint8 [H, W, 3], with its class ids [H, W], and where it belongs."""

    step: int
    place: int
    name: str
    image: UInt8
    class_ids: UInt8


@dataclass(frozen=True)
class LoadedBatch:
    """One process's images of one step.

    Attributes:
        step: the step that they belong to.
        rows: their places in the batch of all processes.
        batch_size: number of images of that batch.
        names: their names in the data set.
        images: RGB uint8 [B, H, W, 3].
        class_ids: uint8 [B, H, W].
    """

    step: int
    rows: tuple[int, ...]
    batch_size: int
    names: tuple[str, ...]
    images: UInt8
    class_ids: UInt8

    def to_device(self, seed: int, device: torch.device, part: slice) -> Batch:
        """Return some of the images as tensors on ``device``."""
        # Permuted, not copied: rows of RGB pixels are what channels-last networks read.
        images = torch.from_numpy(self.images[part]).to(device).permute(0, 3, 1, 2)
        return Batch(
            image=images.float().div_(127.5).sub_(1.0),
            class_ids=torch.from_numpy(self.class_ids[part]).to(device).long(),
            draws=BatchDraws(seed, self.step, self.batch_size, self.rows[part], device),
        )


class Loader:
    """Reads a process's share of every step's batch: images rank, rank + world size, ..."""

    def __init__(
        self,
        dataset: Dataset,
        augmentation: AugmentationConfig,
        model: ModelConfig,
        *,
        seed: int,
        batch_size: int,
        rank: int,
        world_size: int,
        workers: int,
    ) -> None:
        """Prepare to read for a model; ``batch_size`` counts the images of all processes."""
        self._dataset = dataset
        self._augmentation = augmentation
        self._model = model
        self._seed = seed
        self._batch_size = batch_size
        self._share = slice(rank, None, world_size)
        self._order = SampleOrder(len(dataset), seed)
        self._workers = workers

    def batches(self, first_step: int, last_step: int) -> Iterator[LoadedBatch]:
        """Return the batches of steps ``first_step`` to ``last_step`` - 1.

        Raises:
            CamsegError: a file cannot be read.
        """
        size = self._batch_size
        places = (
            [(step, place) for place in range(step * size, (step + 1) * size)[self._share]]
            for step in range(first_step, last_step)
        )
        loader: DataLoader[LoadedBatch | CamsegError] = DataLoader(
            self,  # type: ignore[arg-type]  # it has what a map-style data set needs
            batch_sampler=places,
            collate_fn=self._collate,
            num_workers=self._workers,
            multiprocessing_context="fork",  # nothing is copied to the processes
            worker_init_fn=_end_with_parent,
        )
        for batch in loader:
            if isinstance(batch, CamsegError):
                raise batch
            yield batch

    def __getitem__(self, place: tuple[int, int]) -> AugmentedImage | CamsegError:
        """Read and augment the image of a (step, place); errors are returned: torch wraps them."""
        try:
            return self._read(*place)
        except CamsegError as error:
            return error

    def _collate(self, samples: list[AugmentedImage | CamsegError]) -> LoadedBatch | CamsegError:
        read = []
        for sample in samples:
            if isinstance(sample, CamsegError):
                return sample
            read.append(sample)
        step = read[0].step
        return LoadedBatch(
            step=step,
            rows=tuple(sample.place - step * self._batch_size for sample in read),
            batch_size=self._batch_size,
            names=tuple(sample.name for sample in read),
            images=np.stack([sample.image for sample in read]),
            class_ids=np.stack([sample.class_ids for sample in read]),
        )

    def _read(self, step: int, place: int) -> AugmentedImage:
        index = self._order.index(place)
        image, class_ids = read_at_input(self._dataset, index, self._model)  # [H', W', 3], [H', W']
        random = generator(self._seed, "augmentation", place)
        image, class_ids = augment(image, class_ids, self._augmentation, random)
        name = self._dataset.samples[index].name
        return AugmentedImage(step, place, name, image, class_ids)


def _end_with_parent(_: int) -> None:
    """Let a worker end when its parent was killed: torch's own watch waits for a full pipe."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def read_at_input(dataset: Dataset, index: int, model: ModelConfig) -> tuple[UInt8, UInt8]:
    """Read a sample as the model meets it at inference.

    Returns:
        Image uint8 [H', W', 3] and class ids uint8 [H', W'], padding unlabeled; by the policy
        ``pad`` a side is shorter than the model's input where the image's aspect is another.

    Raises:
        CamsegError: a file cannot be read.
    """
    sample = dataset.read(index)
    class_ids = sample.ground_truth
    height, width = class_ids.shape
    fit = Fit.of(height, width, model.input, model.stride)
    return fit.to_input(sample.image), fit.to_input_ids(class_ids)
