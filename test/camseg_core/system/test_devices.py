# SPDX-License-Identifier: Apache-2.0
"""The words for the machine that figures come from."""

from __future__ import annotations

import os
import re

import torch

from camseg_core.system.devices import describe_device, describe_machine


def test_a_machine_is_its_processor_cores_and_memory() -> None:
    match = re.fullmatch(r"(.+), (\d+) cores, (\d+) GiB", describe_machine())
    assert match is not None
    assert match[1].strip()
    assert int(match[2]) == len(os.sched_getaffinity(0))
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert abs(int(match[3]) - memory_bytes / 2**30) <= 0.5


def test_the_processor_is_a_device() -> None:
    assert describe_device(torch.device("cpu")) == "cpu"
