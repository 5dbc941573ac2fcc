# SPDX-License-Identifier: Apache-2.0
"""What an error of the device means: memory that may be freed, or a device that is lost."""

from __future__ import annotations

import gc

import torch

_CPU_ALLOCATOR = "DefaultCPUAllocator"
_DEVICE_WORDS = ("CUDA", "cuDNN", "CUBLAS", "cuFFT", "NVRTC", "device-side assert")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory is short, of the device or of the host."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _CPU_ALLOCATOR in str(error)


def is_device_failure(error: BaseException) -> bool:
    """Tell whether the device cannot be used any more by this process.

    After most CUDA errors every later call fails too, so that only a new process helps.
    """
    if is_out_of_memory(error):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(word in text for word in _DEVICE_WORDS)


def free_memory(device: torch.device) -> None:
    """Give back what is no longer used."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def allocated_bytes(device: torch.device) -> int | None:
    """Give the bytes that torch holds on a CUDA device, None on another one."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None
