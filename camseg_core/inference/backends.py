# SPDX-License-Identifier: Apache-2.0
"""Names of what can run the networks. Plain data: importing it imports no torch."""

from __future__ import annotations

from typing import Literal, get_args

Backend = Literal["torch", "onnx"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Providers of backend onnx -> ONNX Runtime's names of them."""
