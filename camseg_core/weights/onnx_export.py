# SPDX-License-Identifier: Apache-2.0
"""Export of a model as ONNX graphs, one for each part that runs by itself.

A folder with the weights file itself and three graphs: ``condition.onnx`` (image to conditions),
``denoiser.onnx`` (one step) and ``decoder.onnx`` (mask tokens to class logits or colours). The
batch is free, all other sizes are fixed. The metadata of each graph says what it was made of.

Shapes: B = batch; H', W' = the model input's size; L = tokens of one half; Z = channels of a mask
token; D = condition width; C = classes.
"""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from camseg_core.diffusion.options import profiles_to_dict
from camseg_core.errors import CamsegError
from camseg_core.models.camseg import CamSeg
from camseg_core.models.transformer import Grid, latent_from_tokens
from camseg_core.system.files import new_folder, sha256_of_file
from camseg_core.weights.inference import inference_networks
from camseg_core.weights.loading import LoadedModel, save_model

OPSET = 20
WEIGHTS_FILE = "model.safetensors"
METADATA_KEY = "camseg"
OUTPUT = "output"


@dataclass(frozen=True)
class GraphDescription:
    """What a graph's metadata says.

    Attributes:
        part: condition, denoiser or decoder.
        weights_sha256: of the weights file beside it.
        input_height, input_width: size of the model's input, in pixels.
        opset: version of the operators.
        mean, deviation: of RGB in 0..255; the graph takes (image - mean) / deviation.
        classes: names of the classes.
        profiles: how to sample, by profile name.
    """

    part: str
    weights_sha256: str
    input_height: int
    input_width: int
    opset: int
    mean: float
    deviation: float
    classes: list[str]
    profiles: dict[str, dict[str, Any]]


class _Condition(nn.Module):
    """Images in [-1, 1], [B, 3, H', W'], to one condition for each mask token, [B, L, D]."""

    def __init__(self, networks: CamSeg, grid: Grid) -> None:
        super().__init__()
        self.networks, self.grid = networks, grid

    def forward(self, image: Tensor) -> Tensor:
        tokens, features = self.networks.encode_image(image)  # [B, L, Y]
        return self.networks.condition(tokens, features, grid=self.grid)  # [B, L, D]


class _Decoder(nn.Module):
    """Mask tokens [B, L, Z] to class logits [B, C, H'/2, W'/2] or colours [B, 3, H', W']."""

    def __init__(self, networks: CamSeg, grid: Grid) -> None:
        super().__init__()
        self.networks, self.grid = networks, grid

    def forward(self, tokens: Tensor) -> Tensor:
        networks = self.networks
        latent = latent_from_tokens(tokens, self.grid, networks.config.patch_size)
        if networks.mask_decoder is not None:
            return networks.decode_classes(latent)  # [B, C, H'/2, W'/2]
        return networks.color_autoencoder.decode(latent)  # [B, 3, H', W']


def export_onnx(loaded: LoadedModel, folder: Path, size: tuple[int, int] | None = None) -> None:
    """Write the weights and their graphs into a folder, which ``--weights`` takes.

    Args:
        loaded: the model.
        folder: the folder, absent or empty.
        size: height and width of the model's input in pixels; the weights' own without.

    Raises:
        CamsegError: the exporter is not installed, the size is no multiple of the stride, or the
            folder is not empty.
    """
    if find_spec("onnxscript") is None:
        raise CamsegError("the ONNX exporter is missing: pip install -r requirements/onnx.txt")
    config = loaded.config
    height, width = size or (config.input.height, config.input.width)
    if height % config.stride or width % config.stride:
        raise CamsegError(f"size {width}x{height}: multiples of {config.stride} are needed")
    with new_folder(folder) as unfinished:
        _write_graphs(loaded, unfinished, (height, width))


def _write_graphs(loaded: LoadedModel, folder: Path, size: tuple[int, int]) -> None:
    """Write the weights and the graphs for a size (height, width) into an empty folder."""
    config, (height, width) = loaded.config, size
    grid = height // config.stride, width // config.stride
    save_model(loaded, folder / WEIGHTS_FILE, answer_size=size)  # the only one of the graphs
    weights_sha256 = sha256_of_file(folder / WEIGHTS_FILE)
    networks, batch = inference_networks(loaded.model, "float32"), Dim("batch")
    tokens = torch.zeros(2, grid[0] * grid[1], config.transformer.token_channels)  # [B, L, Z]
    conditions = torch.zeros(*tokens.shape[:2], config.transformer.width)  # [B, L, D]
    image = torch.zeros(2, 3, height, width)
    first = torch.tensor([config.diffusion.first_timestep])
    parts: tuple[tuple[str, nn.Module, dict[str, Tensor]], ...] = (
        ("condition", _Condition(networks, grid), {"image": image}),
        (
            "denoiser",
            networks.denoiser,
            {"x": tokens, "timestep": first, "condition": conditions},
        ),
        ("decoder", _Decoder(networks, grid), {"tokens": tokens}),
    )
    for part, module, inputs in parts:
        description = GraphDescription(
            part=part,
            weights_sha256=weights_sha256,
            input_height=height,
            input_width=width,
            opset=OPSET,
            mean=127.5,
            deviation=127.5,
            classes=list(loaded.label_set.names),
            profiles=profiles_to_dict(loaded.profiles),
        )
        dynamic = {name: {0: batch} if len(t.shape) > 1 else {} for name, t in inputs.items()}
        # The exporter prints its progress, and warns of what does not concern these graphs.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                kwargs=inputs,
                dynamo=True,
                opset_version=OPSET,
                output_names=[OUTPUT],
                dynamic_shapes=dynamic,
                verbose=False,
            )
        if program is None:
            raise CamsegError(f"the exporter made no graph of {part}")
        program.model.metadata_props[METADATA_KEY] = json.dumps(asdict(description))
        # The exporter puts weights of more than 1.5 GB into a file beside the graph.
        program.save(folder / f"{part}.onnx")
