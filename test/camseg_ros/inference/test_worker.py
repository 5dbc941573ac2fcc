# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from camseg_core.segmentation import NETWORK_STAGES
from camseg_core.segmenter import SamplingOptions, SegmentationCancelled, Segmenter
from camseg_core.weights.loading import random_model
from camseg_ros.inference import worker as inference
from camseg_ros.inference.frame_queue import FrameCounts, FrameQueue, Outcome, QueuedFrame
from camseg_ros.inference.worker import InferenceWorker, WorkerSettings
from camseg_ros.messages.images import image_message

LIMIT_S = 30.0
ONE_STEP = SamplingOptions(steps=1, initial_noise_scale=0.0)


class Handler:
    """Remembers what the worker tells."""

    def __init__(self) -> None:
        self.published: list[tuple[str, tuple[int, int]]] = []
        self.refusals: list[tuple[str, str]] = []
        self.shortages: list[str] = []
        self.failures: list[str] = []
        self.reports: list[tuple[int, int, int, dict[str, list[int]]]] = []
        self.batch_sizes: list[int] = []
        self.pixels: list[int] = []
        self.outcome: Outcome = "out"
        self.publish_errors: dict[str, Exception] = {}

    def options_for(self, batch_size: int, pixels: int) -> SamplingOptions:
        self.batch_sizes.append(batch_size)
        self.pixels.append(pixels)
        return ONE_STEP

    def publish(self, frame: QueuedFrame, image: Any, segmentation: Any) -> Outcome:
        if frame.camera in self.publish_errors:
            raise self.publish_errors[frame.camera]
        self.published.append((frame.camera, segmentation.class_ids.shape))
        return self.outcome

    def refused(self, frame: QueuedFrame, reason: str) -> None:
        self.refusals.append((frame.camera, reason))

    def memory_was_short(self, reason: str) -> None:
        self.shortages.append(reason)

    def device_failed(self, reason: str) -> None:
        self.failures.append(reason)

    def measured(self, *report: Any) -> None:
        self.reports.append(report)


def frame(camera: str, height: int = 24, width: int = 40) -> QueuedFrame:
    image = np.full((height, width, 3), 90, np.uint8)
    return QueuedFrame(camera, 1, received_ns=0, message=image_message(image, "rgb8", Header()))


def serve(
    *frames: QueuedFrame,
    segmenter: Any = None,
    handler: Handler | None = None,
    max_batch_size: int = 0,
) -> tuple[Handler, dict[str, FrameCounts]]:
    """Let a worker serve frames that all wait when it begins, and end it."""
    queue = FrameQueue([item.camera for item in frames])
    queue.open()
    for item in frames:
        queue.put(item)
    handler = handler or Handler()
    worker = InferenceWorker(
        segmenter or Segmenter(random_model("tiny")), queue, handler, WorkerSettings(max_batch_size)
    )
    worker.start()
    deadline = time.monotonic() + LIMIT_S
    while (total := queue.total()).in_progress or (total.waiting and not handler.failures):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    counts = queue.counts()
    queue.end()
    assert worker.join(LIMIT_S)
    assert worker.busy_ns(10**18) == 0
    return handler, counts


def failing(errors: list[Exception]) -> Any:
    """Return a segmenter that raises these errors one after another, and then works."""
    segmenter = Segmenter(random_model("tiny"))

    def segment_batch(
        images: list[Any], options: SamplingOptions, cancelled: Callable[[], bool]
    ) -> Any:
        if errors:
            raise errors.pop(0)
        return segmenter.segment_batch(images, options, cancelled)

    return SimpleNamespace(
        input_size=segmenter.input_size, segment_batch=segment_batch, device=segmenter.device
    )


def test_frames_of_one_input_size_are_one_batch() -> None:
    # 24 x 40 and 12 x 20 fit the model's input alike; 32 x 32 does not.
    handler, counts = serve(frame("a"), frame("b", 32, 32), frame("c", 12, 20))
    assert handler.batch_sizes == [2, 1]
    assert handler.pixels == [24 * 40, 32 * 32]  # of the largest image
    assert handler.published == [("a", (24, 40)), ("c", (12, 20)), ("b", (32, 32))]
    assert counts["a"] == FrameCounts(received=1, out=1)
    (size, steps, latency_ns, stages_ns), (second_size, *_) = handler.reports
    assert (size, second_size, steps) == (2, 1, 1)
    assert latency_ns > stages_ns["denoiser"][0] > 0
    assert len(stages_ns["wait"]) == 2
    assert stages_ns["processing"] >= stages_ns["publish"] > [0]
    networks_ns = sum(stages_ns[name][0] for name in NETWORK_STAGES)
    assert stages_ns["overhead"] == [stages_ns["processing"][0] - networks_ns]


def test_a_batch_has_a_largest_size() -> None:
    handler, _ = serve(frame("a"), frame("b"), frame("c"), max_batch_size=2)
    assert handler.batch_sizes == [2, 1]


