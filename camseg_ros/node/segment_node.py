# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node: images of several cameras in, masks, confidence and more out.

The executor's thread only queues frames and answers services; one worker thread converts, infers
and publishes. Publishers live from configure to cleanup, subscriptions from activate to
deactivate.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

from camseg_core.diffusion.options import V_PROFILES, Precision
from camseg_core.errors import BAD_INPUT, DEVICE_LOST, CamsegError, in_one_line, message_of
from camseg_core.inference.known_answer import check_known_answer
from camseg_core.segmenter import SegmentationCancelled, Segmenter
from camseg_core.system.devices import find_device, free_memory, is_device_failure, is_out_of_memory
from camseg_ros.ground.grid import GridGeometry
from camseg_ros.inference.torch_threads import leave_threads_to_inference, run_with_threads
from camseg_ros.inference.worker import WorkerSettings
from camseg_ros.messages.labels import labels_json
from camseg_ros.node.camera import LATCHED_QOS
from camseg_ros.node.declared_parameters import NodeParameters
from camseg_ros.node.diagnostics import diagnostic_status
from camseg_ros.node.health import Condition, Level
from camseg_ros.node.parameters import NODE_NAME, parameter_help
from camseg_ros.node.pipeline import SegmentationPipeline
from camseg_ros.node.settings import camera_names, camera_settings, live_settings
from camseg_ros.remote.program import run_program

DIAGNOSTICS_PERIOD_S = 1.0
WATCHDOG_PERIOD_S = 0.1
SPIN_TIMEOUT_S = 0.2
LAST_WORDS_LIMIT_S = 0.5


