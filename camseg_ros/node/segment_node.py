# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node: images of several cameras in, masks, confidence and more out.

The executor's thread only queues frames and answers services; one worker thread converts, infers
and publishes. Publishers live from configure to cleanup, subscriptions from activate to
deactivate.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy._rclpy_pybind11 import RCLError, UnknownROSArgsError
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from rclpy.utilities import remove_ros_args
from std_msgs.msg import String
from std_srvs.srv import Trigger

from camseg_core.diffusion.options import V_PROFILES, Profiles
from camseg_core.errors import BAD_INPUT, DEVICE_LOST, CamsegError
from camseg_core.labels import LabelSet
from camseg_core.segmenter import SegmentationCancelled, Segmenter
from camseg_core.system.devices import find_device, free_memory, is_device_failure, is_out_of_memory
from camseg_ros.ground.view import TransformedMountings
from camseg_ros.messages.labels import labels_json
from camseg_ros.node.camera_port import QUALITIES, CameraPort, subscribe
from camseg_ros.node.dds_environment import use_large_images
from camseg_ros.node.declaration import NodeParameters
from camseg_ros.node.diagnostics import StatusEntry, diagnostics_message
from camseg_ros.node.health import Condition, Level
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.node.pipeline import SegmentationPipeline, Surroundings
from camseg_ros.node.settings import (
    LiveSettings,
    camera_names,
    camera_settings,
    grid_geometry,
    live_settings,
)

DIAGNOSTICS_PERIOD_S = 1.0
WATCHDOG_PERIOD_S = 0.1
SPIN_TIMEOUT_S = 0.2
LAST_WORDS_LIMIT_S = 0.5


