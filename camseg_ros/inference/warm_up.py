# SPDX-License-Identifier: Apache-2.0
"""The warm-up of a model, and how long later batches may take by what it measured; no rclpy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.segmenter import Segmenter

LEAST_LIMIT_NS = 10 * 10**9
WARM_UPS_PER_LIMIT = 10
LEAST_COLD_LIMIT_NS = 60 * 10**9
"""A device that is used for the first time loads and tunes its kernels."""


class InferenceLimit(NamedTuple):
    """How long a batch may take before inference counts as hanging.

    Attributes:
        given_ns: Limit of every batch, as a parameter states it; 0 goes by the warm-up.
        slowest_ns: Time of the slowest batch of the warm-up.
        evaluations: Most evaluations of the denoiser for an image in the warm-up.
        pixels: Number of pixels of the warm-up's image.
    """

    given_ns: int = 0
    slowest_ns: int = 0
    evaluations: int = 1
    pixels: int = 1

    def for_batch_ns(self, options: SamplingOptions, pixels: int) -> int:
        """Return the limit of a batch whose largest image has so many pixels.

        More work than the warm-up had, by other parameters or larger images, may take longer in
        proportion; less of it has the warm-up's limit.
        """
        if self.given_ns:
            return self.given_ns
        more = max(1.0, denoiser_evaluations(options) / self.evaluations)
        larger = max(1.0, pixels / self.pixels)
        return max(LEAST_LIMIT_NS, round(WARM_UPS_PER_LIMIT * self.slowest_ns * more * larger))

    @property
    def cold_ns(self) -> int:
        """The limit of a batch of the warm-up itself; 0 is none."""
        return max(LEAST_COLD_LIMIT_NS, WARM_UPS_PER_LIMIT * self.given_ns) if self.given_ns else 0


def denoiser_evaluations(options: SamplingOptions) -> int:
    """Count how often the denoiser runs for an image."""
    return options.steps * options.samples * options.rounds


def warm_up(
    segmenter: Segmenter,
    image: NDArray[np.uint8],
    runs: Sequence[tuple[int, SamplingOptions]],
    limit: InferenceLimit,
    *,
    measured: Callable[[int, int, int, int], None],
    cancelled: Callable[[], bool],
    on_hang: Callable[[str], None],
) -> InferenceLimit:
    """Run batches of an image and return the limit of later batches.

    Args:
        segmenter: Segmenter to run.
        image: Image of which each batch consists, uint8 [H, W, 3].
        runs: Batch sizes with their options. The first run of each batch size is done twice, for
            the cold one tells nothing.
        limit: Limit with what was given for it.
        measured: Function that is told what each batch took, such as `StepController.record`.
        cancelled: Function that returns true if the process is to end.
        on_hang: Function that is called from another thread if a batch takes longer than
            ``limit.cold_ns``.

    Raises:
        SegmentationCancelled: ``cancelled`` was true.
    """
    slowest_ns, warm_sizes = 0, set()
    for batch_size, options in runs:
        for _ in range(1 if batch_size in warm_sizes else 2):
            started_ns = time.monotonic_ns()
            with hang_guard(limit.cold_ns, on_hang):
                results = segmenter.segment_batch([image] * batch_size, options, cancelled)
            total_ns = time.monotonic_ns() - started_ns
        warm_sizes.add(batch_size)
        slowest_ns = max(slowest_ns, total_ns)
        steps_ns = int(1e9 * results[0].stage_seconds["denoiser"])
        measured(batch_size, options.steps, total_ns - steps_ns, steps_ns)
    return limit._replace(
        slowest_ns=slowest_ns,
        evaluations=max(denoiser_evaluations(options) for _, options in runs),
        pixels=image.shape[0] * image.shape[1],
    )


@contextmanager
def hang_guard(limit_ns: int, on_hang: Callable[[str], None]) -> Iterator[None]:
    """Call ``on_hang`` with the reason, from another thread, if the block takes too long.

    A limit of 0 is none.
    """
    reason = f"inference hangs in the warm-up: a batch has taken more than {limit_ns / 1e9:.1f} s"
    timer = threading.Timer(limit_ns / 1e9, on_hang, [reason])
    timer.daemon = True
    if limit_ns:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if limit_ns:
            timer.join()
