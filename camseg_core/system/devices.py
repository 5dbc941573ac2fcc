# SPDX-License-Identifier: Apache-2.0
"""Devices by name, their errors, and the machine in words that can stand beside results."""

from __future__ import annotations

import gc
import os
import platform
import re
from contextlib import suppress
from pathlib import Path

import torch

from camseg_core.errors import CamsegError


def describe_machine() -> str:
    """Name processor, cores and memory, e.g. ``Intel(R) Xeon(R) Processor, 2 cores, 24 GiB``."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    return f"{_processor()}, {cores} cores, {round(memory_bytes / 2**30)} GiB"


def describe_device(device: torch.device) -> str:
    """Name a torch device: the card's name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not on Linux
        pass
    return platform.processor() or platform.machine()


_DEVICE_WORDS = ("CUDA", "cuDNN", "CUBLAS", "cuFFT", "NVRTC", "device-side assert")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the device or the host is short of memory."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def is_device_failure(error: BaseException) -> bool:
    """Return whether an error means that this process can no longer use the device.

    After most CUDA errors every later call fails too, so that only a new process helps.
    """
    return not is_out_of_memory(error) and (
        isinstance(error, torch.AcceleratorError)
        or (isinstance(error, RuntimeError) and any(word in str(error) for word in _DEVICE_WORDS))
    )


def free_memory(device: torch.device) -> None:
    """Give the memory of what is no longer used back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def allocated_bytes(device: torch.device) -> int | None:
    """Return the bytes that torch holds on a CUDA device, None on another one."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak that `peak_memory_bytes` tells."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not on Linux
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return the most memory that was held since `reset_peak_memory`.

    On a CUDA device torch's share of it, else all of this process; None where nothing tells.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):  # not on Linux
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return None


def computes_bfloat16(device: str) -> bool:
    """Return whether a device has arithmetic of its own for bfloat16: else it is slow."""
    if device != "cpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:  # not on Linux
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(words)


def find_device(name: str) -> torch.device:
    """Return the torch device called ``name``.

    Raises:
        CamsegError: the name is unknown, or this machine has no such device.
    """
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", name)
    if match is None:
        raise CamsegError(f"unknown device {name!r}; cpu, cuda or cuda:N is possible")
    if name != "cpu":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(match[1] or 0) >= count:
            raise CamsegError(
                f"device {name!r} was asked for, but torch sees {count} CUDA devices here; "
                "use --device cpu, or install a CUDA build of torch and its driver"
            )
    return torch.device(name)
