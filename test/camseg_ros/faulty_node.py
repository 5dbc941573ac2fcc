# SPDX-License-Identifier: Apache-2.0
"""segment_node with a model that fails as CAMSEG_TEST_FAULTS says: ``BATCH:FAULT``, ...

Batches count from 1, after the two of the warm-up, which are -1 and 0.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

import torch

from camseg_core.segmenter import Segmenter
from camseg_ros.node.segment_node import main

FAULTS = dict(fault.split(":") for fault in os.environ["CAMSEG_TEST_FAULTS"].split(", "))
_segment_batch = Segmenter.segment_batch
_batches = iter(range(-1, 10**9))


def segment_batch(self: Segmenter, images: Sequence[Any], *arguments: Any) -> Any:
    fault = FAULTS.get(str(next(_batches)))
    if fault == "interrupt":
        signal.raise_signal(signal.SIGINT)
    if fault in ("hang", "interrupt"):
        threading.Event().wait()
    if fault == "device":
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    if fault == "memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if fault == "program":
        raise RuntimeError("shapes differ")
    return _segment_batch(self, images, *arguments)


Segmenter.segment_batch = segment_batch  # type: ignore[method-assign]  # the fault

if __name__ == "__main__":
    sys.exit(main())
