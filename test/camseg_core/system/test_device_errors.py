# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from camseg_core.system.devices import (
    allocated_bytes,
    free_memory,
    is_device_failure,
    is_out_of_memory,
)


def cpu_allocation_error() -> RuntimeError:
    """The error torch itself raises for an allocation that no machine can serve."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")],
)
def test_short_memory_is_no_device_failure(error: BaseException) -> None:
    assert is_out_of_memory(error)
    assert not is_device_failure(error)


def test_torch_s_own_refusal_on_the_cpu_is_short_memory() -> None:
    error = cpu_allocation_error()
    assert is_out_of_memory(error)
    assert not is_device_failure(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("an illegal memory access was encountered"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUBLAS_STATUS_INTERNAL_ERROR when calling cublasCreate"),
    ],
)
def test_other_errors_of_the_device_are_its_failure(error: BaseException) -> None:
    assert is_device_failure(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("CUDA"), KeyError(1)])
def test_errors_of_the_program_are_neither(error: BaseException) -> None:
    assert not is_device_failure(error)
    assert not is_out_of_memory(error)


def test_the_cpu_frees_quietly_and_counts_nothing() -> None:
    free_memory(torch.device("cpu"))
    assert allocated_bytes(torch.device("cpu")) is None
