# SPDX-License-Identifier: Apache-2.0
"""A user of the node in this process: publishes cameras, listens, asks, over real DDS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from camseg_ros.remote.node_client import SpinningThread

NODE = "segment_node"
LIMIT_S = 60.0
SERVICES = {
    "get_state": GetState,
    "change_state": ChangeState,
    "set_parameters": SetParameters,
    "reset": Trigger,
}


class NodeUser:
    """Whatever another process does with the node; every wait has a limit."""

    def __init__(self, context: Context) -> None:
        self.messages: dict[str, list[Any]] = {}
        self.statuses: dict[str, list[Any]] = {}
        self._changed = threading.Condition()
        self.node = Node("user", context=context, use_global_arguments=False)
        # Made early: a service that is seen may not see its client yet, and its answer is lost.
        self._clients = {
            name: self.node.create_client(service_type, f"{NODE}/{name}")
            for name, service_type in SERVICES.items()
        }
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(self.node)
        self._thread = SpinningThread(executor, "user")
        self._thread.start()

    def close(self) -> None:
        self._thread.stop()
        self.node.destroy_node()

    def camera(self, message_type: type, topic: str, qos: QoSProfile | int = 1) -> Any:
        return self.node.create_publisher(message_type, topic, qos)

    def listen(self, message_type: type, topic: str, qos: QoSProfile | int = 10) -> list[Any]:
        """Collect what comes on ``NODE/topic``, and return the growing list."""
        received: list[Any] = []

        def on_message(message: Any) -> None:
            with self._changed:
                received.append(message)
                self._changed.notify_all()

        self.node.create_subscription(message_type, f"{NODE}/{topic}", on_message, qos)
        return received

    def wait(self, done: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
        """Wait until ``done``, called after every message, returns something; return that."""
        with self._changed:
            deadline = time.monotonic() + limit_s
            while not (result := done()):
                assert time.monotonic() < deadline, "waited in vain"
                # A count of subscribers changes without a message: looked at now and then.
                self._changed.wait(0.02)
            return result

    def call(self, name: str, request: Any, limit_s: float = LIMIT_S) -> Any:
        """Call a service of the node, and return its answer; None if none comes in time."""
        client = self._clients[name]
        assert client.wait_for_service(timeout_sec=LIMIT_S)
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        return future.result() if done.wait(limit_s) else None

    def wait_for_state(self, state: int) -> None:
        """Ask until the node answers that it is in ``state``."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            answer = self.call("get_state", GetState.Request(), limit_s=2.0)
            if answer is not None and answer.current_state.id == state:
                return
            assert time.monotonic() < deadline, "the node never came into that state"

    def set_parameters(self, **values: Any) -> None:
        """Set parameters of the node, in this order; every one must be accepted."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        answer = self.call("set_parameters", SetParameters.Request(parameters=parameters))
        assert [result.reason for result in answer.results] == [""] * len(values)

    def transition(self, *names: str) -> None:
        for name in names:
            request = ChangeState.Request()
            request.transition.label = name
            assert self.call("change_state", request).success, name

    def status(self, camera: str = "") -> Any:
        """Return the last status of the node or of a camera; None before the first one."""
        found = self.statuses.get(camera)
        return found[-1] if found else None

    def values(self, camera: str = "") -> dict[str, str]:
        status = self.status(camera)
        return {entry.key: entry.value for entry in status.values} if status else {}

    def wait_for_idle(self) -> dict[str, str]:
        """Wait for new diagnostics of a node without frames, and return its values."""
        seen = len(self.statuses.get("", []))

        def is_idle() -> bool:
            values = self.values()
            return (
                len(self.statuses.get("", [])) > seen + 1
                and values.get("frames_waiting") == values.get("frames_in_progress") == "0"
            )

        self.wait(is_idle)
        return self.values()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            for status in message.status:
                node, _, camera = status.name.partition(": ")
                if node.endswith(NODE):
                    self.statuses.setdefault(camera, []).append(status)
            self._changed.notify_all()


@contextmanager
def node_user() -> Iterator[NodeUser]:
    context = Context()
    rclpy.init(context=context)
    user = NodeUser(context)
    try:
        yield user
    finally:
        user.close()
        rclpy.shutdown(context=context)
