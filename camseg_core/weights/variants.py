# SPDX-License-Identifier: Apache-2.0
"""Models with one thing changed: input size, classes, mask decoder or palette temperature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_core.models.configs import ModelConfig
from camseg_core.models.transformer import resize_positions
from camseg_core.weights.loading import LoadedModel, build_model, new_model


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


def with_label_set(loaded: LoadedModel, label_set: LabelSet, seed: int = 0) -> LoadedModel:
    """Return the model for other classes, with a new last layer of its mask decoder to be trained.

    All else is kept, even the latent space, which was trained on the colours of the old classes.

    Raises:
        CamsegError: the model has no mask decoder.
    """
    if loaded.config.mask_decoder is None:
        raise CamsegError(
            f"model {loaded.config.name!r} has no mask decoder: its classes cannot be replaced"
        )
    decoder = replace(loaded.config.mask_decoder, num_classes=label_set.num_classes)
    config = replace(loaded.config, mask_decoder=decoder)
    return _renewed(replace(loaded, label_set=label_set), config, "mask_decoder.to_logits.", seed)


def with_image_features(loaded: LoadedModel, read: bool, seed: int = 0) -> LoadedModel:
    """Return the model with a mask decoder that reads image features, or does not.

    Where that is a change, the decoder is a new, untrained one.

    Raises:
        CamsegError: the model has no mask decoder, or no image encoder to read features of.
    """
    config = config_with_image_features(loaded.config, read)
    if config == loaded.config:
        return loaded
    return _renewed(loaded, config, "mask_decoder.", seed)


def config_with_image_features(config: ModelConfig, read: bool) -> ModelConfig:
    """Return a configuration whose mask decoder reads image features, or does not.

    Raises:
        CamsegError: there is no mask decoder, or no image encoder to read features of.
    """
    if config.mask_decoder is None or config.image_encoder is None:
        raise CamsegError(
            f"model {config.name!r} has no mask decoder beside a light image encoder: whether it "
            "reads image features cannot be chosen"
        )
    channels = config.image_encoder.feature_channels if read else ()
    return replace(config, mask_decoder=replace(config.mask_decoder, feature_channels=channels))


def _renewed(loaded: LoadedModel, config: ModelConfig, prefix: str, seed: int) -> LoadedModel:
    """Build a model around the tensors of another; those named ``prefix...`` are new."""
    old = loaded.model.state_dict()
    new = new_model(config, loaded.label_set, loaded.source, seed).model.state_dict()
    tensors = {name: (new if name.startswith(prefix) else old)[name] for name in new}
    return _rebuilt(loaded, config, tensors)


def _rebuilt(
    loaded: LoadedModel, config: ModelConfig, tensors: Mapping[str, Tensor]
) -> LoadedModel:
    return replace(loaded, model=build_model(config, tensors, loaded.source))
