# SPDX-License-Identifier: Apache-2.0
"""What figures were taken on, in words that can stand beside them."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch


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
