# SPDX-License-Identifier: Apache-2.0
"""A process's view of the node in another one: its lifecycle, its diagnostics, waiting for it."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from camseg_core.errors import CamsegError
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.node_process import END_LIMIT_S

START_LIMIT_S = 300.0
DISCOVERY_LIMIT_S = 60.0
DRAIN_LIMIT_S = 120.0
CALL_LIMIT_S = 2.0
POLL_PERIOD_S = 0.02


@contextmanager
def ros_context() -> Iterator[Context]:
    """Return a context of its own, without rclpy's signal handlers."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield context
    finally:
        rclpy.shutdown(context=context)


class NodeClient:
    """An rclpy node with an executor thread of its own; `close` it.

    Attributes:
        node: for publishers and subscriptions; its callbacks run in the executor's thread.
        changed: notify it, held, where a callback changes what somebody may wait for.
        camera_values: the node's last diagnostics of each camera.
        node_values: its last diagnostics of itself.
    """

    def __init__(
        self,
        context: Context,
        name: str,
        cameras: Sequence[str] = (),
        *,
        use_global_arguments: bool = False,
    ) -> None:
        """Start; ``cameras`` are the node's, and may be set in `camera_values` later."""
        self.node = Node(name, context=context, use_global_arguments=use_global_arguments)
        self.changed = threading.Condition()
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
        """End the thread and the node; a second time is no harm."""
        if self._is_closed:
            return
        self._is_closed = True
        self._thread.stop()
        self.node.destroy_node()

    def wait(self, done: Callable[[], bool], limit_s: float, what: str) -> None:
        """Wait for a condition that a callback brings about.

        Raises:
            CamsegError: it did not come within ``limit_s``.
        """
        with self.changed:
            if not self.changed.wait_for(done, limit_s):
                raise CamsegError(f"waited {limit_s:.0f} s for {what} in vain")

    def poll(self, done: Callable[[], bool], limit_s: float, what: str | None) -> bool:
        """Wait for a condition that nobody notifies of; tells whether it came.

        Raises:
            CamsegError: it did not come within ``limit_s``, unless ``what`` is None.
        """
        deadline = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > deadline:
                if what is not None:
                    raise CamsegError(f"waited {limit_s:.0f} s for {what} in vain")
                return False
            time.sleep(POLL_PERIOD_S)
        return True

    def wait_until_active(
        self, process: subprocess.Popen[bytes], is_heard: Callable[[], bool]
    ) -> None:
        """Wait until the node is active and ``is_heard``, i.e. listens to what is published.

        Raises:
            CamsegError: it ended, or took too long.
        """
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            if process.poll() is not None:
                raise CamsegError(f"segment_node ended with status {process.returncode}")
            if time.monotonic() > deadline:
                raise CamsegError(f"segment_node was not active within {START_LIMIT_S:.0f} s")
            if not self._get_state.wait_for_service(timeout_sec=0.5):
                continue
            state = self._call(self._get_state, GetState.Request(), CALL_LIMIT_S)
            is_active = state is not None and state.current_state.id == State.PRIMARY_STATE_ACTIVE
            if is_active and is_heard():
                return

    def wait_until_matched(self, outputs: Sequence[str]) -> None:
        """Wait until the node, by its own word, has subscribers of some outputs of all cameras.

        Raises:
            CamsegError: it did not within a minute.
        """
        self.wait(
            lambda: all(
                values.get(f"subscribers_{output}", "0") != "0"
                for values in self.camera_values.values()
                for output in outputs
            ),
            DISCOVERY_LIMIT_S,
            "the node to see us listen",
        )

    def wait_until_idle(self) -> None:
        """Wait for diagnostics, newer than this call, of a node without frames.

        Raises:
            CamsegError: they did not come in time.
        """
        with self.changed:
            self.node_values = {}
            self.wait(self._node_is_empty, DRAIN_LIMIT_S, "the node to finish its frames")

    def end_node(self, process: subprocess.Popen[bytes]) -> int:
        """Deactivate the node, read its last diagnostics, shut it down; gives its exit status.

        Raises:
            CamsegError: it refused, or did not end.
        """
        response = self._call(
            self._change_state, _change_request(Transition.TRANSITION_DEACTIVATE), DRAIN_LIMIT_S
        )
        if response is None or not response.success:
            raise CamsegError("segment_node refused to be deactivated")
        self.wait_until_idle()
        # Not waited for: the process may be gone before its answer leaves.
        self._change_state.call_async(_change_request(Transition.TRANSITION_INACTIVE_SHUTDOWN))
        try:
            return process.wait(timeout=END_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise CamsegError(f"segment_node did not end within {END_LIMIT_S:.0f} s") from error

    def _node_is_empty(self) -> bool:
        values = self.node_values
        return bool(values) and values["frames_waiting"] == values["frames_in_progress"] == "0"

    def _call(self, client: Any, request: Any, limit_s: float) -> Any:
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        return future.result() if done.wait(limit_s) else None

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self.changed:
            for status in message.status:
                values = {entry.key: entry.value for entry in status.values}
                node, _, camera = status.name.partition(": ")
                if not node.endswith(NODE_NAME):
                    continue
                if camera in self.camera_values:
                    self.camera_values[camera] = values
                elif not camera:
                    self.node_values = values
            self.changed.notify_all()


def frame_counts(values: dict[str, str]) -> dict[str, int]:
    """Read a camera's frames in, out, dropped and refused from its diagnostics."""
    return {
        key.removeprefix("frames_"): int(value)
        for key, value in values.items()
        if key.startswith("frames_") and value.isdecimal()
    }


def _change_request(transition: int) -> ChangeState.Request:
    request = ChangeState.Request()
    request.transition.id = transition
    return request


class SpinningThread:
    """Spins an executor from `start` to `stop`."""

    def __init__(self, executor: Any, name: str) -> None:
        """Take the executor, with its nodes."""
        self._executor = executor
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._spin, name=name)

    def start(self) -> None:
        """Begin to serve callbacks."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it was started, and shut the executor down."""
        self._is_over.set()
        self._executor.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._executor.shutdown()

    def _spin(self) -> None:
        while not self._is_over.is_set():
            self._executor.spin_once(timeout_sec=1.0)
