# SPDX-License-Identifier: Apache-2.0
"""The whole model: its finished parts and the configuration they were built from.

Shapes: B = batch; H, W = model input; h, w = latent positions; L = tokens of one half; Y, Z =
channels of an image token and of a mask token; C = latent channels; D = condition width;
K = classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from camseg_core.errors import CamsegError
from camseg_core.models.autoencoder import Autoencoder, GaussianPosterior
from camseg_core.models.configs import ModelConfig
from camseg_core.models.denoiser import Denoiser
from camseg_core.models.fine_condition import FineCondition
from camseg_core.models.image_encoder import Features, ImageEncoder
from camseg_core.models.mask_autoencoder import MaskAutoencoder
from camseg_core.models.mask_decoder import MaskDecoder
from camseg_core.models.transformer import Grid, MaskedTransformer, tokens_from_latent


class CamSeg(nn.Module):
    """A container: parameter names are ``<part>.<name in the published file>``.

    It has no ``forward``: `camseg_core.segmenter` runs the parts, `camseg_core.weights` builds
    them.
    """

    def __init__(
        self,
        config: ModelConfig,
        autoencoder: Autoencoder | MaskAutoencoder,
        transformer: MaskedTransformer,
        denoiser: Denoiser,
        image_encoder: ImageEncoder | None = None,
        mask_decoder: MaskDecoder | None = None,
        fine_condition: FineCondition | None = None,
    ) -> None:
        """Compose finished parts; the last three only where the configuration has them."""
        super().__init__()
        self.config = config
        self.autoencoder = autoencoder
        self.transformer = transformer
        self.denoiser = denoiser
        self.image_encoder = image_encoder
        self.mask_decoder = mask_decoder
        self.fine_condition = fine_condition

    @property
    def color_autoencoder(self) -> Autoencoder:
        """The published autoencoder, of images and colours.

        Raises:
            CamsegError: the model has an autoencoder of class masks in its place.
        """
        if not isinstance(self.autoencoder, Autoencoder):
            raise CamsegError(
                f"model {self.config.name!r} encodes classes, not colours: it has no palette"
            )
        return self.autoencoder

    def mask_posterior(self, class_ids: Tensor, colors: Tensor) -> GaussianPosterior:
        """Encode true masks.

        Args:
            class_ids: int64 [B, H, W], 255 = unlabeled.
            colors: RGB of each class id, 0..255, [256, 3]; read where masks are colours.

        Returns:
            Posterior of the raw latents [B, C, h, w].
        """
        if isinstance(self.autoencoder, MaskAutoencoder):
            return self.autoencoder.posterior(class_ids)
        return self.autoencoder.posterior(mask_image(class_ids, colors))

    def encode_image(
        self, image: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Features | None]:
        """Encode images in [-1, 1], [B, 3, H, W].

        Args:
            image: the images.
            noise: standard normal [B or 1, C, h, w] with which the latent is drawn from its
                posterior; its mean without. Not read where there is a light image encoder.

        Returns:
            Image tokens [B, L, Y], and the light image encoder's features where there is one.
        """
        if self.image_encoder is not None:
            latent, features = self.image_encoder(image)  # [B, Y, H/16, W/16]
            return tokens_from_latent(latent, 1), features
        latent = self.color_autoencoder.encode(image, noise)  # [B, C, h, w]
        return tokens_from_latent(latent, self.config.patch_size), None

    def condition(
        self,
        image_tokens: Tensor,
        features: Features | None,
        mask_tokens: Tensor | None = None,
        mask: Tensor | None = None,
        grid: Grid | None = None,
    ) -> Tensor:
        """Return one condition vector per mask token, [B, L, D].

        Args:
            image_tokens: [B, L, Y].
            features: fine features of the light image encoder, where there is one.
            mask_tokens: as of `MaskedTransformer.forward`.
            mask: as of `MaskedTransformer.forward`.
            grid: as of `MaskedTransformer.forward`.
        """
        conditions: Tensor = self.transformer(
            image_tokens, mask_tokens, mask, grid, mask_half_only=True
        )  # [B, L, D]
        if self.fine_condition is not None and features is not None:
            conditions = conditions + self.fine_condition(image_tokens, features)  # [B, L, D]
        return conditions

    def decode_classes(self, latent: Tensor) -> Tensor:
        """Decode scaled mask latents [B, C, h, w] to class logits [B, K, H/2, W/2].

        Raises:
            CamsegError: the model has no mask decoder.
        """
        if self.mask_decoder is None:
            raise CamsegError(f"model {self.config.name!r} has no mask decoder")
        raw = latent / self.config.autoencoder.latent_scale  # [B, C, h, w]
        if isinstance(self.autoencoder, MaskAutoencoder):
            raw = self.autoencoder.nearest(raw)  # [B, C, h, w]
        logits: Tensor = self.mask_decoder(raw)  # [B, K, H/2, W/2]
        return logits


def mask_image(class_ids: Tensor, colors: Tensor) -> Tensor:
    """Colour masks int64 [B, H, W] by RGB colors [256, 3]: [B, 3, H, W] in [-1, 1]."""
    return colors[class_ids].permute(0, 3, 1, 2).float() / 127.5 - 1.0  # [B, 3, H, W]
