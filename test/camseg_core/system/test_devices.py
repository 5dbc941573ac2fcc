# SPDX-License-Identifier: Apache-2.0
"""Devices: their names, their errors and their memory."""

from __future__ import annotations

import os
import re

import pytest
import torch

from camseg_core.errors import CamsegError
from camseg_core.system.devices import (
    allocated_bytes,
    describe_device,
    describe_machine,
    find_device,
    free_memory,
    is_device_failure,
    is_out_of_memory,
    peak_memory_bytes,
    reset_peak_memory,
)


def test_a_machine_is_its_processor_cores_and_memory() -> None:
    match = re.fullmatch(r"(.+), (\d+) cores, (\d+) GiB", describe_machine())
    assert match is not None
    assert match[1].strip()
    assert int(match[2]) == len(os.sched_getaffinity(0))
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert abs(int(match[3]) - memory_bytes / 2**30) <= 0.5


def test_the_processor_is_a_device() -> None:
    assert describe_device(torch.device("cpu")) == "cpu"


def cpu_allocation_error() -> RuntimeError:
    """The error torch itself raises for an allocation that no machine can serve."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "memory"),
        (cpu_allocation_error(), "memory"),
        (torch.AcceleratorError("an illegal memory access was encountered"), "device"),
        (RuntimeError("CUDA error: device-side assert triggered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (RuntimeError("CUBLAS_STATUS_INTERNAL_ERROR when calling cublasCreate"), "device"),
        (RuntimeError("shapes differ"), "program"),
        (ValueError("CUDA"), "program"),
    ],
)
def test_errors_are_of_the_memory_or_the_device_or_the_program(
    error: BaseException, kind: str
) -> None:
    assert is_out_of_memory(error) == (kind == "memory")
    assert is_device_failure(error) == (kind == "device")


def test_the_cpu_frees_quietly_and_counts_nothing() -> None:
    free_memory(torch.device("cpu"))
    assert allocated_bytes(torch.device("cpu")) is None


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "mps"])
def test_an_unknown_device_is_named(name: str) -> None:
    with pytest.raises(
        CamsegError, match=f"^unknown device '{re.escape(name)}'; cpu, cuda or cuda:N is possible$"
    ):
        find_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:200"])
def test_cuda_where_there_is_none_is_refused(name: str) -> None:
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(CamsegError, match=f"device '{name}'") as caught:
        find_device(name)
    assert "\n" not in str(caught.value)


def test_the_peak_of_memory_is_that_since_it_was_reset() -> None:
    cpu, size = torch.device("cpu"), 2**28
    del_me = torch.ones(size, dtype=torch.uint8)
    high = peak_memory_bytes(cpu)
    del del_me
    reset_peak_memory(cpu)
    low = peak_memory_bytes(cpu)
    assert high is not None
    assert low is not None
    assert high - low > 0.9 * size
