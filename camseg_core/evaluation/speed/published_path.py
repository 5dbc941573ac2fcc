# SPDX-License-Identifier: Apache-2.0
"""The work of the published implementation of CAM-Seg, re-enacted with the same networks.

Float32; no weight is laid out or rounded ahead; the transformer gives conditions of image tokens
too, and the denoiser, with one timestep per token and the conditions embedded at each step, runs
over all 2L tokens; colours are compared in numpy. What the weights do not have (colours, in our
small sizes) is done by the part that they have in its place.

Shapes: H', W' = the model input's size; L = tokens of one half; Z = channels of a token;
C = classes.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from camseg_core.diffusion.process import Schedule
from camseg_core.diffusion.samplers import sample_ddpm
from camseg_core.images.arrays import UInt8
from camseg_core.images.fit import Fit
from camseg_core.inference.stage_clock import StageClock
from camseg_core.labels import UNLABELED
from camseg_core.models.transformer import Grid, latent_from_tokens
from camseg_core.weights.loading import LoadedModel

PUBLISHED_STEPS = 100


class PublishedPath:
    """One image at a time through the published implementation's stages."""

    def __init__(self, loaded: LoadedModel, device: torch.device) -> None:
        """Share the tensors of ``loaded`` but for the kernels, which our own path lays out anew."""
        kernels = {id(p) for p in loaded.model.parameters() if p.dim() == 4}
        tensors = (*loaded.model.parameters(), *loaded.model.buffers())
        shared = {id(tensor): tensor for tensor in tensors if id(tensor) not in kernels}
        self._model = deepcopy(loaded.model, shared).to(device)
        for parameter in self._model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous()
        self._palette = loaded.label_set.decoding_palette()  # [C + 1, 3]
        self._device = device

    def segment(self, image: UInt8, steps: int, clock: StageClock) -> UInt8:
        """Segment an RGB image uint8 [H, W, 3] by ``steps`` ddpm steps: class ids uint8 [H, W]."""
        model, config = self._model, self._model.config
        with torch.inference_mode():
            with clock.stage("prepare"):
                fit = Fit.of(image.shape[0], image.shape[1], config.input, config.stride)
                batch = torch.tensor(fit.to_input(image), device=self._device)  # [H', W', 3]
                batch = batch.permute(2, 0, 1)[None].float() / 127.5 - 1.0  # [1, 3, H', W']
                batch = batch.contiguous()
                grid = fit.input_height // config.stride, fit.input_width // config.stride
            with clock.stage("image_encoder"):
                tokens, features = model.encode_image(batch)  # [1, L, Y]
                self._wait()
            with clock.stage("transformer"):
                conditions = model.transformer(tokens, grid=grid)[0]  # [2L, D]
                if model.fine_condition is not None and features is not None:
                    fine = model.fine_condition(tokens, features)[0]  # [L, D]
                    conditions = conditions + fine.repeat(2, 1)  # [2L, D]
                self._wait()
            with clock.stage("denoiser"):
                sampled = self._sample(conditions, steps)  # [2L, Z]
                self._wait()
            return self._decode(sampled[len(sampled) // 2 :], grid, fit, clock)

    def _sample(self, conditions: Tensor, steps: int) -> Tensor:
        """Sample all 2L tokens, [2L, Z], from their conditions [2L, D]."""
        channels = self._model.config.transformer.token_channels
        noise = torch.Generator(self._device).manual_seed(0)

        def draw(_step: int) -> Tensor:
            size = len(conditions), channels
            return torch.randn(size, generator=noise, device=self._device)  # [2L, Z]

        def denoise(x: Tensor, timestep: int) -> Tensor:
            at = torch.full((len(x),), timestep, device=self._device)  # [2L]
            predicted: Tensor = self._model.denoiser(x, at, conditions)  # [2L, 2Z]
            return predicted

        diffusion = self._model.config.diffusion
        schedule = Schedule.respaced(steps, diffusion.first_timestep)
        return sample_ddpm(
            denoise, draw(-1), schedule, diffusion.prediction, step_noise=draw
        )  # [2L, Z]

    def _decode(self, tokens: Tensor, grid: Grid, fit: Fit, clock: StageClock) -> UInt8:
        """Decode mask tokens [L, Z] to class ids uint8 [H, W]."""
        model = self._model
        size = fit.input_height, fit.input_width
        with clock.stage("decoder"):
            latent = latent_from_tokens(tokens[None], grid, model.config.patch_size)
            if model.mask_decoder is None:
                decoded = model.color_autoencoder.decode(latent)  # [1, 3, H', W']
            else:
                decoded = F.interpolate(model.decode_classes(latent), size, mode="bilinear")
            self._wait()
        with clock.stage("finish"):
            planes = decoded[0].cpu().numpy()  # [3 or C, H', W']
            if model.mask_decoder is None:
                pixels = np.moveaxis(planes, 0, -1) * 0.5 + 0.5  # [H', W', 3]
                differences = pixels[:, :, None] - self._palette  # [H', W', C + 1, 3]
                nearest = np.linalg.norm(differences, axis=-1).argmin(axis=-1)  # [H', W']
                class_ids = np.where(nearest == 0, UNLABELED, nearest - 1)
            else:
                class_ids = planes.argmax(axis=0)  # [H', W']
            return fit.from_input(class_ids.astype(np.uint8))

    def _wait(self) -> None:
        """Wait for the device, as the published implementation does when it copies each result."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
