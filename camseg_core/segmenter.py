# SPDX-License-Identifier: Apache-2.0
"""The facade of the core: RGB images in, class ids, confidence and probabilities out.

Shapes: B = batch; H, W = an image's size; H', W' = the model input's; C = classes; L = tokens of
one half; Z = channels of a token; D = condition width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from camseg_core.diffusion.options import Precision, SamplingOptions
from camseg_core.diffusion.process import Schedule
from camseg_core.diffusion.samplers import LAST_BFLOAT16_TIMESTEP, TokenNoise, round_masks, sampler
from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8, confidence_of
from camseg_core.images.fit import Fit, check_image
from camseg_core.labels import UNLABELED, LabelSet
from camseg_core.models.camseg import CamSeg
from camseg_core.models.image_encoder import Features
from camseg_core.models.palette_decoder import class_shares, nearest_class, squared_distances
from camseg_core.models.transformer import Grid, latent_from_tokens, tokens_from_latent
from camseg_core.segmentation import STAGES, InferenceStage, Segmentation, as_uint8
from camseg_core.system.devices import find_device
from camseg_core.weights.inference import inference_networks
from camseg_core.weights.loading import LoadedModel, load_model

__all__ = [
    "STAGES",
    "SamplingOptions",
    "Segmentation",
    "SegmentationCancelled",
    "Segmenter",
    "find_device",
]


IMAGE_NOISE_ROUND = 2**32 - 1
"""Number in place of a round for the noise of the image's latent; real rounds stay below it."""


class SegmentationCancelled(Exception):  # noqa: N818  # nothing went wrong
    """The caller asked, through ``cancelled``, for the work to end early."""


class EncodedImages(NamedTuple):
    """Image tokens [B, L, Z], the light image encoder's features if there is one, token grid."""

    tokens: Tensor
    features: Features | None
    grid: Grid


def _never() -> bool:
    return False


