# SPDX-License-Identifier: Apache-2.0
"""Sizes of the model's parts. Plain data: importing it imports no network."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal, get_args, get_origin, get_type_hints

from camseg_core.errors import CamsegError, shown

Bottleneck = Literal["kl", "vq"]


class Sizes:
    """Sizes of a part: whole numbers of at least 1, tuples of them, and numbers above 0.

    Attributes:
        own_rules: fields with rules of their own.
    """

    own_rules: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        for name, kind in get_type_hints(type(self)).items():
            if name in self.own_rules:
                continue
            if kind is int:
                require_counts(self, name)
            elif kind is float:
                require_positive(self, name)
            elif get_origin(kind) is tuple:
                _require_each(self, name, get_args(kind))


@dataclass(frozen=True)
class AutoencoderConfig(Sizes):
    """Size of the published autoencoder, of images and of masks as colours.

    Attributes:
        channels: channels at full resolution; a multiple of ``norm_groups``.
        channel_multipliers: channels per level, as multiples of ``channels``.
        num_res_blocks: residual blocks per level of the encoder; the decoder has one more.
        latent_channels: channels of the latent.
        resolution: the side, in pixels, from which the levels' resolutions are counted. It is not
            the input's: it only decides, with ``attention_resolutions``, which levels attend.
        attention_resolutions: level resolutions with an attention block after each residual block.
        latent_scale: latents are multiplied by it for the transformer, divided before decoding.
        norm_groups: number of groups of the group norms; 32 in the published size.
    """

    own_rules: ClassVar = frozenset({"channels"})
    channels: int
    channel_multipliers: tuple[int, ...]
    num_res_blocks: int
    latent_channels: int
    resolution: int
    attention_resolutions: tuple[int, ...]
    latent_scale: float
    norm_groups: int = 32

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        super().__post_init__()
        groups = self.norm_groups
        if type(self.channels) is not int or self.channels < groups or self.channels % groups:
            raise CamsegError(
                f"autoencoder channels {self.channels}: a positive multiple of {groups} is needed "
                f"(group norm has {groups} groups)"
            )
        if not self.channel_multipliers:
            raise CamsegError("autoencoder channel_multipliers (): at least 1 is needed, per level")

    @property
    def stride(self) -> int:
        """Pixels per latent position, along each side."""
        return int(2 ** (len(self.channel_multipliers) - 1))

    def attends(self, level: int) -> bool:
        """Return whether level ``level`` (0 = full resolution) has attention blocks."""
        return self.resolution // 2**level in self.attention_resolutions


@dataclass(frozen=True)
class MaskAutoencoderConfig(Sizes):
    """Size of our own autoencoder of class masks; its decoder is the model's mask decoder.

    Attributes:
        widths: channels at a half, a quarter and an eighth of the resolution.
        depth: residual blocks at a quarter and at an eighth.
        latent_channels: channels of the latent, at an eighth of the resolution.
        latent_scale: what the encoder gives is multiplied by it, so that latents have a standard
            deviation of about 1.
        num_classes: classes of the label set; unlabeled pixels are one more.
        bottleneck: ``kl``, a Gaussian posterior, or ``vq``, vectors of a codebook.
        codebook_size: codes of a ``vq`` bottleneck; 0 with ``kl``.
    """

    own_rules: ClassVar = frozenset({"codebook_size"})
    widths: tuple[int, int, int]
    depth: int
    latent_channels: int
    latent_scale: float
    num_classes: int
    bottleneck: Bottleneck = "kl"
    codebook_size: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        super().__post_init__()
        if self.bottleneck not in get_args(Bottleneck):
            raise CamsegError(f"autoencoder bottleneck {self.bottleneck!r}: kl or vq is needed")
        least, most = (2, inf) if self.bottleneck == "vq" else (0, 0)
        if type(self.codebook_size) is not int or not least <= self.codebook_size <= most:
            raise CamsegError(
                f"autoencoder codebook_size {self.codebook_size!r} with a {self.bottleneck} "
                "bottleneck: vq needs a whole number of at least 2, kl has 0"
            )

    @property
    def moment_channels(self) -> int:
        """Channels that the encoder gives: mean and log-variance, or the vector to quantise."""
        return self.latent_channels * (2 if self.bottleneck == "kl" else 1)

    @property
    def stride(self) -> int:
        """Pixels per latent position, along each side."""
        return 8


@dataclass(frozen=True)
class TransformerConfig(Sizes):
    """Size of the masked transformer.

    Attributes:
        width: embedding width.
        encoder_depth: transformer blocks of the encoder.
        decoder_depth: transformer blocks of the decoder.
        num_heads: attention heads; no tensor of a checkpoint tells it.
        mlp_ratio: hidden width of a block's MLP over ``width``.
        image_token_channels: numbers per image token; those of a mask token where one encoder makes
            both.
        token_channels: numbers per mask token: latent channels x patch size squared.
        grid_height: tokens of one half (image or mask) along the height.
        grid_width: the same along the width.
        dropout: share dropped in attention, projection and MLP, in training.
    """

    own_rules: ClassVar = frozenset({"dropout"})
    width: int
    encoder_depth: int
    decoder_depth: int
    num_heads: int
    mlp_ratio: float
    image_token_channels: int
    token_channels: int
    grid_height: int
    grid_width: int
    dropout: float

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        super().__post_init__()
        if self.width % self.num_heads:
            raise CamsegError(
                f"transformer width {self.width} is not a multiple of its {self.num_heads} heads; "
                "state the right number of heads (--heads)"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise CamsegError(f"transformer dropout {self.dropout}: at least 0 and below 1")

    @property
    def num_tokens(self) -> int:
        """Tokens of one half, L = grid_height x grid_width."""
        return self.grid_height * self.grid_width


@dataclass(frozen=True)
class DenoiserConfig(Sizes):
    """Size of the per-token denoiser.

    Attributes:
        width: width of its residual blocks.
        depth: number of residual blocks.
        token_channels: numbers per token; the network gives twice as many.
        condition_channels: width of the transformer's condition vectors.
    """

    width: int
    depth: int
    token_channels: int
    condition_channels: int


@dataclass(frozen=True)
class ImageEncoderConfig(Sizes):
    """Size of the light image encoder.

    Attributes:
        widths: channels at a half, a quarter, an eighth and a sixteenth of the resolution; the last
            also at a thirty-second.
        depths: residual blocks at a quarter, an eighth, a sixteenth and a thirty-second.
        token_channels: numbers per image token.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    token_channels: int

    @property
    def stride(self) -> int:
        """Pixels per token, along each side."""
        return 16

    @property
    def feature_channels(self) -> tuple[int, int]:
        """Channels of the features at a quarter and at an eighth."""
        return self.widths[1], self.widths[2]


