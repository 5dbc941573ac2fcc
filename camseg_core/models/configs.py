# SPDX-License-Identifier: Apache-2.0
"""Model configurations. Plain data: importing it imports no network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from camseg_core.errors import CamsegError
from camseg_core.models.part_configs import (
    AutoencoderConfig,
    DenoiserConfig,
    FineConditionConfig,
    ImageEncoderConfig,
    MaskAutoencoderConfig,
    MaskDecoderConfig,
    TransformerConfig,
    require_counts,
    require_positive,
)

Prediction = Literal["epsilon", "v"]
ResizePolicy = Literal["squash", "pad"]

TRAIN_TIMESTEPS = 1000


@dataclass(frozen=True)
class DiffusionConfig:
    """What the denoiser's output means, and where sampling starts.

    Attributes:
        prediction: ``epsilon`` (the published files) or ``v`` (Salimans and Ho 2022).
        first_timestep: the noisiest timestep that sampling visits, 0..999; one step runs there.
    """

    prediction: Prediction
    first_timestep: int

    def __post_init__(self) -> None:
        """Refuse values that no sampler knows."""
        if self.prediction not in get_args(Prediction):
            raise CamsegError(
                f"prediction {self.prediction!r}: one of {', '.join(get_args(Prediction))}"
            )
        first = self.first_timestep
        if type(first) is not int or not 0 <= first < TRAIN_TIMESTEPS:
            raise CamsegError(
                f"first_timestep {first!r}: from 0 to {TRAIN_TIMESTEPS - 1}, and a whole number"
            )


@dataclass(frozen=True)
class InputConfig:
    """How an image of any size becomes the model's input.

    Attributes:
        resize: ``squash`` resizes to height x width and ignores the aspect (published);
            ``pad`` keeps the aspect, fits the image inside height x width, and pads right and
            bottom to the stride.
        height: pixels.
        width: pixels.
    """

    resize: ResizePolicy
    height: int
    width: int

    def __post_init__(self) -> None:
        """Refuse unknown policies and empty images."""
        if self.resize not in get_args(ResizePolicy):
            raise CamsegError(
                f"resize policy {self.resize!r}: one of {', '.join(get_args(ResizePolicy))}"
            )
        require_counts(self, "height", "width")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to build a model and to feed it.

    Attributes:
        name: the preset, or where the sizes came from.
        autoencoder: the published one, of images and colours, or our own, of class masks.
        image_encoder: the light one; None where the autoencoder encodes images too (published).
        mask_decoder: latent to class logits; None where classes are read off the palette
            (published).
        fine_condition: adds the light encoder's fine features to the conditions; None where the
            transformer alone gives them (published).
        patch_size: latent positions per token, along each side.
        palette_temperature: divides the squared colour distances (colours in 0..1) in the softmax
            that gives palette decoding its confidence.
    """

    name: str
    autoencoder: AutoencoderConfig | MaskAutoencoderConfig
    transformer: TransformerConfig
    denoiser: DenoiserConfig
    diffusion: DiffusionConfig
    input: InputConfig
    patch_size: int
    palette_temperature: float
    image_encoder: ImageEncoderConfig | None = None
    mask_decoder: MaskDecoderConfig | None = None
    fine_condition: FineConditionConfig | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not fit together."""
        require_counts(self, "patch_size")
        require_positive(self, "palette_temperature")
        token_channels = self.autoencoder.latent_channels * self.patch_size**2
        if not token_channels == self.transformer.token_channels == self.denoiser.token_channels:
            raise CamsegError(
                f"token channels differ: the autoencoder's latent gives {token_channels}, "
                f"the transformer takes {self.transformer.token_channels}, "
                f"the denoiser {self.denoiser.token_channels}; these parts are not of one model"
            )
        self._check_image_tokens(token_channels)
        self._check_mask_decoder()
        if self.denoiser.condition_channels != self.transformer.width:
            raise CamsegError(
                f"the denoiser takes conditions of width {self.denoiser.condition_channels}, "
                f"the transformer gives {self.transformer.width}; "
                "these parts are not of one model"
            )
        grid = (self.transformer.grid_height, self.transformer.grid_width)
        if (self.input.height, self.input.width) != tuple(side * self.stride for side in grid):
            raise CamsegError(
                f"input size {self.input.height} x {self.input.width} does not match the token "
                f"grid {grid[0]} x {grid[1]} at stride {self.stride}"
            )

    def _check_image_tokens(self, token_channels: int) -> None:
        encoder = self.image_encoder
        given = token_channels if encoder is None else encoder.token_channels
        if given != self.transformer.image_token_channels:
            raise CamsegError(
                f"image tokens have {given} numbers, the transformer takes "
                f"{self.transformer.image_token_channels}; these parts are not of one model"
            )
        if encoder is not None and encoder.stride != self.stride:
            raise CamsegError(
                f"the image encoder's stride is {encoder.stride}, a mask token's {self.stride}; "
                "images and masks need one token grid"
            )
        if encoder is None and self.fine_condition is not None:
            raise CamsegError("fine_condition needs an image encoder, whose features it reads")

    def _check_mask_decoder(self) -> None:
        decoder, autoencoder = self.mask_decoder, self.autoencoder
        if isinstance(autoencoder, MaskAutoencoderConfig) and (
            decoder is None
            or self.image_encoder is None
            or decoder.num_classes != autoencoder.num_classes
        ):
            raise CamsegError(
                "an autoencoder of class masks needs an image encoder and a mask decoder of the "
                f"same {autoencoder.num_classes} classes"
            )
        if decoder is None:
            return
        latent = (autoencoder.latent_channels, autoencoder.stride)
        if latent != (decoder.latent_channels, decoder.latent_stride):
            raise CamsegError(
                f"the mask decoder takes {decoder.latent_channels} latent channels at stride "
                f"{decoder.latent_stride}, the autoencoder gives {latent[0]} at stride "
                f"{latent[1]}; these parts are not of one model"
            )

    @property
    def stride(self) -> int:
        """Pixels per token, along each side."""
        return self.autoencoder.stride * self.patch_size

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; `camseg_core.system.validation.parse` reads it back."""
        return asdict(self)
