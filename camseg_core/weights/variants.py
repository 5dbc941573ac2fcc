# SPDX-License-Identifier: Apache-2.0
"""Models with one thing changed: input size, classes or palette temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from camseg_core.data.class_merges import MergeFile
from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_core.models.configs import ModelConfig
from camseg_core.models.part_configs import MaskAutoencoderConfig, MaskDecoderConfig
from camseg_core.models.transformer import resize_positions
from camseg_core.weights.loading import LoadedModel, build_model, new_model

NEW_DECODER_WIDTHS = (192, 96)
"""Channels, at an eighth and a quarter, of a mask decoder for weights that have none."""


def with_palette_temperature(loaded: LoadedModel, temperature: float) -> LoadedModel:
    """Return the model with another temperature for confidence from palette colours.

    Raises:
        CamsegError: the temperature is not above 0.
    """
    config = replace(loaded.config, palette_temperature=temperature)
    return _rebuilt(loaded, config, loaded.model.state_dict())


def config_with_input_size(config: ModelConfig, height: int, width: int) -> ModelConfig:
    """Return a configuration for images of another size, in pixels.

    Raises:
        CamsegError: a side is no multiple of the stride.
    """
    grid = {"grid_height": height // config.stride, "grid_width": width // config.stride}
    return replace(
        config,
        input=replace(config.input, height=height, width=width),
        transformer=replace(config.transformer, **grid),
    )


def with_input_size(loaded: LoadedModel, height: int, width: int) -> LoadedModel:
    """Return the model for images of another size, with its position embeddings interpolated.

    Raises:
        CamsegError: see `config_with_input_size`.
    """
    config = config_with_input_size(loaded.config, height, width)
    old, new = loaded.config.transformer, config.transformer
    grids = (old.grid_height, old.grid_width), (new.grid_height, new.grid_width)
    tensors = {
        name: resize_positions(tensor, *grids)
        if name.startswith("transformer.") and name.endswith("pos_embed_learned")
        else tensor
        for name, tensor in loaded.model.state_dict().items()
    }
    return _rebuilt(loaded, config, tensors)


def with_mask_decoder(loaded: LoadedModel, seed: int = 0) -> LoadedModel:
    """Return the model with a new mask decoder, to be trained; as it is where it has one.

    It takes the place of the published palette decoder at a hundredth of its price.

    Raises:
        CamsegError: no mask decoder takes latents of that stride.
    """
    config = loaded.config
    if config.mask_decoder is not None:
        return loaded
    decoder = MaskDecoderConfig(
        widths=NEW_DECODER_WIDTHS,
        depth=2,
        latent_channels=config.autoencoder.latent_channels,
        latent_stride=config.autoencoder.stride,
        num_classes=loaded.label_set.num_classes,
    )
    config = replace(config, mask_decoder=decoder)
    new = new_model(config, loaded.label_set, loaded.source, seed).model.state_dict()
    return _rebuilt(loaded, config, new | loaded.model.state_dict())


def config_with_classes(config: ModelConfig, num_classes: int) -> ModelConfig:
    """Return a configuration for another number of classes.

    Raises:
        CamsegError: the model has no mask decoder.
    """
    if config.mask_decoder is None:
        raise CamsegError(
            f"model {config.name!r} has no mask decoder: its classes cannot be replaced"
        )
    autoencoder = config.autoencoder
    if isinstance(autoencoder, MaskAutoencoderConfig):
        autoencoder = replace(autoencoder, num_classes=num_classes)
    decoder = replace(config.mask_decoder, num_classes=num_classes)
    return replace(config, autoencoder=autoencoder, mask_decoder=decoder)


def with_label_set(
    loaded: LoadedModel, label_set: LabelSet, seed: int = 0, merge: MergeFile | None = None
) -> LoadedModel:
    """Return the model for other classes; the layers that touch classes are to be trained.

    They are the last one of the mask decoder and, where masks are encoded as classes, the first one
    of their encoder. What they have for a class is the mean of the old classes that it comes from,
    by ``merge`` or else by an equal name, and new where it comes from none. All else is kept, also
    a latent space of the old classes' colours.

    Raises:
        CamsegError: the model has no mask decoder, or the merge does not fit the classes.
    """
    config = config_with_classes(loaded.config, label_set.num_classes)
    if merge is None:
        same = [name for name in label_set.names if name in loaded.label_set.names]
        merge = MergeFile("equal names", {name: [name] for name in same})
    table = merge.between(loaded.label_set, label_set).table
    origins = [
        [old for old, target in enumerate(table) if target == class_id]
        for class_id in range(label_set.num_classes)
    ]
    old = loaded.model.state_dict()
    new = new_model(config, label_set, loaded.source, seed).model.state_dict()
    tensors = dict(old)
    for name in (one for one in new if one.startswith("mask_decoder.to_logits.")):
        fours = old[name].unflatten(0, (-1, 4)), new[name].unflatten(0, (-1, 4))  # [C, 4, ...]
        tensors[name] = _of_origins(*fours, origins).flatten(0, 1)
    if (name := "autoencoder.stem.conv.weight") in new:  # [C1, C + 1, 3, 3], unlabeled last
        planes = old[name].movedim(1, 0), new[name].movedim(1, 0)
        of_void = [loaded.label_set.num_classes]
        tensors[name] = _of_origins(*planes, [*origins, of_void]).movedim(0, 1).contiguous()
    return _rebuilt(replace(loaded, label_set=label_set), config, tensors)


def _of_origins(old: Tensor, new: Tensor, origins: Sequence[Sequence[int]]) -> Tensor:
    """Return for each class the mean of its origins' rows of ``old``; ``new``'s without any."""
    rows = [old[list(of)].mean(dim=0) if of else new[i] for i, of in enumerate(origins)]
    return torch.stack(rows)


def _rebuilt(
    loaded: LoadedModel, config: ModelConfig, tensors: Mapping[str, Tensor]
) -> LoadedModel:
    model = build_model(config, tensors, loaded.source)
    return replace(loaded, model=model, known_answer=None)
