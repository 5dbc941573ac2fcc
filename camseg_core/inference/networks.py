# SPDX-License-Identifier: Apache-2.0
"""A model's networks on a device, one method a stage.

Shapes: B = batch; H', W' = the model input's size; L = tokens of one half; N = any number of
tokens; Y, Z = channels of an image token and of a mask token; D = condition width; C = classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from camseg_core.diffusion.options import Precision
from camseg_core.diffusion.samplers import LAST_BFLOAT16_TIMESTEP, DenoiseStep
from camseg_core.models.autoencoder import ResnetBlock
from camseg_core.models.camseg import CamSeg
from camseg_core.models.image_encoder import Features
from camseg_core.models.transformer import Block, Grid, latent_from_tokens
from camseg_core.system.devices import describe_device
from camseg_core.weights.inference import inference_networks

CPU_TOKENS_AT_ONCE = 1024
"""Most tokens that the denoiser takes at once on a CPU."""

CPU_HIDDEN_VALUES_AT_ONCE = 2**21
"""Most values that the transformer's MLPs have in their hidden layer at once on a CPU."""


class EncodedImages(NamedTuple):
    """Image tokens [B, L, Y], the light image encoder's features if there is one, token grid."""

    tokens: Tensor
    features: Features | None
    grid: Grid


class Networks:
    """The networks, prepared for each precision when it is first asked for.

    Attributes:
        config: the model's configuration.
        device: where the tensors are that go in and come out.
        device_name: what computes, in words.
        has_exact_float32: whether float32 is multiplied as such; PyTorch and ONNX Runtime let GPUs
            round it for their tensor cores.
        reads_mask_tokens: whether conditions can be asked for with some mask tokens visible.
    """

    reads_mask_tokens = True

    def __init__(self, model: CamSeg, device: torch.device) -> None:
        """Move ``model`` to ``device``."""
        self.config = model.config
        self.device = device
        self.device_name = describe_device(device)
        self.has_exact_float32 = device.type == "cpu"
        self._model = model.to(device)
        self._prepared: dict[Precision, CamSeg] = {}

    def at(self, precision: Precision) -> CamSeg:
        """Return the networks of one precision, to be run under autocast of it."""
        if precision not in self._prepared:
            networks = inference_networks(self._model, precision)
            if self.device.type == "cpu":
                _work_in_portions(networks, precision)
            self._prepared[precision] = networks
        return self._prepared[precision]

    def autocast(self, precision: Precision) -> torch.autocast:
        """Return the autocast of a precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def encode(
        self, image: Tensor, precision: Precision, noise_tokens: Tensor | None = None
    ) -> EncodedImages:
        """Encode images in [-1, 1], [B, 3, H', W'].

        Args:
            image: the images.
            precision: of the networks.
            noise_tokens: noise [1, L, Y] with which the latent is drawn from its posterior; its
                mean without. Read where the model has no light image encoder.
        """
        stride, noise = self.config.stride, None
        grid = image.shape[2] // stride, image.shape[3] // stride
        if noise_tokens is not None:
            noise = latent_from_tokens(noise_tokens, grid, self.config.patch_size)
        with self.autocast(precision):
            return EncodedImages(*self.at(precision).encode_image(image, noise), grid)

    def condition(
        self,
        encoded: EncodedImages,
        precision: Precision,
        mask_tokens: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Return one condition per mask token, float32 [B, L, D].

        Args:
            encoded: the images.
            precision: of the networks.
            mask_tokens: [B, L, Z], read where they are not hidden.
            hidden: bool [B, L]; all are hidden without it.
        """
        with self.autocast(precision):
            condition = self.at(precision).condition(
                encoded.tokens, encoded.features, mask_tokens, hidden, encoded.grid
            )
        return condition.float()

    def denoiser_precision(self, precision: Precision, timestep: int) -> Precision:
        """Return the precision of one step: float32 where an error of epsilon would grow."""
        too_noisy = timestep > LAST_BFLOAT16_TIMESTEP
        if too_noisy and self.config.diffusion.prediction == "epsilon":
            return "float32"
        return precision

    def denoiser(self, condition: Tensor, precision: Precision) -> DenoiseStep:
        """Return the denoiser of tokens [..., N, Z] under their conditions [..., N, D]."""
        # On a CPU, more tokens at once leave the cache between operations: 8 % of a published step.
        tokens, most = condition.shape[-2], CPU_TOKENS_AT_ONCE
        parts = -(-tokens // most) if self.device.type == "cpu" else 1
        embedded: dict[Precision, Tensor] = {}

        def denoise(x: Tensor, timestep: int) -> Tensor:
            here = self.denoiser_precision(precision, timestep)
            denoiser = self.at(here).denoiser
            with self.autocast(here):
                if here not in embedded:
                    embedded[here] = denoiser.embed_condition(condition)  # [..., N, W]
                at = torch.full((1,), timestep, device=x.device)  # [1]
                predicted = [
                    denoiser.denoise(some, at, their_condition)
                    for some, their_condition in zip(
                        x.chunk(parts, dim=-2), embedded[here].chunk(parts, dim=-2), strict=True
                    )
                ]
                return torch.cat(predicted, dim=-2) if parts > 1 else predicted[0]  # [..., N, 2Z]

        return denoise

    def class_logits(self, tokens: Tensor, grid: Grid, precision: Precision) -> Tensor:
        """Decode scaled mask tokens [B, L, Z] with the mask decoder to float32 [B, C, H'/2, W'/2].

        Raises:
            CamsegError: the model has no mask decoder.
        """
        with self.autocast(precision):
            latent = latent_from_tokens(tokens, grid, self.config.patch_size)  # [B, Z', h, w]
            logits = self.at(precision).decode_classes(latent)  # [B, C, H'/2, W'/2]
        # Classes as planes: what follows is several times as slow with classes innermost.
        return logits.to(torch.float32, memory_format=torch.contiguous_format)

    def colors(self, tokens: Tensor, grid: Grid, precision: Precision) -> Tensor:
        """Decode scaled mask tokens [B, L, Z] to colours, float32 [B, 3, H', W'] around [-1, 1].

        Raises:
            CamsegError: the model's autoencoder knows no colours.
        """
        with self.autocast(precision):
            latent = latent_from_tokens(tokens, grid, self.config.patch_size)  # [B, Z', h, w]
            return self.at(precision).color_autoencoder.decode(latent).float()


def _work_in_portions(networks: CamSeg, precision: Precision) -> None:
    """Let large tensors be worked on in portions that stay in a CPU's caches."""
    for module in networks.modules():
        if isinstance(module, Block):
            module.tokens_at_once = CPU_HIDDEN_VALUES_AT_ONCE // module.mlp.fc1.out_features
        if isinstance(module, ResnetBlock):
            module.in_place = precision == "bfloat16"  # float32 takes no less time so
