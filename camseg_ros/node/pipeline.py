# SPDX-License-Identifier: Apache-2.0
"""Between the cameras' topics and the model: what lives from configure to cleanup. No rclpy.

It owns the model, the queue, the worker and all measurements; the node gives it topics, a clock
and a log, and asks it for its health.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import psutil

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.images.arrays import UInt8
from camseg_core.segmentation import STAGES, Segmentation
from camseg_core.segmenter import Segmenter
from camseg_core.system.devices import allocated_bytes
from camseg_ros.ground.grid import GridGeometry
from camseg_ros.ground.view import FindMounting, GroundView, fixed_mounting
from camseg_ros.inference.frame_queue import FrameQueue, Outcome, QueuedFrame
from camseg_ros.inference.step_controller import BatchTimes, StepController
from camseg_ros.inference.warm_up import InferenceLimit, warm_up
from camseg_ros.inference.worker import BatchReport, InferenceWorker
from camseg_ros.messages.outputs import FrameOutputs
from camseg_ros.node.camera_port import CameraPort
from camseg_ros.node.diagnostics import StatusEntry
from camseg_ros.node.health import (
    Condition,
    DurationWindow,
    Level,
    Log,
    RepeatedWarnings,
    count_values,
    duration_values,
    worst,
)
from camseg_ros.node.parameters import ALL_UNLABELED
from camseg_ros.node.settings import LiveSettings

SAFE_STATE_PERIOD_NS = 10**9
LOCK_LIMIT_S = 0.2
MEASURED = ("wait", "convert", *STAGES, "publish", "processing")


@dataclass(frozen=True)
class Surroundings:
    """What the node gives.

    Attributes:
        log: where to tell.
        stamp: the node's clock as a message, which may be a bag's.
        clock_ns: the same in nanoseconds.
    """

    log: Log
    stamp: Callable[[], Any]
    clock_ns: Callable[[], int]


class SegmentationPipeline:
    """One model, several cameras, one worker."""

    def __init__(
        self,
        segmenter: Segmenter,
        ports: Sequence[CameraPort],
        live: LiveSettings,
        surroundings: Surroundings,
        *,
        max_batch_size: int = 0,
        inference_limit_ns: int = 0,
    ) -> None:
        """Take the parts; `warm_up` and `start` come next."""
        self.segmenter = segmenter
        self.ports = {port.name: port for port in ports}
        self.queue = FrameQueue(list(self.ports))
        self.failure: str | None = None
        self._live = live
        self._around = surroundings
        self._limit = InferenceLimit(inference_limit_ns)
        self._batch_limit_ns = self._limit.for_batch_ns(live.sampling, 0)
        self._max_batch_size = max_batch_size
        self._worker = InferenceWorker(segmenter, self.queue, self, max_batch_size)
        self._controller: StepController | None = None
        self._asked: StepController | None = None  # for the steps of the batch in progress
        self._publish_lock = threading.Lock()
        self._stages = {name: DurationWindow() for name in MEASURED}
        self._latency, self._age = DurationWindow(), DurationWindow()
        self._steps_used = live.sampling.steps
        self._batch_size = 0
        self._warnings = RepeatedWarnings(surroundings.log)
        self._process = psutil.Process()
        self._renew_controller()

    # ---- from configure to cleanup -------------------------------------------------------------

    def warm_up(
        self,
        height: int,
        width: int,
        cancelled: Callable[[], bool],
        on_hang: Callable[[str], None],
    ) -> None:
        """Run every batch size and number of steps that may be used, on an image of this size.

        Raises:
            SegmentationCancelled: ``cancelled`` was true.
        """
        most = min(self._max_batch_size or len(self.ports), len(self.ports))
        sampling, controller = self._live.sampling, self._controller
        choices = controller.ladder if controller else (sampling.steps,)
        self._limit = warm_up(
            self.segmenter,
            np.zeros((height, width, 3), np.uint8),
            [
                (batch_size, replace(sampling, steps=steps))
                for batch_size in range(1, most + 1)
                for steps in choices
            ],
            self._limit,
            measured=controller.record if controller else _forget,
            cancelled=cancelled,
            on_hang=on_hang,
        )
        self._batch_limit_ns = self._limit.for_batch_ns(sampling, 0)

    def look_at_the_ground(
        self, geometry: GridGeometry, frame_id: str, from_tf: FindMounting
    ) -> None:
        """Return each camera what its drivable grid needs; ``from_tf`` where no mounting is
        given.
        """
        for port in self.ports.values():
            mounting = port.settings.mounting
            find_mounting = fixed_mounting(mounting) if mounting else from_tf
            port.ground = GroundView(
                geometry,
                frame_id,
                find_mounting,
                partial(self._warnings.warn, port.name),
                rectified=port.settings.rectified,
            )

    def start(self) -> None:
        """Begin to serve; frames are dropped until `open`."""
        self._worker.start()

    def open(self) -> list[str]:
        """Listen to the cameras and accept frames; gives the image topics' full names."""
        self.queue.open()
        return [port.listen(self.accept, self._live.limits) for port in self.ports.values()]

    def accept(self, frame: QueuedFrame) -> None:
        """Queue a frame; nothing slow here, it is the executor's thread."""
        age_ns = self._around.clock_ns() - frame.stamp_ns
        self.ports[frame.camera].watch.entered(frame.received_ns, age_ns)
        self.queue.put(frame)

    def close(self) -> None:
        """Accept no more frames; what is not out yet is dropped."""
        for port in self.ports.values():
            port.stop_listening()
        with self._publish_lock:  # a frame is published whole before, or not at all
            self.queue.close()

    def end(self) -> None:
        """Close, wait for the worker, give the topics back; sets `failure` if the worker hangs."""
        self.close()
        self.queue.end()
        limit_s = self._batch_limit_ns / 1e9
        if not self._worker.join(limit_s) and self.failure is None:
            self.failure = f"inference hangs: it did not end within {limit_s:.1f} s"
        for port in self.ports.values():
            port.close()

    def apply(self, live: LiveSettings) -> None:
        """Take other settings, from the next batch on."""
        before, self._live = self._live, live
        for port in self.ports.values():
            port.watch.limits = live.limits
            if live.threshold != before.threshold:
                port.announce(self.segmenter.label_set, live.threshold, self._around.stamp())
        # What was measured holds for the way of sampling it was measured with.
        same_cost = replace(live.sampling, steps=1, seed=0) == replace(
            before.sampling, steps=1, seed=0
        )
        budget_changed = (live.budget_ns, live.steps_range) != (
            before.budget_ns,
            before.steps_range,
        )
        if budget_changed or not same_cost:
            self._renew_controller()

    def reset(self) -> None:
        """Drop what is under way, and forget what was measured and warned of."""
        with self._publish_lock:
            self.queue.clear()
        for window in [*self._stages.values(), self._latency, self._age]:
            window.clear()
        for port in self.ports.values():
            port.forget()
        self._warnings.clear()
        self._renew_controller()

    def _renew_controller(self) -> None:
        live = self._live
        self._controller = (
            StepController(live.budget_ns, *live.steps_range) if live.budget_ns else None
        )

    # ---- the worker's questions ----------------------------------------------------------------

    def options_for(self, batch_size: int, pixels: int) -> SamplingOptions:
        """Return how to sample the next batch: its steps by the budget, where there is one."""
        options, self._asked = self._live.sampling, self._controller
        if self._asked is not None:
            options = replace(options, steps=self._asked.choose(batch_size))
        self._batch_limit_ns = self._limit.for_batch_ns(options, pixels)
        self._steps_used, self._batch_size = options.steps, batch_size
        return options

    def publish(self, frame: QueuedFrame, image: UInt8, segmentation: Segmentation) -> Outcome:
        """Publish what somebody listens to, unless nobody should act on it any more."""
        port, live = self.ports[frame.camera], self._live
        outputs = FrameOutputs(
            image,
            segmentation,
            frame.message.header,
            live.output,
            self.segmenter.label_set,
            port.camera_info,
            port.ground,
        )
        messages = port.messages(outputs, live.outputs)
        age_ns = self._around.clock_ns() - frame.stamp_ns
        latency_ns = time.monotonic_ns() - frame.received_ns
        port.watch.left(latency_ns)
        if port.watch.breaks_error_limit(age_ns, latency_ns):
            self._warnings.warn(
                f"{port.name}: mask dropped",
                f"it is beyond a limit: {latency_ns / 1e6:.0f} ms in the node, its stamp "
                f"{abs(age_ns) / 1e9:.2f} s {'old' if age_ns >= 0 else 'in the future'}",
            )
            return "dropped"
        with self._publish_lock:
            if not self.queue.may_publish:  # deactivated meanwhile: nobody expects it any more
                return "dropped"
            if self._is_behind_the_safe_state(port, frame):
                self._warnings.warn(
                    f"{port.name}: mask dropped", "the safe state is newer than its frame"
                )
                return "dropped"
            port.publish(messages)
            port.remember(outputs.shape, frame.message.header.frame_id)
        now_ns = time.monotonic_ns()
        for latency, age in ((self._latency, self._age), (port.latency, port.age)):
            latency.add(now_ns - frame.received_ns)
            age.add(self._around.clock_ns() - frame.stamp_ns)
        port.rate.count(now_ns)
        return "out"

    def _is_behind_the_safe_state(self, port: CameraPort, frame: QueuedFrame) -> bool:
        """Return whether a planner was, or is about to be, told of a newer time to trust nothing.

        Stamps count only for a while after a safe mask: they may be by another clock.
        """
        now_ns = time.monotonic_ns()
        is_declared = port.has_published and self._live.safe_state == ALL_UNLABELED
        if is_declared and port.watch.is_silent(now_ns):
            return True
        if port.safe_masks == 0:
            return False
        is_recent = now_ns - port.last_safe_ns < SAFE_STATE_PERIOD_NS
        return frame.received_ns <= port.last_safe_ns or (
            is_recent and frame.stamp_ns < port.last_safe_stamp_ns
        )

    def refused(self, frame: QueuedFrame, reason: str) -> None:
        """Tell why a frame cannot be segmented."""
        self.ports[frame.camera].watch.refused(time.monotonic_ns())
        self._warnings.warn(f"{frame.camera}: frame refused", reason)

    def memory_was_short(self, reason: str) -> None:
        """Tell that memory was short."""
        self._warnings.warn("memory is short, trying once more", reason)

    def device_failed(self, reason: str) -> None:
        """Remember that the device is lost; the node ends the process."""
        self.failure = f"the device failed: {reason}"

    def measured(self, report: BatchReport) -> None:
        """Learn from a batch."""
        for wait_ns in report.waits_ns:
            self._stages["wait"].add(wait_ns)
        for name, spent_ns in report.stages_ns.items():
            self._stages[name].add(spent_ns)
        # Not to a controller of other settings, which may have come meanwhile.
        if self._asked is not None:
            self._asked.record(report.times)

    # ---- health --------------------------------------------------------------------------------

    def check(self) -> bool:
        """Look at every camera and at the worker; true if a camera's condition changed level."""
        # The limit before the time: a batch that begins in between has taken none yet.
        limit_ns = self._batch_limit_ns
        now_ns = time.monotonic_ns()
        busy_ns = self._worker.busy_ns(now_ns)
        if self.failure is None and limit_ns < busy_ns:
            self.failure = (
                f"inference hangs: a batch has taken {busy_ns / 1e9:.1f} s, "
                f"{limit_ns / 1e9:.1f} s is the limit"
            )
        changed = False
        for port in self.ports.values():
            before, port.condition = port.condition, port.watch.check(now_ns)
            if port.condition.level != before.level:
                changed = True
                line = f"{port.name}: {port.condition.level.name}, {port.condition.text}"
                if port.condition.level:  # a logger has one severity for each place in the code
                    self._around.log.warning(line)
                else:
                    self._around.log.info(line)
            # A worker that hangs in the middle of publishing keeps the lock.
            if port.condition.level == Level.ERROR and self._publish_lock.acquire(
                timeout=LOCK_LIMIT_S
            ):
                try:
                    self._keep_safe(port, now_ns)
                finally:
                    self._publish_lock.release()
        return changed

    def enter_safe_state(self) -> None:
        """Bring all cameras into the safe state, for the end of the process.

        Nothing is published after it: not by a worker that comes back, unless it hangs in the
        middle of publishing.
        """
        self._publish_lock.acquire(timeout=LOCK_LIMIT_S)
        for port in self.ports.values():
            self._keep_safe(port, port.last_safe_ns + SAFE_STATE_PERIOD_NS)

    def _keep_safe(self, port: CameraPort, now_ns: int) -> None:
        """Publish what the safe state demands, once a second."""
        due = now_ns - port.last_safe_ns >= SAFE_STATE_PERIOD_NS
        if self._live.safe_state == ALL_UNLABELED and due:
            port.publish_safe_state(self._live.outputs, self._around.stamp(), now_ns)

    def condition(self, active: bool) -> Condition:
        """Return the node's condition: the worst of its own and its cameras'."""
        conditions = [
            Condition(port.condition.level, f"{port.name}: {port.condition.text}")
            for port in self.ports.values()
        ]
        if self.segmenter.loaded.is_random:
            conditions.append(Condition(Level.WARN, "weights are random"))
        controller = self._controller
        if controller is not None and controller.over_budget:
            conditions.append(
                Condition(Level.WARN, "over the latency budget with the fewest steps")
            )
        if self.failure is not None:
            conditions.append(Condition(Level.ERROR, self.failure))
        return worst(conditions, otherwise="active" if active else "not active")

    def values(self) -> dict[str, str]:
        """Return the node's figures as diagnostics name them."""
        loaded, sampling = self.segmenter.loaded, self._live.sampling
        memory = allocated_bytes(self.segmenter.device)
        now_ns = time.monotonic_ns()
        return {
            **count_values(self.queue.total()),
            "rate_out_hz": f"{sum(port.rate.rate_hz(now_ns) for port in self.ports.values()):.1f}",
            **duration_values({"latency": self._latency, "age": self._age, **self._stages}),
            "steps": str(self._steps_used),
            "batch_size": str(self._batch_size),
            "latency_budget_ms": f"{self._live.budget_ns / 1e6:g}",
            "sampler": sampling.sampler,
            "samples": str(sampling.samples),
            "precision": sampling.precision,
            "device": str(self.segmenter.device),
            "device_memory_mib": "" if memory is None else f"{memory / 2**20:.0f}",
            "process_memory_mib": f"{self._process.memory_info().rss / 2**20:.0f}",
            "weights": loaded.source,
            "weights_sha256": loaded.weights_sha256 or "",
        }

    def camera_entries(self, node_name: str) -> list[StatusEntry]:
        """Return one diagnostics entry per camera."""
        counts, now_ns = self.queue.counts(), time.monotonic_ns()
        return [
            StatusEntry(
                f"{node_name}: {port.name}",
                port.condition,
                {
                    **count_values(counts[port.name]),
                    "rate_out_hz": f"{port.rate.rate_hz(now_ns):.1f}",
                    **duration_values({"latency": port.latency, "age": port.age}),
                    "frames_lost": "" if port.frames_lost is None else str(port.frames_lost),
                    "safe_masks": str(port.safe_masks),
                    **{f"subscribers_{name}": str(n) for name, n in port.subscribers().items()},
                },
            )
            for port in self.ports.values()
        ]


def _forget(times: BatchTimes) -> None:
    """Learn nothing."""
