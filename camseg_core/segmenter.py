# SPDX-License-Identifier: Apache-2.0
"""The facade: images in, class ids and confidence out.

Shapes: B = batch; H, W = an image's size; C = classes; L = tokens of one half; Z = channels of a
token; D = condition width; S = samples; h, w = token grid.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from camseg_core.checkpoint import LoadedModel, load_model
from camseg_core.diffusion import Schedule
from camseg_core.errors import CamsegError
from camseg_core.geometry import Fit, check_image
from camseg_core.labels import LabelSet
from camseg_core.models.configs import TRAIN_TIMESTEPS
from camseg_core.models.transformer import Grid, latent_from_tokens, tokens_from_latent
from camseg_core.palette import class_probabilities, nearest_class, squared_distances
from camseg_core.rounds import round_masks
from camseg_core.sampling import TokenNoise, sampler

UInt8 = NDArray[np.uint8]
Stage = Literal["prepare", "image_encoder", "transformer", "denoiser", "decoder", "finish"]
STAGES: tuple[Stage, ...] = get_args(Stage)

IMAGE_NOISE_ROUND = 2**32 - 1
"""Round number that keys the image latent's noise; generation rounds stay below it."""


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample, per call.

    Attributes:
        steps: diffusion steps, 1 to 1000.
        sampler: ``ddpm``, ``ddim`` or ``dpm-solver++``.
        temperature: scales ddpm's step noise; 0 follows the means.
        seed: of the noise, 0 or more; the noise is a function of seed and token.
        rounds: generation rounds of the transformer; 1 is the published path.
        initial_noise_scale: scales x at the noisiest step; 0 starts from zero noise.
        sample_image_latent: draw the image's latent from its posterior, as the published protocol
            does, instead of taking the mean.

    Raises:
        CamsegError: a value out of its range.
    """

    steps: int = 10
    sampler: str = "ddpm"
    temperature: float = 1.0
    seed: int = 0
    rounds: int = 1
    initial_noise_scale: float = 1.0
    sample_image_latent: bool = False

    def __post_init__(self) -> None:
        """Check every range, so that a bad value is refused before any work."""
        sampler(self.sampler)
        for name, lowest, highest in (("steps", 1, TRAIN_TIMESTEPS), ("seed", 0, 2**63 - 1)):
            _require_whole(name, getattr(self, name), lowest, highest)
        _require_whole("rounds", self.rounds, 1, 2**31)
        for name in ("temperature", "initial_noise_scale"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0.0):
                raise CamsegError(f"{name} is {value!r}; a finite number of at least 0 is needed")


@dataclass(frozen=True)
class Segmentation:
    """The result for one image.

    Attributes:
        class_ids: uint8 [H, W] at the image's size, 0..C-1, 255 = unlabeled.
        confidence: uint8 [H, W], the largest class probability x 255, rounded.
        input_probabilities: float [C, H', W'] at the model's input size; what is missing to 1 is
            void's share.
        fit: how the image lies in the model's input.
        stride: pixels of a token's side.
        stage_seconds: wall time per stage on the steady clock; a batch's time is on each result.
    """

    class_ids: UInt8
    confidence: UInt8
    input_probabilities: Tensor = field(repr=False, compare=False)
    fit: Fit = field(repr=False)
    stride: int = field(repr=False)
    stage_seconds: dict[Stage, float] = field(compare=False)

    @cached_property
    def token_probabilities(self) -> UInt8:
        """Probability x 255 per class and token, uint8 [h, w, C].

        The mean over each token's pixels that lie inside the image. Computed when asked for.
        """
        return _as_uint8(_token_means(self.input_probabilities, self.fit, self.stride))

    @cached_property
    def class_probabilities(self) -> NDArray[np.float32]:
        """Probability per class and pixel at the image's size, float32 [C, H, W].

        By nearest neighbour, as the class ids; not-a-number is 0. Computed when asked for.
        """
        probabilities = self.input_probabilities.float().nan_to_num(0.0).cpu().numpy()
        return np.stack([self.fit.from_input(channel) for channel in probabilities])


class SegmentationCancelled(Exception):  # noqa: N818  # nothing went wrong
    """The caller asked, through ``cancelled``, for the work to end early."""


def _never() -> bool:
    return False


class Segmenter:
    """A loaded model on a device. Not for several threads at once."""

    def __init__(self, loaded: LoadedModel, device: str = "cpu") -> None:
        """Take a loaded model to ``device`` (``cpu``, ``cuda``, ``cuda:1``).

        Raises:
            CamsegError: no such device on this machine.
        """
        self.device = find_device(device)
        self.loaded = loaded
        self._model = loaded.model.to(self.device)
        # Measured on two CPU cores: convolutions take 20 % less time this way round.
        for parameter in self._model.autoencoder.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._palette = torch.from_numpy(loaded.label_set.decoding_palette()).to(self.device)

    @classmethod
    def load(
        cls, weights: str | Path, *, device: str = "cpu", num_heads: int | None = None
    ) -> Segmenter:
        """Load from what ``--weights`` takes, see `camseg_core.checkpoint.load_model`.

        Raises:
            CamsegError: no weights there, they do not fit, or no such device.
        """
        find_device(device)  # before the slow part
        return cls(load_model(weights, num_heads=num_heads), device)

    @property
    def label_set(self) -> LabelSet:
        """The model's classes."""
        return self.loaded.label_set

    def segment(
        self,
        image: UInt8,
        options: SamplingOptions | None = None,
        cancelled: Callable[[], bool] = _never,
    ) -> Segmentation:
        """Segment one RGB image uint8 [H, W, 3] of any size; see `segment_batch`."""
        return self.segment_batch([image], options, cancelled)[0]

    def segment_batch(
        self,
        images: Sequence[UInt8],
        options: SamplingOptions | None = None,
        cancelled: Callable[[], bool] = _never,
    ) -> list[Segmentation]:
        """Segment RGB images uint8 [H, W, 3]; sizes may differ where their model input is equal.

        The result of an image does not depend on the others: noise is a function of seed and
        token. (Matrix products of other sizes may round differently in the last bit.)

        Raises:
            CamsegError: an image is no uint8 RGB array or empty, or inputs differ in size.
            SegmentationCancelled: ``cancelled`` was true before a stage.
        """
        if not images:
            return []
        options = options or SamplingOptions()
        clock = _StageClock(self.device, cancelled)
        with torch.inference_mode():
            with clock.stage("prepare"):
                fits = [self._fit(check_image(image)) for image in images]
                batch = self._batch(images, fits)  # [B, 3, H', W']
            decoded = self._decode_mask(batch, options, clock)  # [B, 3, H', W']
            with clock.stage("finish"):
                return [
                    self._finish(colors, fit, clock.seconds)
                    for colors, fit in zip(decoded, fits, strict=True)
                ]

    def mask_latent_tokens(
        self,
        image: Tensor,
        options: SamplingOptions,
        clock: _StageClock | None = None,
    ) -> Tensor:
        """Sample mask latents [B, L, Z], scaled, for images in [-1, 1], [B, 3, H', W']."""
        clock = clock or _StageClock(self.device)
        config = self._model.config
        with clock.stage("image_encoder"):
            noise = self._image_noise(image, options.seed) if options.sample_image_latent else None
            latent = self._model.autoencoder.encode(image, noise)  # [B, C, h x p, w x p]
            image_tokens = tokens_from_latent(latent, config.patch_size)  # [B, L, Z]
        tokens = torch.zeros_like(image_tokens)  # [B, L, Z]
        length = image_tokens.shape[1]
        for index, (hidden, to_predict) in enumerate(
            round_masks(length, options.rounds, options.seed)
        ):
            with clock.stage("transformer"):
                mask = None
                if not hidden.all():
                    mask = hidden.to(self.device).expand(len(tokens), -1)  # [B, L]
                condition = self._model.transformer(
                    image_tokens, tokens if mask is not None else None, mask, self._grid(image)
                )[:, length:]  # [B, L, D], the mask half
            with clock.stage("denoiser"):
                places = to_predict.nonzero()[:, 0]  # [tokens of this round]
                drawn = TokenNoise(options.seed, length, tokens.shape[2], index)
                tokens[:, places] = self.denoise_tokens(
                    condition[:, places], partial(_noise_at, drawn, places), options
                )
        return tokens

    def denoise_tokens(
        self, condition: Tensor, noise: Callable[[int], Tensor], options: SamplingOptions
    ) -> Tensor:
        """Sample mask latents [B, N, Z] from conditions [B, N, D].

        ``noise(draw)`` is standard normal [N, Z]: draw 0 starts, draw 1 + i is for step i. Only
        the tokens given here are denoised: the network is per token, so that leaving out the
        image's changes nothing and halves the work.
        """
        diffusion, denoiser = self._model.config.diffusion, self._model.denoiser
        embedded = denoiser.embed_condition(condition)  # [B, N, W]
        start = options.initial_noise_scale * noise(0).to(self.device)  # [N, Z]
        sampled = sampler(options.sampler)(
            lambda x, timestep: denoiser.denoise(x, timestep, embedded),
            start.expand(len(condition), -1, -1),
            Schedule.respaced(options.steps, diffusion.first_timestep),
            diffusion.prediction,
            step_noise=lambda step: noise(step + 1).to(self.device, non_blocking=True),
            temperature=options.temperature,
        )  # [B, N, Z]
        return sampled

    def _decode_mask(self, image: Tensor, options: SamplingOptions, clock: _StageClock) -> Tensor:
        """Sample and decode the colour mask: [B, 3, H', W'] in [-1, 1] to the same shape."""
        tokens = self.mask_latent_tokens(image, options, clock)
        with clock.stage("decoder"):
            patch_size = self._model.config.patch_size
            latent = latent_from_tokens(tokens, self._grid(image), patch_size)
            decoded: Tensor = self._model.autoencoder.decode(latent)
            return decoded

    def _finish(self, decoded: Tensor, fit: Fit, seconds: dict[Stage, float]) -> Segmentation:
        """Read one decoded mask [3, H', W'] and bring it to the image's size."""
        distances = squared_distances(decoded[None], self._palette)  # [1, C + 1, H', W']
        class_ids = nearest_class(distances)[0]  # [H', W']
        probabilities = class_probabilities(distances, self._model.config.palette_temperature)[0]
        confidence = _as_uint8(probabilities.amax(dim=0))  # [H', W']
        return Segmentation(
            class_ids=fit.from_input(class_ids.cpu().numpy()),
            confidence=fit.from_input(confidence),
            input_probabilities=probabilities,
            fit=fit,
            stride=self._model.config.stride,
            stage_seconds=seconds,
        )

    def _image_noise(self, image: Tensor, seed: int) -> Tensor:
        """Draw the image latent's noise [1, C, h x p, w x p], the same for each image."""
        grid, patch_size = self._grid(image), self._model.config.patch_size
        channels = self._model.config.transformer.token_channels
        noise = TokenNoise(seed, grid[0] * grid[1], channels, IMAGE_NOISE_ROUND)
        return latent_from_tokens(noise(0)[None], grid, patch_size).to(self.device)

    def _grid(self, image: Tensor) -> Grid:
        """Give the token grid of model inputs [B, 3, H', W']."""
        stride = self._model.config.stride
        return image.shape[2] // stride, image.shape[3] // stride

    def _fit(self, image: UInt8) -> Fit:
        config = self._model.config
        return Fit.of(image.shape[0], image.shape[1], config.input, config.stride)

    def _batch(self, images: Sequence[UInt8], fits: Sequence[Fit]) -> Tensor:
        """Prepare images for the networks: float [B, 3, H', W'] in [-1, 1]."""
        sizes = sorted({(fit.input_height, fit.input_width) for fit in fits})
        if len(sizes) != 1:
            raise CamsegError(
                f"a batch needs images of one model input size; these have {sizes} (height, width)"
            )
        stacked = np.stack([fit.to_input(image) for image, fit in zip(images, fits, strict=True)])
        tensor = torch.from_numpy(stacked).to(self.device).permute(0, 3, 1, 2)
        return tensor.float().div_(127.5).sub_(1.0)