class SegmentNode(LifecycleNode):  # type: ignore[misc]  # rclpy has no types
    """The cameras of one vehicle, one model, one worker."""

    def __init__(self, stop_requested: threading.Event | None = None) -> None:
        """Declare the parameters; ``stop_requested`` also ends a configure that is under way.

        Raises:
            CamsegError: a value from the command line or the params file breaks its rule.
            InvalidParameterTypeException: the same, of a parameter that is rclpy's own.
        """
        super().__init__(NODE_NAME)
        self.stop_requested = stop_requested or threading.Event()
        self.start_failure = BAD_INPUT
        self._pipeline: SegmentationPipeline | None = None
        self._failure: str | None = None
        self._labels: Any = None
        self._active = False
        self._device = torch.device("cpu")
        self._mountings: TransformedMountings | None = None
        self._profiles: Profiles = V_PROFILES  # until weights are loaded
        self._label_set: LabelSet | None = None
        self._declared = NodeParameters(self)
        # a bad value is told before anything is loaded
        self._live_settings(self._declared.values())
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(Trigger, "~/reset", self._on_reset)
        # The steady clock: health is watched also where a bag's clock stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self.create_timer(WATCHDOG_PERIOD_S, self._watch, clock=steady)

    @property
    def failure(self) -> str | None:
        """Why this process cannot go on, None while it can."""
        return self._pipeline.failure if self._pipeline is not None else self._failure

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
        device_failure: str | None = None
        self.start_failure = BAD_INPUT
        try:
            work()
        except SegmentationCancelled:
            self.get_logger().info(f"did not {name}: told to end")
        except CamsegError as error:
            self.get_logger().error(f"cannot {name}: {error}")
        except Exception as error:  # out of memory, a topic name that DDS refuses
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            self.get_logger().error(f"cannot {name}: {reason}")
            if is_device_failure(error):
                device_failure = f"the device failed: {reason}"
            elif is_out_of_memory(error):
                self.start_failure = DEVICE_LOST  # memory may be there for another process
        else:
            return TransitionCallbackReturn.SUCCESS
        if device_failure is not None:
            self._failure = device_failure
        undo()  # not within the handler, whose traceback holds what is to be freed
        return TransitionCallbackReturn.FAILURE

    def _configure(self) -> None:
        values = self._declared.values()
        cameras = [camera_settings(name, values) for name in camera_names(values)]
        if values["torch_threads"]:
            torch.set_num_threads(values["torch_threads"])
        started = time.monotonic()
        self._device = find_device(values["device"])
        segmenter = Segmenter.load(values["weights"], device=values["device"])
        self._profiles, self._label_set = segmenter.loaded.profiles, segmenter.label_set
        if self.stop_requested.is_set():
            raise SegmentationCancelled
        live = self._live_settings(values)
        surroundings = Surroundings(
            log=self.get_logger(),
            stamp=lambda: self.get_clock().now().to_msg(),
            clock_ns=lambda: int(self.get_clock().now().nanoseconds),
        )
        ports = [
            CameraPort(self, settings, live.limits, QUALITIES, partial(subscribe, self))
            for settings in cameras
        ]
        self._pipeline = SegmentationPipeline(
            segmenter,
            ports,
            live,
            surroundings,
            max_batch_size=values["max_batch_size"],
            inference_limit_ns=round(1e9 * values["inference_limit_s"]),
        )
        self._mountings = TransformedMountings(self, values["grid_frame"], Time())
        self._pipeline.look_at_the_ground(
            grid_geometry(values), values["grid_frame"], self._mountings
        )
        self._pipeline.warm_up(
            values["warmup_height"],
            values["warmup_width"],
            cancelled=self.stop_requested.is_set,
            on_hang=self._end_at_once,
        )
        self._pipeline.start()
        self._announce(segmenter, ports, live)
        if segmenter.loaded.is_random:
            self.get_logger().warning("the weights are RANDOM: the masks mean nothing")
        self.get_logger().info(
            f"configured: {segmenter.loaded.source} on {segmenter.device}, "
            f"loaded and warmed up in {time.monotonic() - started:.1f} s"
        )

    def _announce(self, segmenter: Segmenter, ports: list[CameraPort], live: LiveSettings) -> None:
        """Tell what the class ids mean: latched topics and read-only parameters."""
        label_set = segmenter.label_set
        weights_sha256 = segmenter.loaded.weights_sha256 or ""
        self._labels = self.create_publisher(String, "~/labels", QUALITIES.latched)
        self._labels.publish(String(data=labels_json(label_set, weights_sha256)))
        stamp = self.get_clock().now().to_msg()
        for port in ports:
            port.announce(label_set, live.threshold, stamp)
        self._declared.inform(label_set, weights_sha256)

    def _activate(self) -> None:
        if self._pipeline is None:
            raise CamsegError("the node is not configured; configure it first")
        topics = self._pipeline.open()
        self._active = True
        self.get_logger().info(f"active: listening to {', '.join(topics)}")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; frames that are not out yet are dropped and counted."""
        self._stop_listening()
        self._publish_diagnostics()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return back the model, the worker and the publishers."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return everything back and let the process end."""
        self.close()
        self.stop_requested.set()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return everything back; the node can be configured again."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop, wait for the frame in progress, tell the final counts. May be called twice."""
        pipeline = self._pipeline
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
        if self._pipeline is not None:
            self._pipeline.close()

    def _release(self) -> None:
        self._stop_listening()
        if self._pipeline is not None:
            self._pipeline.end()
            self._failure = self._failure or self._pipeline.failure
            self._pipeline = None
        if self._mountings is not None:
            self._mountings.close()
            self._mountings = None
        if self._labels is not None:
            self.destroy_publisher(self._labels)
            self._labels = None
        self._profiles, self._label_set = V_PROFILES, None  # other weights may come next
        if self._failure is None:  # a lost device frees nothing
            free_memory(self._device)  # the model is in reference cycles

    # ---- parameters ----------------------------------------------------------------------------

    def _live_settings(self, values: dict[str, Any]) -> LiveSettings:
        return live_settings(values, self._profiles, self._label_set)

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Accept live parameters from the next frame on; refuse the others while active."""
        values = self._declared.values()
        for parameter in parameters:
            spec = self._declared.spec(parameter.name)
            if spec is None:
                continue  # use_sim_time and the like are rclpy's own
            if self._active and not spec.live:
                return SetParametersResult(
                    successful=False,
                    reason=f"{parameter.name} cannot change while the node is active; deactivate, "
                    "clean up and configure it again",
                )
            values[parameter.name] = parameter.value
        try:
            names = camera_names(values)
            live = self._live_settings(values)
            # Here and not after it was set, which Humble tells nobody.
            self._declared.declare_cameras(names)
        except CamsegError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._pipeline is not None:
            self._pipeline.apply(live)  # as a whole: the worker reads the old or the new
        return SetParametersResult(successful=True)

    # ---- health --------------------------------------------------------------------------------

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Drop what is under way, and forget what was measured."""
        if self._pipeline is not None:
            self._pipeline.reset()
        response.success = self._pipeline is not None
        response.message = "reset" if response.success else "the node is not configured"
        return response

    def _watch(self) -> None:
        if self._active and self._pipeline is not None and self._pipeline.check():
            self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        name, pipeline = self.get_fully_qualified_name(), self._pipeline
        if pipeline is None:
            entries = [StatusEntry(name, Condition(Level.OK, "not configured"), {})]
        else:
            own = StatusEntry(name, pipeline.condition(self._active), pipeline.values())
            entries = [own, *pipeline.camera_entries(name)]
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostics_message(entries, stamp))

    def say_last_words(self) -> None:
        """Tell why the process ends and bring the cameras into the safe state, without waiting."""
        self.get_logger().error(f"{self.failure}; this process ends with status {DEVICE_LOST}")
        if self._pipeline is None:
            return
        self._pipeline.enter_safe_state()
        self._publish_diagnostics()
        limit = Duration(seconds=LAST_WORDS_LIMIT_S / (1 + len(self._pipeline.ports)))
        self._diagnostics.wait_for_all_acked(limit)
        for port in self._pipeline.ports.values():
            port.wait_until_sent(limit)

    def _end_at_once(self, reason: str) -> None:
        """End the process from another thread, while this one hangs."""
        self.get_logger().error(f"{reason}; this process ends with status {DEVICE_LOST}")
        sys.stderr.flush()
        os._exit(DEVICE_LOST)


