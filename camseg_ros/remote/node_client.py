# SPDX-License-Identifier: Apache-2.0
"""The real node in its own process, as users start it, and a client that talks to it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from camseg_core.errors import CamsegError, did_you_mean
from camseg_core.system.processes import termination_unwinds
from camseg_ros.node.parameters import NODE_NAME, PARAMETERS, find_parameter
from camseg_ros.remote.traffic import CameraTraffic, frame_counts

START_LIMIT_S = 300.0
DISCOVERY_LIMIT_S = 60.0
DRAIN_LIMIT_S = 120.0
ARRIVAL_LIMIT_S = 10.0
CALL_LIMIT_S = 2.0
END_LIMIT_S = 120.0
POLL_PERIOD_S = 0.02
NODE_PROGRAM = ("-c", "import sys, camseg_ros.programs as run; sys.exit(run.segment_node())")

NodeParameters = Mapping[str, bool | int | float | str | list[str]]


@contextmanager
def ros_context() -> Iterator[Context]:
    """Return a new context, without rclpy's signal handlers, and shut it down afterwards."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield context
    finally:
        rclpy.shutdown(context=context)


@contextmanager
def node_process(
    parameters: NodeParameters, program: Sequence[str] = NODE_PROGRAM
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``segment_node`` with a params file, and interrupt it at the end if it still runs.

    Meanwhile SIGTERM ends this process by `SystemExit`, so that the node is not left behind.

    Args:
        parameters: parameters of the node, ``<camera>.<name>`` for those of a camera.
        program: arguments of Python that start the node.

    Raises:
        CamsegError: the node has no parameter of that name.
    """
    for name in parameters:
        if find_parameter(name) is None:
            hint = did_you_mean(name, [spec.name for spec in PARAMETERS])
            raise CamsegError(f"{NODE_NAME} has no parameter {name}; {hint or 'see docs/node.md'}")
    with tempfile.TemporaryDirectory(prefix="camseg_") as folder:
        params_file = Path(folder) / "params.yaml"
        lines = [f"    {name}: {json.dumps(value)}" for name, value in parameters.items()]
        params_file.write_text("\n".join(["/**:", "  ros__parameters:", *lines, ""]))
        arguments = ["--ros-args"] + (["--params-file", str(params_file)] if lines else [])
        process = subprocess.Popen([sys.executable, *program, *arguments])
        try:
            with termination_unwinds():
                yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(timeout=END_LIMIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class NodeClient:
    """A ROS node of this process, with an executor thread, that talks to ``segment_node``.

    Attributes:
        node: the ROS node, for publishers and subscriptions; their callbacks run in the thread.
        camera_values: the last diagnostics of each of the node's cameras that are watched.
        node_values: the last diagnostics of the node itself.
    """

    def __init__(self, context: Context, name: str, cameras: Sequence[str] = ()) -> None:
        """Create the client; `start` serves its callbacks, and `close` ends it.

        Args:
            context: the context of ROS.
            name: name of the ROS node.
            cameras: the cameras whose diagnostics are kept.
        """
        self.node = Node(name, context=context)
        self.camera_values: dict[str, dict[str, str]] = {camera: {} for camera in cameras}
        self.node_values: dict[str, str] = {}
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        # Made early: a service that is seen may not see its client yet, and its answer is lost.
        self._get_state = self.node.create_client(GetState, f"/{NODE_NAME}/get_state")
        self._change_state = self.node.create_client(ChangeState, f"/{NODE_NAME}/change_state")
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(self.node)
        self._thread = SpinningThread(executor, name)
        self._is_closed = False

    def start(self) -> None:
        """Begin to serve callbacks."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and the ROS node; closing twice does no harm."""
        if self._is_closed:
            return
        self._is_closed = True
        self._thread.stop()
        self.node.destroy_node()

    def wait(self, done: Callable[[], bool], limit_s: float, what: str = "") -> bool:
        """Wait for a condition, and return whether it came.

        Raises:
            CamsegError: it did not come within ``limit_s``, and ``what`` says what was waited for.
        """
        deadline = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > deadline:
                if what:
                    raise CamsegError(f"waited {limit_s:.0f} s for {what} in vain")
                return False
            time.sleep(POLL_PERIOD_S)
        return True

    def wait_until_active(
        self, process: subprocess.Popen[bytes], is_heard: Callable[[], bool]
    ) -> None:
        """Wait until the node is active and ``is_heard``: it listens to what is published.

        Raises:
            CamsegError: the node ended, or took too long.
        """

        def is_active() -> bool:
            if process.poll() is not None:
                raise CamsegError(f"segment_node ended with status {process.returncode}")
            if not self._get_state.service_is_ready():
                return False
            state = self._call(self._get_state, GetState.Request(), CALL_LIMIT_S)
            return state is not None and state.current_state.id == State.PRIMARY_STATE_ACTIVE

        self.wait(lambda: is_active() and is_heard(), START_LIMIT_S, "segment_node to be active")

    def wait_until_matched(self, outputs: Sequence[str]) -> None:
        """Wait until `is_matched`.

        Raises:
            CamsegError: it was not within a minute.
        """
        self.wait(lambda: self.is_matched(outputs), DISCOVERY_LIMIT_S, "the node to see us listen")

    def is_matched(self, outputs: Sequence[str]) -> bool:
        """Return whether the node reports subscribers of these outputs of all its cameras."""
        return all(
            values.get(f"subscribers_{output}", "0") != "0"
            for values in self.camera_values.values()
            for output in outputs
        )

    def wait_until_idle(self) -> None:
        """Wait for diagnostics, newer than this call, of a node without frames.

        Raises:
            CamsegError: they did not come in time.
        """

        def is_empty() -> bool:
            found = self.node_values
            return bool(found) and found["frames_waiting"] == found["frames_in_progress"] == "0"

        self.node_values = {}
        self.wait(is_empty, DRAIN_LIMIT_S, "the node to finish its frames")

    def wait_for_last_masks(self, traffic: Mapping[str, CameraTraffic]) -> None:
        """Wait until the node has nothing left to do, and a little for its last masks.

        Raises:
            CamsegError: the node did not finish its frames in time.
        """
        # Two diagnostics: the first may have left the node before the last frame reached it.
        self.wait_until_idle()
        self.wait_until_idle()

        def everything_came() -> bool:
            return all(
                frame_counts(values).get("out", 0) <= len(traffic[name].masks)
                for name, values in self.camera_values.items()
            )

        self.wait(everything_came, ARRIVAL_LIMIT_S)

    def end_node(self, process: subprocess.Popen[bytes]) -> int:
        """Deactivate the node, read its last diagnostics, shut it down, and return its exit status.

        Raises:
            CamsegError: it refused, or did not end.
        """
        deactivate = Transition(id=Transition.TRANSITION_DEACTIVATE)
        request = ChangeState.Request(transition=deactivate)
        response = self._call(self._change_state, request, DRAIN_LIMIT_S)
        if response is None or not response.success:
            raise CamsegError("segment_node refused to be deactivated")
        self.wait_until_idle()
        # Not waited for: the process may be gone before its answer leaves.
        shutdown = Transition(id=Transition.TRANSITION_INACTIVE_SHUTDOWN)
        self._change_state.call_async(ChangeState.Request(transition=shutdown))
        try:
            return process.wait(timeout=END_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise CamsegError(f"segment_node did not end within {END_LIMIT_S:.0f} s") from error

    def _call(self, client: Any, request: Any, limit_s: float) -> Any:
        future = client.call_async(request)
        return future.result() if self.wait(future.done, limit_s) else None

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        found = {}
        for status in message.status:
            node, _, camera = status.name.partition(": ")
            if node.endswith(NODE_NAME):
                found[camera] = {entry.key: entry.value for entry in status.values}
        for camera in self.camera_values.keys() & found.keys():
            self.camera_values[camera] = found[camera]
        # Last: who waits for these finds those of the cameras, too.
        self.node_values = found.get("", self.node_values)


class SpinningThread:
    """A thread that spins an executor from `start` to `stop`."""

    def __init__(self, executor: Any, name: str) -> None:
        """Take the executor, with its nodes."""
        self._executor = executor
        self._over = Future()  # wakes the executor at once, which its `wake` alone does not
        self._thread = threading.Thread(
            target=executor.spin_until_future_complete, args=(self._over,), name=name
        )

    def start(self) -> None:
        """Begin to serve callbacks."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it was started, and shut the executor down."""
        self._over.set_result(None)
        if self._thread.ident is not None:
            self._thread.join()
        self._executor.shutdown()
