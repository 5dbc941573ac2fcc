# SPDX-License-Identifier: Apache-2.0
"""segment_node with a model that fails on its third batch, or at start, as an environment says."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

import torch

from camseg_core.segmenter import SegmentationCancelled, Segmenter
from camseg_ros.node.segment_node import main

FAULT = os.environ["CAMSEG_TEST_FAULT"]
FAULTY_BATCH = 3
_segment_batch = Segmenter.segment_batch
_batches = iter(range(-1, 10**9))  # the first two are the warm-up's


def segment_batch(self: Segmenter, images: Sequence[Any], *arguments: Any) -> Any:
    batch = next(_batches)
    if FAULT == "device at start":
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    if FAULT == "memory at start":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if FAULT == "told to end at start":
        signal.raise_signal(signal.SIGTERM)
        _, cancelled = arguments
        if cancelled():
            raise SegmentationCancelled
    if batch == FAULTY_BATCH:
        if FAULT == "hang":
            threading.Event().wait()
        if FAULT == "device":
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        if FAULT == "program":
            raise RuntimeError("shapes differ")
    if FAULT == "memory" and batch == FAULTY_BATCH:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if FAULT == "memory twice" and batch in (FAULTY_BATCH, FAULTY_BATCH + 1):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return _segment_batch(self, images, *arguments)


Segmenter.segment_batch = segment_batch  # type: ignore[method-assign]  # the fault

if __name__ == "__main__":
    sys.exit(main())