def _autostart(node: SegmentNode) -> bool:
    """Configure and activate; false if the node could not, or is to end."""
    success = TransitionCallbackReturn.SUCCESS
    return (
        node.trigger_configure() == success
        and not node.stop_requested.is_set()
        and node.trigger_activate() == success
    )


def _spin(node: SegmentNode) -> None:
    """Serve until the end."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not node.stop_requested.is_set():
        executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
        _end_if_lost(node)
    node.close()
    _end_if_lost(node)
    executor.shutdown()


def _end_if_lost(node: SegmentNode) -> None:
    """End the process if the device is lost: the worker may never return, nor an orderly exit."""
    if node.failure is not None:
        node.say_last_words()
        sys.stderr.flush()
        os._exit(DEVICE_LOST)


def main(arguments: list[str] | None = None) -> int:
    """Run the node until Ctrl-C, SIGTERM or a lifecycle shutdown; gives the exit status."""
    arguments = sys.argv if arguments is None else [NODE_NAME, *arguments]
    use_large_images()
    try:
        leftover = remove_ros_args(arguments)[1:]
        # rclpy's own handlers would close the context before the last counts are published.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except (RCLError, UnknownROSArgsError) as error:
        print(f"{NODE_NAME}: {str(error).partition(', at ')[0]}", file=sys.stderr)
        return BAD_INPUT
    if leftover:
        print(
            f"{NODE_NAME}: unknown argument {leftover[0]!r}; usage: {NODE_NAME} --ros-args "
            "[--params-file FILE] [-p NAME:=VALUE ...]",
            file=sys.stderr,
        )
        rclpy.shutdown()
        return BAD_INPUT
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        node = SegmentNode(stop)
    except (
        CamsegError,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    ) as error:
        print(f"{NODE_NAME}: {error}", file=sys.stderr)
        rclpy.shutdown()
        return BAD_INPUT
    try:
        if node.get_parameter("autostart").value and not _autostart(node):
            _end_if_lost(node)
            return 0 if stop.is_set() else node.start_failure
        _spin(node)
    finally:
        node.close()
        node.destroy_node()
        rclpy.shutdown()
        # Python puts the default handlers back while it ends: a second Ctrl-C would then kill it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