class SegmentNode(LifecycleNode):  # type: ignore[misc]  # rclpy has no types
    """The cameras of one vehicle, one model, one worker.

    Attributes:
        stop_requested: Set when the process is to end.
        start_failure: Exit status of a process whose last transition failed.
        pipeline: What works between topics and model, from configure to cleanup; else None.
    """

    def __init__(
        self, stop_requested: threading.Event | None = None, context: Context | None = None
    ) -> None:
        """Declare the parameters; ``stop_requested`` also ends a configure that is under way.

        Raises:
            CamsegError: a value from the command line or the params file breaks its rule.
            InvalidParameterTypeException: the same, of a parameter that is rclpy's own.
        """
        super().__init__(NODE_NAME, context=context)
        self.stop_requested = stop_requested or threading.Event()
        self.start_failure = BAD_INPUT
        self.pipeline: SegmentationPipeline | None = None
        self._failure: str | None = None
        self._labels: Any = None
        self._active = False
        self._device = torch.device("cpu")
        self._declared = NodeParameters(self)
        # A bad value is told before anything is loaded.
        live_settings(self._declared.values(), V_PROFILES, None)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(Trigger, "~/reset", self._on_reset)
        # The steady clock: health is watched also where a bag's clock stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self.create_timer(WATCHDOG_PERIOD_S, self._watch, clock=steady)

    @property
    def failure(self) -> str | None:
        """Why this process cannot go on; None while it can."""
        return self.pipeline.failure if self.pipeline is not None else self._failure

    # ---- lifecycle -----------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, run it, create publishers and the worker."""
        return self._transition("configure", self._configure, undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the cameras."""
        result = self._transition("activate", self._activate, undo=self._stop_listening)
        return super().on_activate(state) if result == TransitionCallbackReturn.SUCCESS else result

    def _transition(
        self, name: str, work: Callable[[], None], undo: Callable[[], None]
    ) -> TransitionCallbackReturn:
        """Do the work of a transition; tell why it fails, which rclpy would keep to itself."""
        self.start_failure = BAD_INPUT
        try:
            work()
        except SegmentationCancelled:
            self.get_logger().info(f"did not {name}: told to end")
        except CamsegError as error:
            self.get_logger().error(f"cannot {name}: {error}")
        except Exception as error:  # out of memory, a topic name that DDS refuses
            reason = in_one_line(error)
            self.get_logger().error(f"cannot {name}: {reason}")
            if is_device_failure(error):
                self._failure = f"the device failed: {reason}"
            elif is_out_of_memory(error):
                self.start_failure = DEVICE_LOST  # memory may be there for another process
        else:
            return TransitionCallbackReturn.SUCCESS
        undo()  # not within the handler, whose traceback holds what is to be freed
        return TransitionCallbackReturn.FAILURE

    def _configure(self) -> None:
        values = self._declared.values()
        cameras = [camera_settings(name, values) for name in camera_names(values)]
        leave_threads_to_inference()
        started = time.monotonic()
        self._device = find_device(values["device"])
        onnx = values["backend"] == "onnx"
        load = partial(
            Segmenter.load,
            values["weights"],
            device=values["device"],
            backend=values["backend"],
            providers=values["providers"] if onnx else (),
        )
        segmenter = run_with_threads(values["torch_threads"], load)
        live = live_settings(values, segmenter.loaded.profiles, segmenter.label_set)
        check = partial(self._check_known_answer, segmenter, live.sampling.precision)
        run_with_threads(values["torch_threads"], check)
        if self.stop_requested.is_set():
            raise SegmentationCancelled
        self.pipeline = SegmentationPipeline(
            self,
            segmenter,
            cameras,
            live,
            worker=WorkerSettings(
                values["max_batch_size"], values["torch_threads"], values["max_image_megapixels"]
            ),
            inference_limit_ns=round(1e9 * values["inference_limit_s"]),
        )
        geometry = GridGeometry(
            values["grid_resolution_m"], values["grid_forward_m"], values["grid_sideways_m"]
        )
        self.pipeline.look_at_the_ground(geometry, values["grid_frame"])
        self.pipeline.warm_up(
            values["warmup_height"],
            values["warmup_width"],
            cancelled=self.stop_requested.is_set,
            on_hang=self._end_at_once,
        )
        self.pipeline.start()
        # What the class ids mean: latched topics and read-only parameters.
        weights_sha256 = segmenter.loaded.weights_sha256 or ""
        self._labels = self.create_publisher(String, "~/labels", LATCHED_QOS)
        self._labels.publish(String(data=labels_json(segmenter.label_set, weights_sha256)))
        self.pipeline.announce()
        self._declared.inform(segmenter.label_set, weights_sha256)
        if segmenter.loaded.is_random:
            self.get_logger().warning("the weights are RANDOM: the masks mean nothing")
        self.get_logger().info(
            f"configured: {segmenter.loaded.source} on {segmenter.networks.device_name}, "
            f"loaded and warmed up in {time.monotonic() - started:.1f} s"
        )

    def _check_known_answer(self, segmenter: Segmenter, precision: Precision) -> None:
        """Refuse a device that computes something else than the weights should.

        Raises:
            CamsegError: it does, in float32 or in the precision that is used.
        """
        answer = segmenter.loaded.known_answer
        if answer is None:
            self.get_logger().info(
                "the weights carry no known answer: that this device computes them rightly is not "
                "checked"
            )
            return
        precisions: tuple[Precision, ...] = ("float32", precision)
        for one in dict.fromkeys(precisions):
            check_known_answer(segmenter.networks, answer, one)

    def _activate(self) -> None:
        assert self.pipeline is not None  # only a configured node is activated
        topics = self.pipeline.open()
        self._active = True
        self.get_logger().info(f"active: listening to {', '.join(topics)}")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; frames that are not out yet are dropped and counted."""
        self._stop_listening()
        self._publish_diagnostics()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the model, the worker and the publishers back; the node can be configured again."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    on_error = on_cleanup

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back and let the process end."""
        self.close()
        self.stop_requested.set()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop, wait for the frame in progress and log the final counts; may be called twice."""
        pipeline = self.pipeline
        if pipeline is None:
            return
        self._stop_listening()
        pipeline.end()
        self._publish_diagnostics()
        self._release()
        counts = pipeline.queue.total()
        self.get_logger().info(
            f"frames in {counts.received} = out {counts.out} + dropped {counts.dropped} "
            f"+ refused {counts.refused}"
        )

    def _stop_listening(self) -> None:
        self._active = False
        if self.pipeline is not None:
            self.pipeline.close()

    def _release(self) -> None:
        self._stop_listening()
        if self.pipeline is not None:
            self.pipeline.end()
            self._failure = self._failure or self.pipeline.failure
            self.pipeline = None
        if self._labels is not None:
            self.destroy_publisher(self._labels)
            self._labels = None
        if self._failure is None:  # a lost device frees nothing
            free_memory(self._device)  # the model is in reference cycles

    # ---- parameters ----------------------------------------------------------------------------

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters, as the services do, with the answer that rclpy does not give.

        A present value is always accepted, so that ``ros2 param load`` succeeds with a dump, and a
        whole number is taken for a float. The reason of a success says what waits.
        """
        try:
            changes = self._declared.changes(parameter_list)
        except CamsegError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if not changes:
            return SetParametersResult(successful=True)
        result = super().set_parameters_atomically(changes)
        specs = [self._declared.specs.get(parameter.name) for parameter in changes]
        waiting = [
            change.name
            for change, spec in zip(changes, specs, strict=True)
            if spec is not None and not spec.live
        ]
        if result.successful and waiting:
            result.reason = f"{', '.join(waiting)}: takes effect with the next configure"
            self.get_logger().info(result.reason)
        return result

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Accept live parameters from the next frame on; refuse the others while active."""
        values = self._declared.values()
        for parameter in parameters:
            spec = self._declared.specs.get(parameter.name)
            if spec is None:
                continue
            if self._active and not spec.live:
                return SetParametersResult(
                    successful=False,
                    reason=f"{parameter.name} cannot change while the node is active; deactivate, "
                    "clean up and configure it again",
                )
            values[parameter.name] = parameter.value
        segmenter = self.pipeline.segmenter if self.pipeline is not None else None
        profiles = segmenter.loaded.profiles if segmenter is not None else V_PROFILES
        label_set = segmenter.label_set if segmenter is not None else None
        try:
            names = camera_names(values)
            live = live_settings(values, profiles, label_set)
            # Here and not after it was set, which Humble tells nobody.
            self._declared.declare_cameras(names)
        except CamsegError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self.pipeline is not None:
            self.pipeline.apply(live)  # as a whole: the worker reads the old or the new
        return SetParametersResult(successful=True)

    # ---- health --------------------------------------------------------------------------------

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Drop what is under way, and forget what was measured."""
        if self.pipeline is not None:
            self.pipeline.reset()
        response.success = self.pipeline is not None
        response.message = "reset" if response.success else "the node is not configured"
        return response

    def _watch(self) -> None:
        if self._active and self.pipeline is not None and self.pipeline.check():
            self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        name = self.get_fully_qualified_name()
        if self.pipeline is not None:
            statuses = self.pipeline.statuses(name, self._active)
        else:
            statuses = [diagnostic_status(name, Condition(Level.WARN, "not configured"), {})]
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=statuses))

    def end_if_lost(self) -> None:
        """End the process if the device is lost, with the cameras in the safe state.

        An orderly exit would wait for the worker, which may never return.
        """
        if self.failure is None:
            return
        if self.pipeline is not None:
            self.pipeline.enter_safe_state()
            self._publish_diagnostics()
            cameras = self.pipeline.cameras.values()
            limit = Duration(seconds=LAST_WORDS_LIMIT_S / (1 + len(cameras)))
            self._diagnostics.wait_for_all_acked(limit)
            for camera in cameras:
                camera.wait_until_sent(limit)
        self._end_at_once(self.failure)

    def _end_at_once(self, reason: str) -> None:
        """End the process, also from another thread while this one hangs."""
        self.get_logger().error(f"{reason}; this process ends with status {DEVICE_LOST}")
        sys.stderr.flush()
        os._exit(DEVICE_LOST)


def main(arguments: list[str] | None = None) -> int:
    """Run the node until Ctrl-C, SIGTERM or a lifecycle shutdown; return the exit status."""
    about = "Segment camera images. Topics, health, exit status: docs/node.md."
    return run_program(NODE_NAME, _run, arguments, about=about, parameters=parameter_help())


def _run(context: Context, stop: threading.Event) -> int:
    node = SegmentNode(stop, context)
    # What a library or the conversion of images warns of, once: into the log, as all else.
    warnings.showwarning = lambda message, *_: node.get_logger().warning(message_of(str(message)))
    try:
        if node.get_parameter("autostart").value:
            for trigger in (node.trigger_configure, node.trigger_activate):
                failed = not stop.is_set() and trigger() != TransitionCallbackReturn.SUCCESS
                node.end_if_lost()
                if failed and not stop.is_set():
                    return node.start_failure
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        while not stop.is_set():
            executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
            node.end_if_lost()
        node.close()
        node.end_if_lost()
        executor.shutdown()
    finally:
        node.close()
        node.destroy_node()
    return 0


if __name__ == "__main__":
    sys.exit(main())
