# SPDX-License-Identifier: Apache-2.0
"""The thread that takes the frames that wait, converts, infers and hands over; no rclpy."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from sensor_msgs.msg import CompressedImage

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import in_one_line
from camseg_core.images.arrays import UInt8
from camseg_core.images.limits import MAX_IMAGE_MEGAPIXELS
from camseg_core.segmentation import NETWORK_STAGES, Segmentation
from camseg_core.segmenter import SegmentationCancelled, Segmenter
from camseg_core.system.devices import free_memory, is_device_failure, is_out_of_memory
from camseg_ros.inference.frame_queue import FrameQueue, Outcome, QueuedFrame
from camseg_ros.inference.torch_threads import use_threads
from camseg_ros.messages.images import BadFrameError, rgb_from_compressed, rgb_from_image


class FrameHandler(Protocol):
    """What the worker asks and tells."""

    def options_for(self, batch_size: int, pixels: int) -> SamplingOptions:
        """Return how to sample the next batch; its largest image has so many pixels."""

    def publish(self, frame: QueuedFrame, image: UInt8, segmentation: Segmentation) -> Outcome:
        """Publish what was found in a frame, RGB uint8 [H, W, 3]; return what became of it."""

    def refused(self, frame: QueuedFrame, reason: str) -> None:
        """Take note that a frame cannot be segmented, and why."""

    def memory_was_short(self, reason: str) -> None:
        """Take note that memory was short; the batch is tried once more."""

    def device_failed(self, reason: str) -> None:
        """Take note that the device is lost; the worker has ended."""

    def measured(
        self, batch_size: int, steps: int, latency_ns: int, stages_ns: dict[str, list[int]]
    ) -> None:
        """Take note of what a batch took, whatever became of its frames.

        Args:
            batch_size: Number of its frames.
            steps: Number of diffusion steps.
            latency_ns: Time from the entry of its first frame to its publication.
            stages_ns: Durations by stage: wait, from each frame's entry until it was taken; of the
                whole batch convert, the segmenter's stages, publish; processing, from when its
                first frame was taken to its publication; and overhead, that without the networks.
        """


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker serves.

    Attributes:
        max_batch_size: most frames of a batch; 0 for no limit.
        torch_threads: threads of one operation on the CPU; 0 is torch's own choice.
        max_image_megapixels: size of the largest image that is read, in millions of pixels.
    """

    max_batch_size: int = 0
    torch_threads: int = 0
    max_image_megapixels: float = MAX_IMAGE_MEGAPIXELS