@dataclass(frozen=True)
class FineConditionConfig(Sizes):
    """Size of what adds the image's fine features to the conditions.

    Attributes:
        channels: channels that are kept of the features at a quarter and at an eighth of the
            resolution.
        hidden_width: width of the layer between all of them and the condition.
    """

    channels: tuple[int, int]
    hidden_width: int


@dataclass(frozen=True)
class MaskDecoderConfig(Sizes):
    """Size of the mask decoder.

    Attributes:
        widths: channels at an eighth and at a quarter of the resolution.
        depth: residual blocks at an eighth of the resolution.
        latent_channels: channels of the mask latent.
        latent_stride: pixels per latent position, 8 or 16.
        num_classes: classes of the label set.
    """

    widths: tuple[int, int]
    depth: int
    latent_channels: int
    latent_stride: int
    num_classes: int

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        super().__post_init__()
        if self.latent_stride not in {8, 16}:
            raise CamsegError(f"mask decoder latent_stride {self.latent_stride!r}: 8 or 16")


MOST_LAYERS = 1000
MOST_CHANNELS = 2**20


def require_counts(config: object, *names: str) -> None:
    """Refuse fields that are no whole numbers above 0, or too large for any model."""
    for name in names:
        value, most = getattr(config, name), _most(name)
        if type(value) is not int or not 1 <= value <= most:
            raise CamsegError(
                f"{type(config).__name__}.{name} is {shown(value)}; "
                f"a whole number from 1 to {most} is needed"
            )


def _most(name: str) -> int:
    """Return the largest value of a count: layers are built one by one."""
    return MOST_LAYERS if "depth" in name or "blocks" in name else MOST_CHANNELS


def require_positive(config: object, *names: str) -> None:
    """Refuse fields that are no finite numbers above 0."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < inf:
            raise CamsegError(
                f"{type(config).__name__}.{name} is {value!r}; a number above 0 is needed"
            )


def _require_each(config: object, name: str, kinds: tuple[object, ...]) -> None:
    """Refuse a field that is not as many whole numbers above 0 as there are ``kinds``."""
    values, is_open = getattr(config, name), Ellipsis in kinds
    if (
        not isinstance(values, tuple)
        or not all(type(value) is int and 1 <= value <= _most(name) for value in values)
        or not (is_open or len(values) == len(kinds))
        or len(values) > MOST_LAYERS
    ):
        count = "" if is_open else f"{len(kinds)} "
        raise CamsegError(
            f"{type(config).__name__}.{name} is {shown(values)}; {count}whole numbers from 1 to "
            f"{_most(name)} are needed"
        )
