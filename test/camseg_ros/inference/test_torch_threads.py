# SPDX-License-Identifier: Apache-2.0
"""Work gets torch's threads in a thread of its own; the caller keeps to one."""

from __future__ import annotations

import threading

import pytest
import torch

from camseg_core.errors import CamsegError
from camseg_ros.inference.torch_threads import (
    TORCH_CHOICE,
    leave_threads_to_inference,
    run_with_threads,
)


@pytest.mark.parametrize(("asked", "expected"), [(0, TORCH_CHOICE), (3, 3)])
def test_work_has_its_threads_and_leaves_the_callers_alone(asked: int, expected: int) -> None:
    before = torch.get_num_threads()
    leave_threads_to_inference()
    try:
        assert run_with_threads(asked, torch.get_num_threads) == expected
        assert torch.get_num_threads() == 1
        assert run_with_threads(1, threading.current_thread) not in threading.enumerate()
    finally:
        torch.set_num_threads(before)


def test_an_error_of_the_work_is_the_callers() -> None:
    def work() -> None:
        raise CamsegError("no such weights")

    with pytest.raises(CamsegError, match="^no such weights$"):
        run_with_threads(0, work)
