# SPDX-License-Identifier: Apache-2.0
"""Batches of augmented samples, read by threads ahead of the step that needs them.

Shapes: B = images; H, W = the window; H', W' = the sample at the model's input; Z = latent
channels; h p, w p = latent positions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from camseg_core.data.sample import Dataset
from camseg_core.images.arrays import UInt8
from camseg_core.images.fit import Fit
from camseg_core.models.autoencoder import GaussianPosterior
from camseg_core.models.configs import ModelConfig
from camseg_core.training.augmentation import AugmentationConfig, augment, draw_geometry
from camseg_core.training.draws import BatchDraws, SampleOrder, batch_places, generator
from camseg_core.training.stages import Batch, LatentSource

Posteriors = Mapping[LatentSource, NDArray[np.float32]]
"""Mean and log-variance of raw latents: [2, Z, h p, w p] of a sample or [B, 2, Z, h p, w p]."""

ReadPosteriors = Callable[[int, bool], Posteriors]
"""From a sample's index in the data set, and whether it is mirrored, to what is known of it."""

Read = tuple[UInt8, UInt8, Posteriors]
Job = tuple[int, int, "Future[Read]"]
"""Place, index in the data set, and the image, class ids and posteriors to come."""

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
        posteriors: float32 [B, 2, Z, h p, w p] by source, where they are known.
    """

    step: int
    places: tuple[int, ...]
    names: tuple[str, ...]
    images: UInt8
    class_ids: UInt8
    posteriors: Posteriors = field(default_factory=dict)

    def to_device(self, seed: int, device: torch.device, part: slice) -> Batch:
        """Return some of the images as tensors on ``device``."""
        # Permuted, not copied: rows of RGB pixels are what channels-last networks read.
        images = torch.from_numpy(self.images[part]).to(device).permute(0, 3, 1, 2)
        return Batch(
            image=images.float().div_(127.5).sub_(1.0),
            class_ids=torch.from_numpy(self.class_ids[part]).to(device).long(),
            draws=BatchDraws(seed, self.step, self.places[part], device),
            posteriors={
                source: GaussianPosterior(*torch.from_numpy(both[part]).to(device).unbind(1))
                for source, both in self.posteriors.items()
            },
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
        read_posteriors: ReadPosteriors | None = None,
    ) -> None:
        """Prepare to read for a model; ``batch_size`` counts the images of all processes.

        With ``read_posteriors`` the augmentation must leave all but left and right in its place.
        """
        self._dataset = dataset
        self._augmentation = augmentation
        self._model = model
        self._read_posteriors = read_posteriors
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
        images, class_ids, posteriors = zip(*(job.result() for _, _, job in jobs), strict=True)
        return LoadedBatch(
            step=step,
            places=tuple(place for place, _, _ in jobs),
            names=tuple(self._dataset.samples[index].name for _, index, _ in jobs),
            images=np.stack(images),
            class_ids=np.stack(class_ids),
            posteriors={
                source: np.stack([known[source] for known in posteriors])
                for source in posteriors[0]
            },
        )

    def _read(self, place: int, index: int) -> Read:
        image, class_ids = read_at_input(self._dataset, index, self._model)  # [H', W', 3], [H', W']
        posteriors: Posteriors = {}
        if self._read_posteriors is not None:
            random = generator(self._seed, "augmentation", place)
            height, width = class_ids.shape
            geometry = draw_geometry(height, width, self._augmentation, random)
            posteriors = self._read_posteriors(index, bool(geometry.source_from_output[0, 0] < 0))
        random = generator(self._seed, "augmentation", place)
        return *augment(image, class_ids, self._augmentation, random), posteriors


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


def limit_image_threads() -> None:
    """Let OpenCV work in the thread that calls it: the loader has threads of its own."""
    cv2.setNumThreads(1)
