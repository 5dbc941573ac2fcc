# SPDX-License-Identifier: Apache-2.0
"""The whole model: its finished parts and the configuration they were built from."""

from __future__ import annotations

from torch import nn

from camseg_core.models.autoencoder import Autoencoder
from camseg_core.models.configs import ModelConfig
from camseg_core.models.denoiser import Denoiser
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
    ) -> None:
        """Compose finished parts."""
        super().__init__()
        self.config = config
        self.autoencoder = autoencoder
        self.transformer = transformer
        self.denoiser = denoiser
