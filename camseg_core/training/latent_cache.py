# SPDX-License-Identifier: Apache-2.0
"""What a frozen autoencoder makes of each training sample, computed once and kept on the disk.

    FOLDER/4f0c.../samples-000000-000126.safetensors ...   posteriors, in files of a bounded size

Kept are posteriors, not samples of them: each step draws its own, from the same noise as without a
cache. A mirrored latent is not the latent of the mirrored image, so both are kept. The sub-folder
is named after a hash over all that the posteriors depend on (see `cache_key`): when autoencoder or
data change another one is made, and nothing stale is ever read. Old ones may be deleted.

Shapes: B = images encoded together; N = samples of a file; Z = latent channels; h, w = latent
positions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from camseg_core.data.sample import Dataset, files_of
from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.models.configs import ModelConfig
from camseg_core.system.files import sha256_of_file, write_bytes
from camseg_core.system.processes import ProcessRank
from camseg_core.system.progress import progress_bar
from camseg_core.training.augmentation import AugmentationConfig
from camseg_core.training.configuration import StageName, TrainingConfig
from camseg_core.training.loader import LoadedBatch, read_at_input
from camseg_core.training.stages import LatentSource, Stage
from camseg_core.training.train_state import MIB

Float32 = NDArray[np.float32]

FORMAT_VERSION = 1
HEADER_BYTES = 1024
"""More than the names, shapes and hashes at the beginning of a file need."""

GEOMETRY = ("scale_range", "rotation_range_degrees")
COLORS = (
    "brightness_range", "contrast_range", "saturation_range", "hue_range", "blur_sigma_range",
    "noise_sigma_range",
)  # fmt: skip
"""Settings of the augmentation that change what is seen, and how it looks."""


@dataclass(frozen=True)
class LatentCache:
    """Posteriors of a data set's samples in one folder.

    Attributes:
        folder: folder of the files.
        key: hash over all that the posteriors depend on.
        sources: what the posteriors that are kept encode.
        has_mirrored: whether those of the mirrored images are kept too.
        shape: shape of one posterior, (2, Z, h, w): mean and log-variance.
        samples: number of samples of the data set.
        samples_per_file: number of samples in each file but the last.
    """

    folder: Path
    key: str
    sources: tuple[LatentSource, ...]
    has_mirrored: bool
    shape: tuple[int, int, int, int]
    samples: int
    samples_per_file: int

    def read(self, index: int, mirrored: bool) -> dict[LatentSource, Float32]:
        """Read the posteriors of one sample, float32 [2, Z, h, w] by source.

        The file is mapped, so that only this sample is read. Threads may read at the same time.

        Raises:
            CamsegError: the file was removed or damaged since `open_latent_cache`.
        """
        first = index - index % self.samples_per_file
        path = self.path(range(first, min(first + self.samples_per_file, self.samples)))
        try:
            with safe_open(path, framework="np") as file:
                return {
                    source: file.get_slice(tensor_name(source, mirrored))[index - first]
                    for source in self.sources
                }
        except (OSError, SafetensorError) as error:
            raise CamsegError(
                f"cannot read {path}: {error}; --resume computes it again, and goes on"
            ) from error

    def files(self) -> list[range]:
        """Return the samples of each file."""
        step = self.samples_per_file
        return [
            range(first, min(first + step, self.samples)) for first in range(0, self.samples, step)
        ]

    def path(self, samples: range) -> Path:
        """Return the file of some samples; a cache with other file sizes has other names."""
        return self.folder / f"samples-{samples.start:06d}-{samples.stop - 1:06d}.safetensors"

    def tensor_names(self) -> list[str]:
        """Return the names of the tensors [N, 2, Z, h, w] in each file."""
        sides = (False, True) if self.has_mirrored else (False,)
        return [tensor_name(source, side) for side in sides for source in self.sources]

    def is_intact(self, samples: range) -> bool:
        """Return whether a file is there and holds what was written."""
        try:
            with safe_open(self.path(samples), framework="np") as file:
                tensors = [(name, file.get_tensor(name)) for name in self.tensor_names()]
                metadata = file.metadata()
        except (OSError, SafetensorError):
            return False
        return bool(metadata == self._metadata(samples, tensors))

    def write(self, samples: range, rows: Sequence[dict[str, Float32]]) -> None:
        """Write the posteriors [2, Z, h, w], by tensor name, of the samples of a file.

        Raises:
            CamsegError: the folder cannot be written or the disk is full; no part is left then.
        """
        # Contiguous, because networks give channels-last arrays and safetensors ignores strides.
        tensors = {
            name: np.ascontiguousarray(np.stack([row[name] for row in rows]))
            for name in self.tensor_names()
        }
        metadata = self._metadata(samples, tensors.items())
        write_bytes(self.path(samples), save(tensors, metadata=metadata))

    def _metadata(self, samples: range, tensors: Iterable[tuple[str, Float32]]) -> dict[str, str]:
        """Say what is in a file, so that no other one is taken for it."""
        return {
            "key": self.key,
            "samples": self.path(samples).stem,
            "sha256": _hash_of_arrays(tensors),
        }


def tensor_name(source: LatentSource, mirrored: bool) -> str:
    """Name the posteriors of masks or images, as they are or mirrored, in a file."""
    return f"{source}-mirrored" if mirrored else source


def open_latent_cache(
    config: TrainingConfig,
    stage: Stage,
    dataset: Dataset,
    process: ProcessRank,
    device: torch.device,
) -> LatentCache:
    """Return the cache of a run in ``data.latent_cache``, whole: what is not there is computed.

    All processes of the run call it, and each computes a share. One line on stdout says what is
    found. Files that are there are read once and compared with their hash.

    Args:
        config: the run's settings.
        stage: on ``device``, its autoencoder frozen.
        dataset: that is trained on.
        process: this process among those of the run.
        device: where the networks are.

    Raises:
        CamsegError: stage or augmentation allow no cache, a sample cannot be read, or the folder
            cannot be written.
    """
    model = stage.model.config
    sources = cached_sources(config.stage, model)
    check_augmentation(config.data.augmentation, model, sources)
    shared: list[str | None] = [None]
    if process.is_first:
        shared = [cache_key(config, stage, dataset, sources)]
    if process.world_size > 1:
        dist.broadcast_object_list(shared)
    key = str(shared[0])
    has_mirrored = config.data.augmentation.flip_probability > 0.0
    height, width = (side // model.autoencoder.stride for side in _input_size(model))
    shape = (2, model.autoencoder.latent_channels, height, width)
    bytes_per_sample = 4 * int(np.prod(shape)) * len(sources) * (1 + has_mirrored)
    most = (config.max_file_mib * MIB - HEADER_BYTES) // bytes_per_sample
    folder = Path(config.data.latent_cache) / key[:16]
    cache = LatentCache(folder, key, sources, has_mirrored, shape, len(dataset), max(1, most))

    mine = cache.files()[process.rank :: process.world_size]
    missing = [samples for samples in mine if not cache.is_intact(samples)]
    to_encode = sum(map(len, missing))
    damaged = sum(cache.path(samples).exists() for samples in missing)
    _say(cache, _sums([to_encode, damaged], process, device), process)
    # As many at once as a step encodes: float32 sums can depend on it in the last bit.
    count = config.batch_size // (process.world_size * config.accumulation)
    with progress_bar(to_encode, "sample", "encode", hidden=not process.is_first) as bar:
        indices = [index for samples in missing for index in samples]
        posteriors = _encoded(cache, indices, count, config, stage, dataset)
        for samples in missing:
            rows = []
            for row in islice(posteriors, len(samples)):
                rows.append(row)
                bar.update()
            cache.write(samples, rows)
    if process.world_size > 1:
        dist.barrier()
    for samples in cache.files():
        if not cache.path(samples).is_file():
            raise CamsegError(
                f"{cache.path(samples)} is missing, though a process wrote it; all machines need "
                "data.latent_cache on one shared disk"
            )
    return cache


def cached_sources(stage: StageName, model: ModelConfig) -> tuple[LatentSource, ...]:
    """Return what a frozen autoencoder encodes in a stage.

    Raises:
        CamsegError: nothing.
    """
    images: tuple[LatentSource, ...] = ("image",) if model.image_encoder is None else ()
    if stage == "autoencoder":
        raise CamsegError(
            "stage autoencoder changes the latents in each step; leave data.latent_cache out"
        )
    if stage == "finetune":
        if not images:
            raise CamsegError("stage finetune reads no mask latents; leave data.latent_cache out")
        return images
    return ("mask", *images) if stage == "transformer" else ("mask",)


def check_augmentation(
    augmentation: AugmentationConfig, model: ModelConfig, sources: Sequence[LatentSource]
) -> None:
    """Refuse an augmentation that gives a sample more than two latents.

    Raises:
        CamsegError: it scales, turns or crops, or changes the colours of images that are cached.
    """
    size = _input_size(model)
    if augmentation.crop_size not in (None, size):
        raise CamsegError(
            f"data.augmentation.crop_size is {list(augmentation.crop_size)}; data.latent_cache "
            f"needs the model's input, {list(size)}: leave crop_size out"
        )
    reasons: dict[tuple[str, ...], str] = {GEOMETRY: "allows no change of the geometry but flips"}
    if "image" in sources:
        reasons[COLORS] = (
            "keeps image latents too (the autoencoder encodes images), so that colours, blur and "
            "noise cannot change"
        )
    off = AugmentationConfig.disabled()
    for names, reason in reasons.items():
        wrong = [name for name in names if getattr(augmentation, name) != getattr(off, name)]
        if wrong:
            value = list(getattr(augmentation, wrong[0]))
            needed = " ".join(
                f"data.augmentation.{name}={list(getattr(off, name))}" for name in wrong
            )
            raise CamsegError(
                f"data.augmentation.{wrong[0]} is {value}; data.latent_cache {reason}: set {needed}"
            )


def cache_key(
    config: TrainingConfig, stage: Stage, dataset: Dataset, sources: Sequence[LatentSource]
) -> str:
    """Hash all that the posteriors depend on, as 64 hexadecimal digits.

    That is: tensors and configuration of the autoencoder, the colours of the classes, how label
    files become classes, the model's input, the precision, the names of the samples, the content
    of the label files, and that of the image files where images are cached.

    Raises:
        CamsegError: a file cannot be read.
    """
    model = stage.model
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "tensors": _hash_of_arrays(
            (name, tensor.cpu().numpy()) for name, tensor in model.autoencoder.state_dict().items()
        ),
        "autoencoder": asdict(model.config.autoencoder),
        "colors": stage.colors.tolist(),
        "dataset": [dataset.name, dataset.label_set.to_dict()],
        "input": [asdict(model.config.input), model.config.stride],
        "precision": config.precision,
        "pictures": list(sources),
        "mirrored": config.data.augmentation.flip_probability > 0.0,
        "samples": [sample.name for sample in dataset.samples],
    }
    files = files_of(dataset)
    paths = [file.label for file in files]
    if "image" in sources:
        paths += [file.image for file in files]
    with (
        ThreadPoolExecutor(config.data.workers) as pool,
        progress_bar(len(paths), "file", "hash") as bar,
    ):
        content["files"] = []
        for digest in pool.map(sha256_of_file, paths):
            content["files"].append(digest)
            bar.update()
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _encoded(
    cache: LatentCache,
    indices: Sequence[int],
    count: int,
    config: TrainingConfig,
    stage: Stage,
    dataset: Dataset,
) -> Iterator[dict[str, Float32]]:
    """Encode samples in order, always ``count`` at once: [2, Z, h, w] of each by tensor name."""
    with ThreadPoolExecutor(config.data.workers) as pool:
        for start in range(0, len(indices), count):
            chosen = indices[start : start + count]
            samples = list(
                pool.map(partial(_read_whole_input, dataset, model=stage.model.config), chosen)
            )
            samples += samples[-1:] * (count - len(samples))
            images, class_ids = (np.stack(part) for part in zip(*samples, strict=True))
            encoded = _encode(cache, images, class_ids, config, stage)  # [B, 2, Z, h, w] each
            for row in range(len(chosen)):
                yield {name: both[row] for name, both in encoded.items()}


def _encode(
    cache: LatentCache, images: UInt8, class_ids: UInt8, config: TrainingConfig, stage: Stage
) -> dict[str, Float32]:
    """Encode images [B, H, W, 3] and class ids [B, H, W]: [B, 2, Z, h, w] by tensor name."""
    device = stage.colors.device
    half = config.precision == "bfloat16"
    encoded: dict[str, Float32] = {}
    for mirrored in (False, True) if cache.has_mirrored else (False,):
        step = -1 if mirrored else 1
        loaded = LoadedBatch(
            step=0,
            places=(),
            names=(),
            images=np.ascontiguousarray(images[:, :, ::step]),
            class_ids=np.ascontiguousarray(class_ids[:, :, ::step]),
        )
        batch = loaded.to_device(0, device, slice(None))
        for source in cache.sources:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                posterior = stage.posterior(source, batch)
            both = torch.stack([posterior.mean, posterior.log_variance], dim=1)  # [B, 2, Z, h, w]
            encoded[tensor_name(source, mirrored)] = both.cpu().numpy()
    return encoded


def _read_whole_input(dataset: Dataset, index: int, model: ModelConfig) -> tuple[UInt8, UInt8]:
    """Read a sample as `read_at_input` does; it must fill the model's input."""
    image, class_ids = read_at_input(dataset, index, model)
    if class_ids.shape != _input_size(model):
        height, width = class_ids.shape
        raise CamsegError(
            f"{files_of(dataset)[index].image} becomes {width} x {height} in the model's input "
            f"of {model.input.width} x {model.input.height}, where its place is drawn anew in each "
            f"step; data.latent_cache needs input_height={height} input_width={width}, or no cache"
        )
    return image, class_ids


def _say(cache: LatentCache, to_encode_and_damaged: Sequence[int], process: ProcessRank) -> None:
    """Tell the user, from one process, what was found."""
    to_encode, damaged = to_encode_and_damaged
    if not process.is_first:
        return
    text = f"latent cache {cache.folder}: "
    text += f"encoding {to_encode} of " if to_encode else "found "
    text += f"{cache.samples} samples"
    print(f"{text}; damaged files: {damaged}" if damaged else text, flush=True)


def _sums(numbers: Sequence[int], process: ProcessRank, device: torch.device) -> list[int]:
    """Add up numbers of all processes."""
    total = torch.tensor(numbers, device=device)
    if process.world_size > 1:
        dist.all_reduce(total)
    return [int(number) for number in total]


def _hash_of_arrays(arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    digest = sha256()
    for name, array in arrays:
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _input_size(model: ModelConfig) -> tuple[int, int]:
    return model.input.height, model.input.width