def find_device(name: str) -> torch.device:
    """Give the torch device called ``name``.

    Raises:
        CamsegError: the name is unknown, or this machine has no such device.
    """
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", name)
    if match is None:
        raise CamsegError(f"unknown device {name!r}; cpu, cuda or cuda:N is possible")
    if name != "cpu":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(match[1] or 0) >= count:
            raise CamsegError(
                f"device {name!r} was asked for, but torch sees {count} CUDA devices here; "
                "use --device cpu, or install a CUDA build of torch and its driver"
            )
    return torch.device(name)


class _StageClock:
    """Adds up wall seconds per stage on the steady clock; waits for the device at each end."""

    def __init__(self, device: torch.device, cancelled: Callable[[], bool] = _never) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self._device = device
        self._cancelled = cancelled

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Time one stage, unless the caller lost interest."""
        if self._cancelled():
            raise SegmentationCancelled
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[name] += time.perf_counter() - start


def _noise_at(noise: TokenNoise, places: Tensor, draw: int) -> Tensor:
    """Give the noise of some tokens only, [len(places), Z]: each keeps its own."""
    return noise(draw)[places]


def _token_means(probabilities: Tensor, fit: Fit, stride: int) -> Tensor:
    """Mean probability per token over its pixels inside the image: [C, H', W'] to [h, w, C]."""
    inside = torch.zeros_like(probabilities[:1])  # [1, H', W']
    inside[:, : fit.scaled_height, : fit.scaled_width] = 1.0
    sums = F.avg_pool2d(probabilities * inside, stride)  # [C, h, w]
    return (sums / F.avg_pool2d(inside, stride)).permute(1, 2, 0)  # [h, w, C]


def _as_uint8(share: Tensor) -> UInt8:
    """Turn shares 0..1 into uint8 0..255, rounded, on the CPU; not-a-number is no confidence."""
    array: UInt8 = (share.nan_to_num(0.0) * 255.0).round().to(torch.uint8).cpu().numpy()
    return array


def _require_whole(name: str, value: object, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise CamsegError(
            f"{name} is {value!r}; a whole number from {lowest} to {highest} is needed"
        )