def test_a_bad_frame_is_refused_and_the_others_go_on() -> None:
    bad = QueuedFrame("b", 1, 0, Image(height=2, width=4, step=3, encoding="rgb8", data=bytes(6)))
    handler, counts = serve(frame("a"), bad, frame("c"))
    assert [camera for camera, _ in handler.refusals] == ["b"]
    assert "image step 3" in handler.refusals[0][1]
    assert counts["b"] == FrameCounts(received=1, refused=1)
    assert handler.batch_sizes == [2]


def test_an_error_of_the_program_costs_the_batch_alone() -> None:
    handler, counts = serve(
        frame("a"), frame("b"), segmenter=failing([KeyError("x")]), max_batch_size=1
    )
    assert handler.refusals == [("a", "KeyError: 'x'")]
    assert counts["b"] == FrameCounts(received=1, out=1)
    assert handler.failures == handler.shortages == []


def test_an_error_with_one_input_size_costs_no_frame_of_another() -> None:
    handler, counts = serve(
        frame("a"), frame("b", 32, 32), frame("c"), segmenter=failing([RuntimeError("odd\nsize")])
    )
    assert handler.refusals == [("a", "RuntimeError: odd size"), ("c", "RuntimeError: odd size")]
    assert handler.published == [("b", (32, 32))]
    assert counts["b"] == FrameCounts(received=1, out=1)
    assert len(handler.reports) == 1


def test_an_error_in_publishing_one_camera_s_frame_costs_no_other_s() -> None:
    handler = Handler()
    handler.publish_errors["a"] = ValueError("bad calibration")
    handler, counts = serve(frame("a"), frame("b"), handler=handler)
    assert handler.batch_sizes == [2]
    assert handler.refusals == [("a", "ValueError: bad calibration")]
    assert counts["a"] == FrameCounts(received=1, refused=1)
    assert counts["b"] == FrameCounts(received=1, out=1)
    assert len(handler.reports) == 1


def test_an_error_in_converting_one_frame_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    real = inference.rgb_from_image

    def convert(message: Image, max_megapixels: float) -> Any:
        if message.height == 12:
            raise RuntimeError("no such conversion")
        return real(message, max_megapixels)

    monkeypatch.setattr(inference, "rgb_from_image", convert)
    handler, counts = serve(frame("a", 12, 20), frame("b"))
    assert handler.refusals == [("a", "RuntimeError: no such conversion")]
    assert counts["b"] == FrameCounts(received=1, out=1)


def test_a_device_lost_in_publishing_or_a_cancellation_is_of_all_frames() -> None:
    handler = Handler()
    handler.publish_errors["a"] = torch.AcceleratorError("CUDA error: launch failure")
    handler, counts = serve(frame("a"), frame("b"), handler=handler)
    assert handler.failures == ["AcceleratorError: CUDA error: launch failure"]
    assert {count.dropped for count in counts.values()} == {1}
    handler, counts = serve(
        frame("a"), frame("b", 32, 32), segmenter=failing([SegmentationCancelled()])
    )
    assert {count.dropped for count in counts.values()} == {1}
    assert handler.refusals == handler.failures == []


def test_each_batch_is_timed_on_its_own() -> None:
    busy: list[int] = []
    segmenter = failing([])
    real = segmenter.segment_batch

    def segment_batch(*arguments: Any) -> Any:
        busy.append(worker.busy_ns(time.monotonic_ns()))
        time.sleep(0.05)
        return real(*arguments)

    segmenter.segment_batch = segment_batch
    queue = FrameQueue(["a", "b"])
    queue.open()
    queue.put(frame("a"))
    queue.put(frame("b", 32, 32))
    worker = InferenceWorker(segmenter, queue, Handler(), WorkerSettings())
    worker.start()
    deadline = time.monotonic() + LIMIT_S
    while queue.total().out < 2:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    queue.end()
    assert worker.join(LIMIT_S)
    assert len(busy) == 2
    assert busy[1] < 50_000_000  # not the first batch's time too


def test_short_memory_is_tried_once_more() -> None:
    handler, counts = serve(frame("a"), segmenter=failing([MemoryError("no room")]))
    assert handler.shortages == ["no room"]
    assert counts["a"] == FrameCounts(received=1, out=1)
    again, counts = serve(
        frame("a"), segmenter=failing([MemoryError("no room"), MemoryError("none")])
    )
    assert again.refusals == [("a", "MemoryError: none")]
    assert counts["a"] == FrameCounts(received=1, refused=1)


def test_a_lost_device_ends_the_worker() -> None:
    error = torch.AcceleratorError("CUDA error: unspecified launch failure")
    handler, counts = serve(frame("a"), frame("b"), segmenter=failing([error]), max_batch_size=1)
    assert handler.failures == ["AcceleratorError: CUDA error: unspecified launch failure"]
    assert counts["a"] == FrameCounts(received=1, dropped=1)
    assert counts["b"] == FrameCounts(received=1, waiting=1)


@pytest.mark.parametrize("outcome", ["out", "dropped", "refused"])
def test_every_batch_that_was_inferred_is_learned_from(outcome: Outcome) -> None:
    """Above all, a batch that came too late: otherwise the node would never take fewer steps."""
    handler = Handler()
    handler.outcome = outcome
    _, counts = serve(frame("a"), handler=handler)
    (report,) = handler.reports
    assert report[-1]["denoiser"] > [0]
    assert getattr(counts["a"], outcome) == 1
