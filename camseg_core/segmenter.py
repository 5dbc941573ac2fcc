# SPDX-License-Identifier: Apache-2.0
"""The facade of the core: RGB images in, class ids, confidence and probabilities out.

Shapes: B = batch; H, W = an image's size; H', W' = the model input's; C = classes; L = tokens of
one half; Z = channels of a token; D = condition width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from camseg_core.diffusion.options import DEFAULT_PROFILE, Profiles, SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8, check_image
from camseg_core.images.fit import Fit
from camseg_core.inference.backends import BACKENDS, Backend
from camseg_core.inference.decoding import Decoder
from camseg_core.inference.networks import EncodedImages, Networks
from camseg_core.inference.sampling import LatentSampler
from camseg_core.inference.stage_clock import SegmentationCancelled, StageClock, never
from camseg_core.labels import LabelSet
from camseg_core.models.transformer import tokens_from_latent
from camseg_core.segmentation import STAGES, Segmentation
from camseg_core.system.devices import find_device
from camseg_core.weights.loading import LoadedModel, load_model

__all__ = [
    "STAGES",
    "SamplingOptions",
    "Segmentation",
    "SegmentationCancelled",
    "Segmenter",
    "find_device",
]


class Segmenter:
    """A loaded model on a device. Only one thread may use it at a time."""

    def __init__(
        self,
        loaded: LoadedModel,
        device: str = "cpu",
        *,
        backend: Backend = "torch",
        providers: Sequence[str] = (),
    ) -> None:
        """Move a loaded model to a device.

        Args:
            loaded: the model.
            device: ``cpu``, ``cuda`` or ``cuda:N``.
            backend: ``onnx`` runs the graphs beside the weights, see
                `camseg_core.weights.onnx_export`, on the devices of its providers.
            providers: those of ONNX Runtime, see `camseg_core.inference.onnx_networks`.

        Raises:
            CamsegError: no such device, backend or provider on this machine, or no graphs.
        """
        self.device = find_device(device)
        self.loaded = loaded
        self.networks = _networks_of(loaded, self.device, backend, providers)
        self._sampler = LatentSampler(self.networks)
        self._decoder = Decoder(self.networks, loaded.label_set)
        self._colors = torch.from_numpy(loaded.label_set.colors().copy()).to(self.device)

    @classmethod
    def load(
        cls,
        weights: str | Path,
        *,
        device: str = "cpu",
        num_heads: int | None = None,
        backend: Backend = "torch",
        providers: Sequence[str] = (),
    ) -> Segmenter:
        """Load anything that ``--weights`` takes; see `camseg_core.weights.loading.load_model`.

        Raises:
            CamsegError: there are no such weights, they do not fit, or there is no such device,
                backend or provider.
        """
        find_device(device)  # before the slow part
        loaded = load_model(weights, num_heads=num_heads)
        return cls(loaded, device, backend=backend, providers=providers)

    @property
    def label_set(self) -> LabelSet:
        """Classes of the model."""
        return self.loaded.label_set

    @property
    def profiles(self) -> Profiles:
        """The weights' own ways to sample: ``accurate``, ``balanced`` and ``fast``."""
        return self.loaded.profiles

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
        cancelled: Callable[[], bool] = never,
    ) -> Segmentation:
        """Segment one RGB image uint8 [H, W, 3] of any size; see `segment_batch`."""
        return self.segment_batch([image], options, cancelled)[0]

    def segment_batch(
        self,
        images: Sequence[UInt8],
        options: SamplingOptions | None = None,
        cancelled: Callable[[], bool] = never,
    ) -> list[Segmentation]:
        """Segment RGB images uint8 [H, W, 3]; sizes may differ where their model input is equal.

        The result of an image does not depend on the others: noise is a function of seed and
        token. (Matrix products of other sizes may round differently in the last bit.)

        Args:
            images: the images.
            options: how to sample; the weights' profile ``balanced`` without.
            cancelled: function that is asked before each stage whether to give up.

        Raises:
            CamsegError: an image is no uint8 RGB array or empty, inputs differ in size, or the
                model has no decoder of the kind that the options ask for.
            SegmentationCancelled: ``cancelled`` was true before a stage.
        """
        clock = StageClock(self.device, cancelled)
        return self.segment_by_clock(images, options or self.profiles[DEFAULT_PROFILE], clock)

    def segment_by_clock(
        self, images: Sequence[UInt8], options: SamplingOptions, clock: StageClock
    ) -> list[Segmentation]:
        """Segment as `segment_batch` does, by a clock of the caller's."""
        if not images:
            return []
        with torch.inference_mode():
            with clock.stage("prepare", on_host=True):
                fits = [self._fit(check_image(image)) for image in images]
                inputs = self._inputs(images, fits)  # [B, H', W', 3]
            with clock.stage("prepare"):
                batch = self._batch(inputs)  # [B, 3, H', W']
            encoded = self._encode(batch, options, clock)
            samples = self._sampler.samples(encoded, options, clock)
            decoded = self._decoder.decode(samples, encoded.grid, options, clock)
            # The one place at which the host waits for the device: for a byte of class and a byte
            # of confidence per pixel, and one per image.
            pixels = decoded.class_ids[0].numel()
            flags = decoded.has_no_number.byte()[:, None]  # [B, 1]
            parts = (decoded.class_ids.flatten(1), decoded.confidence.flatten(1), flags)
            on_host = torch.cat(parts, dim=1).cpu().numpy()
            with clock.stage("finish", on_host=True):
                size = decoded.class_ids.shape[1:]
                results = [
                    (
                        fit.from_input(row[:pixels].reshape(size)),
                        fit.from_input(row[pixels:-1].reshape(size)),
                        bool(row[-1]),
                    )
                    for fit, row in zip(fits, on_host, strict=True)
                ]
        return [
            Segmentation(
                class_ids=class_ids,
                confidence=confidence,
                logarithms=logarithms,
                fit=fit,
                stride=self.networks.config.stride,
                has_no_number=has_no_number,
                stage_seconds=clock.seconds,
            )
            for (class_ids, confidence, has_no_number), logarithms, fit in zip(
                results, decoded.logarithms, fits, strict=True
            )
        ]

    def predict_latent(self, image: UInt8, options: SamplingOptions) -> Tensor:
        """Sample the mask's latent tokens [1, L, Z], scaled, of an RGB image uint8 [H, W, 3]."""
        batch = self._batch(self._inputs([image], [self._fit(image)]))
        return self.mask_latent_tokens(batch, options)

    def mask_latent_tokens(self, image: Tensor, options: SamplingOptions) -> Tensor:
        """Sample mask latents [B, L, Z], scaled, for images in [-1, 1], [B, 3, H', W']."""
        clock = StageClock(self.device)
        with torch.inference_mode():
            encoded = self._encode(image, options, clock)
            return next(self._sampler.samples(encoded, options, clock))

    def encode_mask(self, class_ids: UInt8) -> Tensor:
        """Encode true class ids uint8 [H, W] to scaled latent tokens [1, L, Z]: no noise."""
        ids = torch.from_numpy(self._fit(class_ids).to_input_ids(class_ids).copy())  # [H', W']
        config = self.networks.config
        with torch.inference_mode():
            posterior = self.networks.at("float32").mask_posterior(
                ids.to(self.device).long()[None], self._colors
            )
            latent = posterior.mean.float() * config.autoencoder.latent_scale
            return tokens_from_latent(latent, config.patch_size)

    def decode_latent(self, tokens: Tensor, size: Sequence[int], options: SamplingOptions) -> UInt8:
        """Decode scaled latent tokens [1, L, Z] of an image of size (H, W) to uint8 [H, W]."""
        config = self.networks.config
        fit = Fit.of(size[0], size[1], config.input, config.stride)
        grid = fit.input_height // config.stride, fit.input_width // config.stride
        one = replace(options, samples=1)
        with torch.inference_mode():
            decoded = self._decoder.decode([tokens], grid, one, StageClock(self.device))
            return fit.from_input(decoded.class_ids[0].cpu().numpy())

    def _encode(self, image: Tensor, options: SamplingOptions, clock: StageClock) -> EncodedImages:
        """Encode images in [-1, 1], [B, 3, H', W']."""
        stride = self.networks.config.stride
        grid = image.shape[2] // stride, image.shape[3] // stride
        with clock.stage("image_encoder"):
            noise = self._sampler.image_noise(options, grid)
            return self.networks.encode(image, options.precision, noise)

    def _inputs(self, images: Sequence[UInt8], fits: Sequence[Fit]) -> UInt8:
        """Fit images to the model's input, uint8 [B, H', W', 3].

        Raises:
            CamsegError: their inputs differ in size.
        """
        sizes = sorted({(fit.input_height, fit.input_width) for fit in fits})
        if len(sizes) != 1:
            raise CamsegError(
                f"a batch needs images of one model input size; these have {sizes} (height, width)"
            )
        return np.stack([fit.to_input(image) for image, fit in zip(images, fits, strict=True)])

    def _batch(self, inputs: UInt8) -> Tensor:
        """Bring uint8 [B, H', W', 3] to the device and to [-1, 1], float [B, 3, H', W']."""
        batch = torch.from_numpy(inputs)
        if self.device.type == "cuda":
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        return batch.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)

    def _fit(self, image: UInt8) -> Fit:
        config = self.networks.config
        return Fit.of(image.shape[0], image.shape[1], config.input, config.stride)


def _networks_of(
    loaded: LoadedModel, device: torch.device, backend: Backend, providers: Sequence[str]
) -> Networks:
    if backend not in BACKENDS:
        raise CamsegError(f"unknown backend {backend!r}; one of {', '.join(BACKENDS)}")
    if backend == "torch":
        if providers:
            raise CamsegError(f"providers are {', '.join(providers)}; backend onnx takes them")
        return Networks(loaded.model, device)
    if device.type != "cpu":
        raise CamsegError(f"device is {device}; with backend onnx, providers choose the device")
    # Imported here: torch alone needs no ONNX Runtime.
    from camseg_core.inference.onnx_networks import OnnxNetworks

    return OnnxNetworks(loaded, providers)
