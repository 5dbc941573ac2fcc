# SPDX-License-Identifier: Apache-2.0
"""The whole model: its finished parts and the configuration they were built from."""

from __future__ import annotations

from torch import Tensor, nn

from camseg_core.errors import CamsegError
from camseg_core.models.autoencoder import Autoencoder
from camseg_core.models.configs import ModelConfig
from camseg_core.models.denoiser import Denoiser
from camseg_core.models.image_encoder import Features, ImageEncoder
from camseg_core.models.mask_decoder import MaskDecoder
from camseg_core.models.transformer import MaskedTransformer


class CamSeg(nn.Module):
    """A container: parameter names are ``<part>.<name in the published file>``.

    It has no ``forward``: `camseg_core.segmenter` runs the parts, `checkpoint` builds them.
    """

    def __init__(
        self,
        config: ModelConfig,
        autoencoder: Autoencoder,
        transformer: MaskedTransformer,
        denoiser: Denoiser,
        image_encoder: ImageEncoder | None = None,
        mask_decoder: MaskDecoder | None = None,
    ) -> None:
        """Compose finished parts; the last two only where the configuration has them."""
        super().__init__()
        self.config = config
        self.autoencoder = autoencoder
        self.transformer = transformer
        self.denoiser = denoiser
        self.image_encoder = image_encoder
        self.mask_decoder = mask_decoder

    def decode_classes(self, latent: Tensor, features: Features | None) -> Tensor:
        """Return class logits [B, K, H/4, W/4]; see `MaskDecoder.forward`.

        Raises:
            CamsegError: the model has no mask decoder.
        """
        if self.mask_decoder is None:
            raise CamsegError(f"model {self.config.name!r} has no mask decoder")
        logits: Tensor = self.mask_decoder(latent, features)
        return logits
