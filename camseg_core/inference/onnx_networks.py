# SPDX-License-Identifier: Apache-2.0
"""The networks as ONNX graphs, run by ONNX Runtime; `camseg_core.weights.onnx_export` makes them.

Shapes: as in `camseg_core.inference.networks`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camseg_core.diffusion.options import DEFAULT_PROFILE, Precision
from camseg_core.diffusion.samplers import DenoiseStep
from camseg_core.errors import CamsegError
from camseg_core.inference.backends import PROVIDERS
from camseg_core.inference.networks import EncodedImages, Networks
from camseg_core.models.transformer import Grid
from camseg_core.system.validation import parse_json
from camseg_core.weights.loading import LoadedModel
from camseg_core.weights.onnx_export import METADATA_KEY, GraphDescription

ENGINE_FOLDER = "tensorrt"
"""Folder beside the graphs in which TensorRT keeps the engines that it has built."""


class OnnxNetworks(Networks):
    """Graphs of one input size, one round only.

    OpenVINO computes in the precision that is asked for, and compiles the graphs once for each;
    the other providers have a precision of their own: float32, or float16 with TensorRT.
    """

    reads_mask_tokens = False

    def __init__(self, loaded: LoadedModel, providers: Sequence[str] = ()) -> None:
        """Open the graphs beside the weights.

        Args:
            loaded: the weights, from a folder that `export_onnx` wrote.
            providers: names in `PROVIDERS`, the preferred one first; the CPU comes last anyway.

        Raises:
            CamsegError: ONNX Runtime or a provider is not installed, there are no graphs, or they
                were made of other weights.
        """
        super().__init__(loaded.model, torch.device("cpu"))
        self._source, self._folder = loaded.source, Path(loaded.source).parent
        self.device_name = f"onnx ({', '.join(providers) or 'cpu'})"
        self._provider_names = _check_providers(providers)
        self.has_exact_float32 = not {"cuda", "tensorrt"} & set(self._provider_names)
        self._weights_sha256 = loaded.weights_sha256
        self._opened: dict[tuple[str, Precision], Any] = {}
        wanted = loaded.profiles[DEFAULT_PROFILE].precision
        first, *_ = [self._open(name, wanted) for name in ("condition", "denoiser", "decoder")]
        self._input_size = first.input_height, first.input_width

    def encode(
        self, image: Tensor, precision: Precision, noise_tokens: Tensor | None = None
    ) -> EncodedImages:
        """See `Networks.encode`; the tokens are conditions already."""
        if noise_tokens is not None:
            raise CamsegError("ONNX graphs take the mean of the image's latent: no noise of it")
        size = image.shape[2], image.shape[3]
        if size != self._input_size:
            height, width = self._input_size
            raise CamsegError(
                f"the graphs take {width} x {height}, the image is {size[1]} x {size[0]} at the "
                f"model's input: camseg export --size {size[1]}x{size[0]} makes graphs for it"
            )
        stride = self.config.stride
        grid = size[0] // stride, size[1] // stride
        return EncodedImages(self._run("condition", precision, image=image), None, grid)

    def condition(
        self,
        encoded: EncodedImages,
        precision: Precision,
        mask_tokens: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """See `Networks.condition`."""
        del precision, mask_tokens, hidden
        return encoded.tokens

    def denoiser(self, condition: Tensor, precision: Precision) -> DenoiseStep:
        """See `Networks.denoiser`."""

        def denoise(x: Tensor, timestep: int) -> Tensor:
            here = self.denoiser_precision(precision, timestep)
            at = torch.tensor([timestep])
            return self._run("denoiser", here, x=x, timestep=at, condition=condition)

        return denoise

    def class_logits(self, tokens: Tensor, grid: Grid, precision: Precision) -> Tensor:
        """See `Networks.class_logits`."""
        del grid
        return self._run("decoder", precision, tokens=tokens)

    def colors(self, tokens: Tensor, grid: Grid, precision: Precision) -> Tensor:
        """See `Networks.colors`.

        Raises:
            CamsegError: the graph decodes with the mask decoder.
        """
        if self.config.mask_decoder is not None:
            raise CamsegError("ONNX graphs of weights with a mask decoder have no palette decoder")
        return self.class_logits(tokens, grid, precision)

    def _open(self, name: str, precision: Precision) -> GraphDescription:
        """Open a graph, keep it, and return what it says of itself.

        Raises:
            CamsegError: there is no such graph, or it was made of other weights.
        """
        path = self._folder / f"{name}.onnx"
        if not path.is_file():
            raise CamsegError(
                f"{self._source} has no {path.name} beside it; camseg export makes a folder with "
                "weights and graphs for backend onnx"
            )
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = [
            (PROVIDERS[provider], _provider_options(provider, self._folder, precision))
            for provider in self._provider_names
        ]
        try:
            graph = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's own kinds derive from Exception alone
            reason = str(error).partition("\n")[0]
            raise CamsegError(f"cannot open {path}: {reason}") from None
        text = graph.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")
        description = parse_json(GraphDescription, text, str(path))
        if description.weights_sha256 != self._weights_sha256:
            raise CamsegError(f"{path} was made of other weights")
        self._opened[name, precision] = graph
        return description

    def _run(self, name: str, precision: Precision, **inputs: Tensor) -> Tensor:
        """Run a graph on tensors of the CPU, float32 but for the timestep."""
        if (name, precision) not in self._opened:
            if "openvino" in self._provider_names:
                self._open(name, precision)
            else:  # these graphs are the same in any precision
                other = next(key for key in self._opened if key[0] == name)
                self._opened[name, precision] = self._opened[other]
        arrays = {
            key: np.ascontiguousarray(
                tensor.numpy() if key == "timestep" else tensor.float().numpy()
            )
            for key, tensor in inputs.items()
        }
        return torch.from_numpy(self._opened[name, precision].run(None, arrays)[0])


def _check_providers(names: Sequence[str]) -> list[str]:
    """Return the providers to use, in order: the CPU is always among them.

    Raises:
        CamsegError: ONNX Runtime is not installed, or a provider is unknown or not in it.
    """
    try:
        import onnxruntime
    except ImportError:
        raise CamsegError(
            "backend onnx needs ONNX Runtime: pip install -r requirements/onnx.txt"
        ) from None
    available = onnxruntime.get_available_providers()
    wanted = [*names, *([] if "cpu" in names else ["cpu"])]
    for name in wanted:
        if name not in PROVIDERS:
            raise CamsegError(f"unknown provider {name!r}; one of {', '.join(PROVIDERS)}")
        if PROVIDERS[name] not in available:
            here = [one for one, whole in PROVIDERS.items() if whole in available]
            raise CamsegError(
                f"this ONNX Runtime has no provider {name!r}; it has {', '.join(here)}"
            )
    return wanted


def _provider_options(provider: str, folder: Path, precision: Precision) -> dict[str, Any]:
    """Return ONNX Runtime's options for a provider."""
    if provider == "tensorrt":
        return {
            "trt_fp16_enable": True,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder / ENGINE_FOLDER),
        }
    if provider == "openvino":
        properties = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
            "PERFORMANCE_HINT": "LATENCY",
        }
        return {"device_type": "CPU", "load_config": json.dumps({"CPU": properties})}
    return {}