class Segmenter:
    """A loaded model on a device. Only one thread may use it at a time."""

    def __init__(self, loaded: LoadedModel, device: str = "cpu") -> None:
        """Move a loaded model to ``device`` (``cpu``, ``cuda``, ``cuda:1``).

        Raises:
            CamsegError: no such device on this machine.
        """
        self.device = find_device(device)
        self.loaded = loaded
        self._model = loaded.model.to(self.device)
        self._prepared: dict[Precision, CamSeg] = {}
        self._palette = torch.from_numpy(loaded.label_set.decoding_palette()).to(self.device)
        self._colors = torch.from_numpy(loaded.label_set.colors().copy()).to(self.device)

    @classmethod
    def load(
        cls, weights: str | Path, *, device: str = "cpu", num_heads: int | None = None
    ) -> Segmenter:
        """Load anything that ``--weights`` takes; see `camseg_core.weights.loading.load_model`.

        Raises:
            CamsegError: there are no such weights, they do not fit, or there is no such device.
        """
        find_device(device)  # before the slow part
        return cls(load_model(weights, num_heads=num_heads), device)

    @property
    def label_set(self) -> LabelSet:
        """Classes of the model."""
        return self.loaded.label_set

    def networks(self, precision: Precision) -> CamSeg:
        """Return the networks for a precision, prepared when first asked for."""
        if precision not in self._prepared:
            self._prepared[precision] = inference_networks(self._model, precision)
        return self._prepared[precision]

    def input_size(self, image: UInt8) -> tuple[int, int]:
        """Return height and width that an image uint8 [H, W, 3] has as the model's input.

        Raises:
            CamsegError: the image is no uint8 RGB array or empty.
        """
        fit = self._fit(check_image(image))
        return fit.input_height, fit.input_width

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
            CamsegError: an image is no uint8 RGB array or empty, inputs differ in size, or the
                model has no decoder of the kind that the options ask for.
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
            class_ids, probabilities = self._decode(batch, options, clock)
            with clock.stage("finish"):
                return [
                    Segmentation(
                        class_ids=fit.from_input(ids.cpu().numpy()),
                        confidence=fit.from_input(as_uint8(confidence_of(shares))),
                        input_probabilities=shares,
                        fit=fit,
                        stride=self._model.config.stride,
                        stage_seconds=clock.seconds,
                    )
                    for ids, shares, fit in zip(class_ids, probabilities, fits, strict=True)
                ]

    def predict_latent(self, image: UInt8, options: SamplingOptions) -> Tensor:
        """Sample the mask's latent tokens [1, L, Z], scaled, of an RGB image uint8 [H, W, 3]."""
        with torch.inference_mode():
            return self.mask_latent_tokens(self._batch([image], [self._fit(image)]), options)

    def encode_mask(self, class_ids: UInt8) -> Tensor:
        """Encode true class ids uint8 [H, W] to scaled latent tokens [1, L, Z]: no noise."""
        ids = torch.from_numpy(self._fit(class_ids).to_input_ids(class_ids).copy())  # [H', W']
        with torch.inference_mode():
            posterior = self._model.mask_posterior(ids.to(self.device).long()[None], self._colors)
            latent = posterior.mean.float() * self._model.config.autoencoder.latent_scale
            return tokens_from_latent(latent, self._model.config.patch_size)

    def decode_latent(self, tokens: Tensor, size: Sequence[int], options: SamplingOptions) -> UInt8:
        """Decode scaled latent tokens [1, L, Z] of an image of size (H, W) to uint8 [H, W]."""
        config = self._model.config
        fit = Fit.of(size[0], size[1], config.input, config.stride)
        grid = fit.input_height // config.stride, fit.input_width // config.stride
        one = replace(options, samples=1)
        with torch.inference_mode():
            class_ids, _ = self._decode_tokens([tokens], grid, one, _StageClock(self.device))
        return fit.from_input(class_ids[0].cpu().numpy())

    def mask_latent_tokens(self, image: Tensor, options: SamplingOptions) -> Tensor:
        """Sample mask latents [B, L, Z], scaled, for images in [-1, 1], [B, 3, H', W']."""
        clock = _StageClock(self.device)
        encoded = self._encode(image, options, clock)
        return next(self._samples(encoded, options, clock))

    def denoise_tokens(
        self,
        condition: Tensor,
        noise: Callable[[int], Tensor],
        options: SamplingOptions,
        cancelled: Callable[[], bool] = _never,
    ) -> Tensor:
        """Sample mask latents [B, N, Z] from conditions [B, N, D].

        ``noise(draw)`` is standard normal [N, Z]: draw 0 starts, draw 1 + i is for step i. Only
        the tokens given here are denoised: the network works per token, so that leaving out the
        image's tokens changes nothing and halves the work.
        """
        diffusion = self._model.config.diffusion
        schedule = Schedule.respaced(options.steps, diffusion.first_timestep)
        start = options.initial_noise_scale * noise(0).to(self.device)  # [N, Z]
        embedded: dict[Precision, Tensor] = {}

        def denoise(x: Tensor, timestep: int) -> Tensor:
            if cancelled():
                raise SegmentationCancelled
            precision = options.precision
            if diffusion.prediction == "epsilon" and timestep > LAST_BFLOAT16_TIMESTEP:
                precision = "float32"
            denoiser = self.networks(precision).denoiser
            with self._autocast(precision):
                if precision not in embedded:
                    embedded[precision] = denoiser.embed_condition(condition)  # [B, N, W]
                at = torch.full((1,), timestep, device=x.device)
                return denoiser.denoise(x, at, embedded[precision])

        sampled = sampler(options.sampler)(
            denoise,
            start.expand(len(condition), -1, -1),
            schedule,
            diffusion.prediction,
            step_noise=lambda step: noise(step + 1).to(self.device, non_blocking=True),
            temperature=options.temperature,
        )  # [B, N, Z]
        return sampled

    def _reads_mask_decoder(self, options: SamplingOptions) -> bool:
        has_one = self._model.mask_decoder is not None
        if options.decoder == "mask" and not has_one:
            raise CamsegError(
                "decoder 'mask' was asked for, but the model has none; use palette or auto"
            )
        return has_one and options.decoder != "palette"

    def _encode(self, image: Tensor, options: SamplingOptions, clock: _StageClock) -> EncodedImages:
        """Encode images in [-1, 1], [B, 3, H', W']."""
        model, patch_size = self.networks(options.precision), self._model.config.patch_size
        stride = model.config.stride
        grid = image.shape[2] // stride, image.shape[3] // stride
        with clock.stage("image_encoder"), self._autocast(options.precision):
            if model.image_encoder is not None:
                latent, features = model.image_encoder(image)  # [B, Z, h, w]
                return EncodedImages(tokens_from_latent(latent, 1), features, grid)
            noise = None
            if options.sample_image_latent:  # the same noise for each image
                channels = model.config.transformer.token_channels
                draw = TokenNoise(options.seed, grid[0] * grid[1], channels, IMAGE_NOISE_ROUND)
                noise = latent_from_tokens(draw(0)[None], grid, patch_size).to(self.device)
            latent = model.color_autoencoder.encode(image, noise)  # [B, C, h x p, w x p]
            tokens = tokens_from_latent(latent, patch_size)  # [B, L, Z]
        return EncodedImages(tokens, None, grid)

    def _samples(
        self, encoded: EncodedImages, options: SamplingOptions, clock: _StageClock
    ) -> Iterator[Tensor]:
        """Yield mask latents [B, L, Z], scaled, for each noise; one round shares its condition."""
        batch, length = encoded.tokens.shape[:2]
        channels = self._model.config.transformer.token_channels
        condition = None
        for sample in range(options.samples):
            tokens = encoded.tokens.new_zeros(batch, length, channels, dtype=torch.float32)
            for index, (hidden, to_predict) in enumerate(
                round_masks(length, options.rounds, options.seed)
            ):
                if condition is None or options.rounds > 1:
                    with clock.stage("transformer"), self._autocast(options.precision):
                        mask = None if hidden.all() else hidden.to(self.device).expand(batch, -1)
                        given = None if mask is None else tokens
                        condition = (
                            self.networks(options.precision)
                            .condition(encoded.tokens, encoded.features, given, mask, encoded.grid)
                            .float()
                        )  # [B, L, D]
                with clock.stage("denoiser"):
                    places = to_predict.nonzero()[:, 0]  # [tokens of this round]
                    drawn = TokenNoise(options.seed, length, channels, index, sample)
                    tokens[:, places] = self.denoise_tokens(
                        condition[:, places],
                        partial(_noise_at, drawn, places),
                        options,
                        clock.cancelled,
                    )
            yield tokens

    def _decode(
        self, image: Tensor, options: SamplingOptions, clock: _StageClock
    ) -> tuple[Tensor, Tensor]:
        """Sample and decode the masks of images [B, 3, H', W']; see `_decode_tokens`."""
        encoded = self._encode(image, options, clock)
        samples = self._samples(encoded, options, clock)
        return self._decode_tokens(samples, encoded.grid, options, clock)

    def _decode_tokens(
        self, samples: Iterable[Tensor], grid: Grid, options: SamplingOptions, clock: _StageClock
    ) -> tuple[Tensor, Tensor]:
        """Read classes with the mask decoder, or off the decoded colours, of tokens [B, L, Z].

        Probabilities are the mean over the samples, which is taken before they are enlarged.

        Returns:
            Class ids uint8 [B, H', W'] and probabilities [B, C, H', W'] without void's share.
        """
        model = self.networks(options.precision)
        reads_mask_decoder = self._reads_mask_decoder(options)
        total = torch.zeros((), device=self.device)
        for tokens in samples:
            with clock.stage("decoder"), self._autocast(options.precision):
                latent = latent_from_tokens(tokens, grid, model.config.patch_size)
                if reads_mask_decoder:
                    logits = model.decode_classes(latent)  # [B, C, H'/2, W'/2]
                    total = total + logits.float().softmax(dim=1)  # [B, C, H'/2, W'/2]
                else:
                    colors = model.color_autoencoder.decode(latent).float()  # [B, 3, H', W']
            if not reads_mask_decoder:
                with clock.stage("finish"):
                    distances = squared_distances(colors, self._palette)  # [B, C + 1, H', W']
                    total = total + class_shares(distances, model.config.palette_temperature)
        with clock.stage("finish"):
            mean = total / options.samples
            if not reads_mask_decoder:
                class_ids = nearest_class(distances if options.samples == 1 else -mean)
                return class_ids, mean[:, 1:]
            size = grid[0] * model.config.stride, grid[1] * model.config.stride
            # Logarithms are enlarged: enlarged probabilities blur thin things away. In place, and
            # without softmax, this takes half the time on two CPU cores.
            smallest = torch.finfo(mean.dtype).tiny  # log 0 would be no number after enlarging
            shares = F.interpolate(
                mean.clamp(min=smallest).log(), size, mode="bilinear", align_corners=False
            ).exp_()  # [B, C, H', W']
            probabilities = shares.div_(shares.sum(dim=1, keepdim=True))  # [B, C, H', W']
            # Measured on two CPU cores: argmax alone takes eight times as long.
            best, class_ids = probabilities.max(dim=1)  # [B, H', W'] each
            return class_ids.to(torch.uint8).masked_fill_(best.isnan(), UNLABELED), probabilities

    def _autocast(self, precision: Precision) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def _batch(self, images: Sequence[UInt8], fits: Sequence[Fit]) -> Tensor:
        """Prepare images for the networks: float [B, 3, H', W'] in [-1, 1]."""
        sizes = sorted({(fit.input_height, fit.input_width) for fit in fits})
        if len(sizes) != 1:
            raise CamsegError(
                f"a batch needs images of one model input size; these have {sizes} (height, width)"
            )
        inputs = [fit.to_input(image) for image, fit in zip(images, fits, strict=True)]
        batch = torch.from_numpy(np.stack(inputs)).to(self.device).permute(0, 3, 1, 2)
        return batch.float().div_(127.5).sub_(1.0)

    def _fit(self, image: UInt8) -> Fit:
        config = self._model.config
        return Fit.of(image.shape[0], image.shape[1], config.input, config.stride)


class _StageClock:
    """Wall seconds per stage on the steady clock, with a wait for the device at each end."""

    def __init__(self, device: torch.device, cancelled: Callable[[], bool] = _never) -> None:
        self.seconds: dict[InferenceStage, float] = dict.fromkeys(STAGES, 0.0)
        self._device = device
        self.cancelled = cancelled

    @contextmanager
    def stage(self, name: InferenceStage) -> Iterator[None]:
        """Time one stage, or end the work if the caller has cancelled it."""
        if self.cancelled():
            raise SegmentationCancelled
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[name] += time.perf_counter() - start


def _noise_at(noise: TokenNoise, places: Tensor, draw: int) -> Tensor:
    """Return the noise of some tokens, [len(places), Z]: each token keeps its own."""
    return noise(draw)[places]