class InferenceWorker:
    """One thread that serves a queue until it ends."""

    def __init__(
        self,
        segmenter: Segmenter,
        queue: FrameQueue,
        handler: FrameHandler,
        settings: WorkerSettings,
    ) -> None:
        """Serve a queue.

        Args:
            segmenter: what infers.
            queue: where the frames wait.
            handler: who is asked and told.
            settings: how to serve.
        """
        self.segmenter = segmenter
        self._queue = queue
        self._handler = handler
        self._settings = settings
        self._busy_since_ns: int | None = None
        self._pending: dict[str, QueuedFrame] = {}  # frames of the batch that are not finished
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def join(self, limit_s: float) -> bool:
        """Wait for the end, which follows the queue's; return false if it did not come in time."""
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(limit_s)
        return not self._thread.is_alive()

    def busy_ns(self, now_ns: int) -> int:
        """Return how long the batch in progress has taken so far; 0 without one."""
        since_ns = self._busy_since_ns
        return 0 if since_ns is None else now_ns - since_ns

    def _work(self) -> None:
        use_threads(self._settings.torch_threads)
        while frames := self._queue.take_batch(self._settings.max_batch_size or None):
            self._busy_since_ns = time.monotonic_ns()
            self._pending = {frame.camera: frame for frame in frames}
            try:
                with self._costs_only(frames):
                    self._serve(frames)
            except SegmentationCancelled:
                pass
            except Exception as error:  # the device is lost, or it would have cost frames only
                self._handler.device_failed(in_one_line(error))
                return
            finally:
                for frame in list(self._pending.values()):
                    self._finish(frame, "dropped")
                self._busy_since_ns = None

    @contextmanager
    def _costs_only(self, frames: Sequence[QueuedFrame]) -> Iterator[None]:
        """Let an error within cost these frames alone; a lost device or a cancellation goes on."""
        try:
            yield
        except SegmentationCancelled:
            raise
        except Exception as error:  # of one camera's driver, encoding or size, or of the program
            if is_device_failure(error):
                raise
            reason = str(error) if isinstance(error, BadFrameError) else in_one_line(error)
            for frame in frames:
                if frame.camera in self._pending:
                    self._handler.refused(frame, reason)
                    self._finish(frame, "refused")

    def _finish(self, frame: QueuedFrame, outcome: Outcome) -> None:
        del self._pending[frame.camera]
        self._queue.finish(frame.camera, outcome)

    def _serve(self, frames: Sequence[QueuedFrame]) -> None:
        """Convert frames and infer those of one model input size together."""
        taken_ns = time.monotonic_ns()
        groups: dict[tuple[int, int], list[tuple[QueuedFrame, UInt8]]] = {}
        for frame in frames:
            with self._costs_only([frame]):
                is_compressed = isinstance(frame.message, CompressedImage)
                to_rgb = rgb_from_compressed if is_compressed else rgb_from_image
                image = to_rgb(frame.message, self._settings.max_image_megapixels)
                groups.setdefault(self.segmenter.input_size(image), []).append((frame, image))
        convert_ns = time.monotonic_ns() - taken_ns
        for group in groups.values():
            with self._costs_only([frame for frame, _ in group]):
                self._serve_group(group, taken_ns, convert_ns)

    def _serve_group(
        self, group: list[tuple[QueuedFrame, UInt8]], taken_ns: int, convert_ns: int
    ) -> None:
        """Infer and publish one batch, and tell its times.

        They count also where frames came too late to go out: that is what has to be learned.
        """
        images = [image for _, image in group]
        # Each batch has its own time limit: the clock is set back before the limit changes.
        self._busy_since_ns = time.monotonic_ns()
        pixels = max(image.shape[0] * image.shape[1] for image in images)
        options = self._handler.options_for(len(group), pixels)
        results = self._segment(images, options)
        inferred_ns = time.monotonic_ns()
        for (frame, image), result in zip(group, results, strict=True):
            with self._costs_only([frame]):
                self._finish(frame, self._handler.publish(frame, image, result))
        now_ns = time.monotonic_ns()
        stages_ns = {name: [int(1e9 * spent)] for name, spent in results[0].stage_seconds.items()}
        networks_ns = sum(stages_ns[name][0] for name in NETWORK_STAGES)
        entered_ns = [frame.received_ns for frame, _ in group]
        self._handler.measured(
            len(group),
            options.steps,
            now_ns - min(entered_ns),
            {
                "wait": [taken_ns - time_ns for time_ns in entered_ns],
                "convert": [convert_ns],
                **stages_ns,
                "publish": [now_ns - inferred_ns],
                "processing": [now_ns - taken_ns],
                "overhead": [now_ns - taken_ns - networks_ns],
            },
        )

    def _segment(self, images: list[UInt8], options: SamplingOptions) -> list[Segmentation]:
        """Segment; where memory is short, free what can be freed and try once more."""
        try:
            return self.segmenter.segment_batch(images, options, self._is_cancelled)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        # Out of the handler: the traceback would keep the tensors of the failed attempt.
        self._handler.memory_was_short(reason)
        free_memory(self.segmenter.device)
        return self.segmenter.segment_batch(images, options, self._is_cancelled)

    def _is_cancelled(self) -> bool:
        """Return whether to stop: deactivation and Ctrl-C should not wait for a large model."""
        return not self._queue.may_publish
