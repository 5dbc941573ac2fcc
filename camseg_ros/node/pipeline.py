# SPDX-License-Identifier: Apache-2.0
"""What lives from configure to cleanup: model, cameras, queue, worker and all measurements.

The node gives it a clock and a log, and asks it for its health.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import in_one_line
from camseg_core.images.arrays import UInt8
from camseg_core.segmentation import Segmentation
from camseg_core.segmenter import Segmenter
from camseg_ros.ground.grid import GridGeometry
from camseg_ros.ground.view import GroundView
from camseg_ros.inference.frame_queue import FrameQueue, Outcome, QueuedFrame
from camseg_ros.inference.step_controller import StepController
from camseg_ros.inference.torch_threads import run_with_threads
from camseg_ros.inference.warm_up import InferenceLimit, warm_up
from camseg_ros.inference.worker import InferenceWorker, WorkerSettings
from camseg_ros.messages.outputs import FrameOutputs
from camseg_ros.node.camera import NOT_ACTIVE, Camera, TransformedMountings
from camseg_ros.node.diagnostics import MEASURED, Measurements, diagnostic_status, node_values
from camseg_ros.node.health import Condition, Level, RepeatedWarnings, worst
from camseg_ros.node.settings import CameraSettings, LiveSettings

LOCK_LIMIT_S = 0.2

STOOD_STILL_NS = 2 * 10**9
"""Time between two looks of the watchdog after which this whole process must have stood still."""


class SegmentationPipeline:
    """One model, several cameras, one worker.

    Attributes:
        segmenter: Segmenter with the model.
        cameras: The cameras by name.
        queue: Frames that wait, and all counts.
        failure: Why the process cannot go on; None while it can.
    """

    def __init__(
        self,
        node: LifecycleNode,
        segmenter: Segmenter,
        cameras: Sequence[CameraSettings],
        live: LiveSettings,
        *,
        worker: WorkerSettings | None = None,
        inference_limit_ns: int = 0,
    ) -> None:
        """Create the cameras' publishers on ``node``; `warm_up` and `start` come next."""
        self.segmenter = segmenter
        self.cameras = {settings.name: Camera(node, settings, live.limits) for settings in cameras}
        self.queue = FrameQueue(list(self.cameras))
        self.failure: str | None = None
        self._node = node
        self._live = live
        self._limit = InferenceLimit(inference_limit_ns)
        self._batch_limit_ns = self._limit.for_batch_ns(live.sampling, 0)
        self._worker_settings = worker or WorkerSettings()
        self._worker = InferenceWorker(segmenter, self.queue, self, self._worker_settings)
        self._mountings: TransformedMountings | None = None
        self._controller: StepController | None = None
        self._asked: StepController | None = None  # for the steps of the batch in progress
        self._publish_lock = threading.Lock()
        self._measured = Measurements(*MEASURED)
        self._checked_ns = self._resumed_ns = time.monotonic_ns()
        self._last_batch = (live.sampling.steps, 0)  # its steps and its frames
        self._frames_over_budget = 0
        self._warnings = RepeatedWarnings(node.get_logger())
        self._renew_controller()

    # ---- from configure to cleanup -------------------------------------------------------------

    def warm_up(
        self, height: int, width: int, cancelled: Callable[[], bool], on_hang: Callable[[str], None]
    ) -> None:
        """Run every batch size and number of steps that may be used, on an image of this size.

        Raises:
            SegmentationCancelled: ``cancelled`` was true.
        """
        settings, cameras = self._worker_settings, len(self.cameras)
        most = min(settings.max_batch_size or cameras, cameras)
        sampling, controller = self._live.sampling, self._controller
        choices = controller.ladder if controller else (sampling.steps,)
        work = partial(
            warm_up,
            self.segmenter,
            np.zeros((height, width, 3), np.uint8),
            [
                (batch_size, replace(sampling, steps=steps))
                for batch_size in range(1, most + 1)
                for steps in choices
            ],
            self._limit,
            measured=controller.record if controller else lambda *_: None,
            cancelled=cancelled,
            on_hang=on_hang,
        )
        self._limit = run_with_threads(settings.torch_threads, work)
        self._batch_limit_ns = self._limit.for_batch_ns(sampling, 0)

    def look_at_the_ground(self, geometry: GridGeometry, frame_id: str) -> None:
        """Give each camera what its drivable grid needs; tf is asked where no mounting is given."""
        self._mountings = TransformedMountings(self._node, frame_id)
        for name, camera in self.cameras.items():
            camera.ground = GroundView(
                geometry,
                frame_id,
                self._mountings,
                partial(self._warnings.warn, name),
                camera.settings.camera_info_topic,
                camera.settings.rectified,
                camera.settings.mounting,
            )

    def start(self) -> None:
        """Begin to serve; frames are dropped until `open`."""
        self._worker.start()

    def open(self) -> list[str]:
        """Listen to the cameras and accept frames; return the image topics' full names."""
        self.queue.open()
        limits = self._live.limits
        return [
            camera.listen(self.accept, limits, partial(self._warnings.warn, name))
            for name, camera in self.cameras.items()
        ]

    def accept(self, frame: QueuedFrame) -> None:
        """Queue a frame; nothing here may be slow, since it is the executor's thread."""
        age_ns = self._clock_ns() - frame.stamp_ns
        self.cameras[frame.camera].watch.entered(frame.received_ns, age_ns)
        self.queue.put(frame)

    def close(self) -> None:
        """Accept no more frames; what is not out yet is dropped."""
        for camera in self.cameras.values():
            camera.stop_listening()
        with self._publish_lock:  # a frame is published whole before, or not at all
            self.queue.close()

    def end(self) -> None:
        """Close, wait for the worker, give the topics back; sets `failure` if the worker hangs."""
        self.close()
        self.queue.end()
        limit_s = self._batch_limit_ns / 1e9
        if not self._worker.join(limit_s) and self.failure is None:
            self.failure = f"inference hangs: it did not end within {limit_s:.1f} s"
        for camera in self.cameras.values():
            camera.close()
        if self._mountings is not None:
            self._mountings.close()

    def announce(self) -> None:
        """Publish on each camera's latched topic what the class ids mean."""
        try:
            for camera in self.cameras.values():
                camera.announce(self.segmenter.label_set, self._live.threshold, self._stamp())
        # A vision_msgs that is half installed, or older, fails in many ways and places.
        except Exception as error:
            reason = f"vision_msgs is installed but does not work: {in_one_line(error)}"
            self._warnings.warn("no label_info", reason)

    def apply(self, live: LiveSettings) -> None:
        """Take other settings, from the next batch on."""
        before, self._live = self._live, live
        for camera in self.cameras.values():
            camera.watch.limits = live.limits
        if live.threshold != before.threshold:
            self.announce()
        # What was measured holds for the way of sampling and the budget it was measured with.
        first, second = (
            (replace(item.sampling, steps=1, seed=0), item.budget_ns, item.steps_range)
            for item in (before, live)
        )
        if first != second:
            self._renew_controller()

    def reset(self) -> None:
        """Drop what is under way, and forget what was measured and warned of."""
        with self._publish_lock:
            self.queue.clear()
        self._measured.clear()
        for camera in self.cameras.values():
            camera.measured.clear()
        self._warnings.clear()
        self._renew_controller()

    def _renew_controller(self) -> None:
        budget_ns, ends = self._live.budget_ns, self._live.steps_range
        self._controller = StepController(budget_ns, *ends) if budget_ns else None
        if budget_ns and ends[0] == ends[1]:
            self._warnings.warn(
                "latency_budget_ms",
                f"min_steps and max_steps are {ends[0]}, so that there are no steps to choose; "
                "weights that need one step, as those that ship, gain nothing from a budget",
            )

    def _clock_ns(self) -> int:
        """Return the time of the node's clock, which may be a bag's."""
        return int(self._node.get_clock().now().nanoseconds)

    def _stamp(self) -> Time:
        return self._node.get_clock().now().to_msg()

    # ---- the worker's questions ----------------------------------------------------------------

    def options_for(self, batch_size: int, pixels: int) -> SamplingOptions:
        """Return how to sample the next batch: its steps by the budget, where there is one."""
        options, self._asked = self._live.sampling, self._controller
        if self._asked is not None:
            options = replace(options, steps=self._asked.choose(batch_size))
        self._batch_limit_ns = self._limit.for_batch_ns(options, pixels)
        self._last_batch = (options.steps, batch_size)
        return options

    def publish(self, frame: QueuedFrame, image: UInt8, segmentation: Segmentation) -> Outcome:
        """Publish what somebody listens to, unless nobody should act on it any more."""
        camera, live = self.cameras[frame.camera], self._live
        outputs = FrameOutputs(
            image,
            segmentation,
            frame.message.header,
            live.output,
            self.segmenter.label_set,
            camera.input.camera_info,
            camera.ground,
        )
        messages = outputs.messages(camera.wanted(live.outputs))
        age_ns = self._clock_ns() - frame.stamp_ns
        latency_ns = time.monotonic_ns() - frame.received_ns
        camera.watch.left(latency_ns, has_no_number=segmentation.has_no_number)
        if camera.watch.breaks_error_limit(age_ns, latency_ns):
            return self._drop(
                frame,
                f"it is beyond a limit: {latency_ns / 1e6:.0f} ms in the node, its stamp "
                f"{abs(age_ns) / 1e9:.2f} s {'old' if age_ns >= 0 else 'in the future'}",
            )
        with self._publish_lock:
            if not self.queue.may_publish:  # deactivated meanwhile: nobody expects it any more
                return "dropped"
            now_ns = time.monotonic_ns()
            is_due = live.all_unlabeled and camera.watch.is_silent(now_ns)
            if camera.safe_state.outdates(frame, now_ns, is_due=is_due):
                return self._drop(frame, "the safe state is newer than its frame")
            camera.publish(messages)
            camera.safe_state.remember(outputs.shape, frame.message.header.frame_id)
        now_ns = time.monotonic_ns()
        for measured in (self._measured, camera.measured):
            measured.add_frame(
                now_ns, now_ns - frame.received_ns, self._clock_ns() - frame.stamp_ns
            )
        self._frames_over_budget += 0 < live.budget_ns < now_ns - frame.received_ns
        return "out"

    def _drop(self, frame: QueuedFrame, reason: str) -> Outcome:
        self._warnings.warn(f"{frame.camera}: mask dropped", reason)
        return "dropped"

    def refused(self, frame: QueuedFrame, reason: str) -> None:
        """Tell why a frame cannot be segmented."""
        self.cameras[frame.camera].watch.refused(time.monotonic_ns())
        self._warnings.warn(f"{frame.camera}: frame refused", reason)

    def memory_was_short(self, reason: str) -> None:
        """Tell that memory was short."""
        self._warnings.warn("memory is short, trying once more", reason)

    def device_failed(self, reason: str) -> None:
        """Remember that the device is lost; the node ends the process."""
        self.failure = f"the device failed: {reason}"

    def measured(
        self, batch_size: int, steps: int, latency_ns: int, stages_ns: dict[str, list[int]]
    ) -> None:
        """Learn from a batch."""
        for stage, durations_ns in stages_ns.items():
            self._measured.add(stage, *durations_ns)
        # Not to a controller of other settings, which may have come meanwhile.
        if self._asked is not None:
            (steps_ns,) = stages_ns["denoiser"]
            self._asked.record(batch_size, steps, latency_ns - steps_ns, steps_ns)

    # ---- health --------------------------------------------------------------------------------

    def check(self) -> bool:
        """Look at every camera and at the worker; true if a camera's condition changed level.

        It is to be called several times a second: a process that stood still in between has hung
        in nothing, and the batch in progress gets its time anew.
        """
        # The limit before the time: a batch that begins in between has taken none yet.
        limit_ns = self._batch_limit_ns
        now_ns = time.monotonic_ns()
        if now_ns - self._checked_ns > STOOD_STILL_NS:  # SIGSTOP, or a machine that slept
            self._resumed_ns = now_ns
        self._checked_ns = now_ns
        busy_ns = min(self._worker.busy_ns(now_ns), now_ns - self._resumed_ns)
        if self.failure is None and limit_ns < busy_ns:
            self.failure = (
                f"inference hangs: a batch has taken {busy_ns / 1e9:.1f} s, "
                f"{limit_ns / 1e9:.1f} s is the limit"
            )
        changed = False
        for name, camera in self.cameras.items():
            before, camera.condition = camera.condition, camera.check(now_ns)
            if camera.condition.level != before.level:
                changed = True
                self._tell(name, camera.condition)
            # A worker that hangs in the middle of publishing keeps the lock.
            if camera.condition.level == Level.ERROR and self._publish_lock.acquire(
                timeout=LOCK_LIMIT_S
            ):
                try:
                    self._keep_safe(camera, now_ns)
                finally:
                    self._publish_lock.release()
        return changed

    def _tell(self, name: str, condition: Condition) -> None:
        line = f"{name}: {condition.level.name}, {condition.text}"
        # A logger has one severity for each place in the code.
        if condition.level == Level.ERROR:
            self._node.get_logger().error(line)
        elif condition.level == Level.WARN:
            self._node.get_logger().warning(line)
        else:
            self._node.get_logger().info(line)

    def enter_safe_state(self) -> None:
        """Bring all cameras into the safe state, for the end of the process.

        Nothing is published after it: not by a worker that comes back, unless it hangs in the
        middle of publishing.
        """
        self._publish_lock.acquire(timeout=LOCK_LIMIT_S)
        for camera in self.cameras.values():
            self._keep_safe(camera, time.monotonic_ns(), at_once=True)

    def _keep_safe(self, camera: Camera, now_ns: int, *, at_once: bool = False) -> None:
        if self._live.all_unlabeled:
            stamp = self._stamp()
            messages = camera.safe_state.messages(stamp, now_ns, at_once=at_once)
            if messages and camera.ground is not None:
                messages["drivable_grid"] = camera.ground.unknown(stamp)
            wanted = camera.wanted(self._live.outputs)
            camera.publish({name: messages[name] for name in wanted if name in messages})

    def statuses(self, node_name: str, active: bool) -> list[DiagnosticStatus]:
        """Return the diagnostics of the node and of each camera."""
        counts, total, now_ns = self.queue.counts(), self.queue.total(), time.monotonic_ns()
        values = self._measured.values(total, now_ns)
        values |= node_values(self.segmenter, self._live, *self._last_batch)
        values["frames_over_budget"] = str(self._frames_over_budget)
        conditions = {
            name: camera.diagnosed(self._live.outputs) for name, camera in self.cameras.items()
        }
        of_node = [
            Condition(condition.level, f"{name}: {condition.text}")
            for name, condition in conditions.items()
        ]
        return [
            diagnostic_status(
                node_name, self._condition(of_node if active else [NOT_ACTIVE]), values
            ),
            *(
                diagnostic_status(
                    f"{node_name}: {name}", conditions[name], camera.values(counts[name], now_ns)
                )
                for name, camera in self.cameras.items()
            ),
        ]

    def _condition(self, conditions: list[Condition]) -> Condition:
        """Return the node's condition: the worst of these and its own."""
        if self.segmenter.loaded.is_random:
            conditions.append(Condition(Level.WARN, "weights are random"))
        controller = self._controller
        if controller is not None and controller.over_budget:
            text = (
                f"over the latency budget of {self._live.budget_ns / 1e6:g} ms with the fewest "
                f"steps, {controller.ladder[0]}"
            )
            conditions.append(Condition(Level.WARN, text))
            self._warnings.warn("latency_budget_ms", text)
        if self.failure is not None:
            conditions.append(Condition(Level.ERROR, self.failure))
        return worst(conditions, otherwise="active")
