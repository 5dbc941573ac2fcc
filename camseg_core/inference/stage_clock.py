# SPDX-License-Identifier: Apache-2.0
"""How long each stage of a segmentation takes, and its early end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from camseg_core.segmentation import STAGES, InferenceStage


class SegmentationCancelled(Exception):  # noqa: N818  # nothing went wrong
    """The caller asked, through ``cancelled``, for the work to end early."""


def never() -> bool:
    """Return false: the work goes on to its end."""
    return False


class StageClock:
    """Seconds per stage: wall time on the steady clock, or on a CUDA device between events.

    Nothing waits for the device here: `seconds` may be read once the results are on the host.
    """

    def __init__(self, device: torch.device, cancelled: Callable[[], bool] = never) -> None:
        """Time work on ``device`` until ``cancelled`` is true."""
        self._device = device
        self._cancelled = cancelled
        self._host_seconds: dict[InferenceStage, float] = dict.fromkeys(STAGES, 0.0)
        self._events: list[tuple[InferenceStage, torch.Event, torch.Event]] = []

    def check(self) -> None:
        """Return if the work is to go on.

        Raises:
            SegmentationCancelled: the caller wants no result any more.
        """
        if self._cancelled():
            raise SegmentationCancelled

    @contextmanager
    def stage(self, name: InferenceStage, *, on_host: bool = False) -> Iterator[None]:
        """Time a stage, or a part of one that is computed by the host alone.

        Raises:
            SegmentationCancelled: the caller wants no result any more.
        """
        self.check()
        if self._device.type == "cuda" and not on_host:
            start, end = (torch.Event(self._device, enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._events.append((name, start, end))
        else:
            begin = time.perf_counter()
            yield
            self._host_seconds[name] += time.perf_counter() - begin

    @property
    def seconds(self) -> dict[InferenceStage, float]:
        """Seconds of each stage of `STAGES`."""
        seconds = dict(self._host_seconds)
        for name, start, end in self._events:
            seconds[name] += start.elapsed_time(end) / 1000
        return seconds
