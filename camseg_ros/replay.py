# SPDX-License-Identifier: Apache-2.0
"""Live replay: play frames over DDS to the real node in its own process, collect what comes out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from camseg_core.errors import CamsegError
from camseg_ros.conversions import array_from_image_message, image_message, stamp_ns
from camseg_ros.parameters import NODE_NAME, OUTPUT_ENCODINGS, PARAMETERS

UInt8 = NDArray[np.uint8]

CAMERA = "camera"
IMAGE_TOPIC = "image"
FRAME_ID = "camera_optical_frame"
START_LIMIT_S = 300.0
DISCOVERY_LIMIT_S = 60.0
DRAIN_LIMIT_S = 120.0
ARRIVAL_LIMIT_S = 10.0


@dataclass
class Received:
    """What came back for one stamp; pictures uint8 [H, W] or [H, W, 3]."""

    pictures: dict[str, UInt8] = field(default_factory=dict)
    latency_ns: int | None = None


@dataclass(frozen=True)
class ReplayResult:
    """What a live replay saw.

    Attributes:
        published: stamps of the frames played, ns, in order.
        masks: stamps of the masks received, ns, in order of arrival, repeats included.
        received: per stamp, the pictures and the latency from publishing to the mask's arrival.
        node_values: the node's last diagnostics.
        exit_status: of the node's process.
    """

    published: list[int]
    masks: list[int]
    received: dict[int, Received]
    node_values: dict[str, str]
    exit_status: int

    def latency_percentile_ms(self, percent: float) -> float:
        """Give a percentile of the latency in milliseconds, not-a-number without masks."""
        latencies_ns = [
            item.latency_ns for item in self.received.values() if item.latency_ns is not None
        ]
        return float(np.percentile(latencies_ns, percent)) / 1e6 if latencies_ns else float("nan")

    def problems(self) -> list[str]:
        """List what breaks the node's promises; empty if all held."""
        count = {
            key.removeprefix("frames_"): int(value)
            for key, value in self.node_values.items()
            if key.startswith("frames_")
        }
        problems = []
        if not self.masks:
            problems.append("no mask came back")
        if len(set(self.masks)) != len(self.masks):
            problems.append("a stamp came back twice")
        if not set(self.masks) <= set(self.published):
            problems.append("a mask carries a stamp that no input frame had")
        if not count:
            problems.append("the node sent no diagnostics")
        elif count["in"] != count["out"] + count["dropped"] + count["refused"]:
            problems.append(f"in is not out + dropped + refused: {count}")
        elif count["out"] < len(self.masks):
            problems.append(f"the node counts {count['out']} out, {len(self.masks)} arrived")
        if self.exit_status != 0:
            problems.append(f"the node exited with status {self.exit_status}")
        return problems


def replay_live(
    frames: Iterable[UInt8],
    *,
    rate_hz: float,
    parameters: Mapping[str, bool | int | float | str],
    progress: Callable[[], object] = lambda: None,
) -> ReplayResult:
    """Play RGB frames uint8 [H, W, 3] at ``rate_hz`` through a node started for it.

    The node runs in its own process with ``parameters`` set and is shut down through its lifecycle
    at the end. ``progress`` is called once per frame played.

    Raises:
        CamsegError: the node did not start, or did not end.
    """
    parameters = {**parameters, "image_topic": IMAGE_TOPIC, "camera": CAMERA}
    with _context() as context, node_process(parameters) as process:
        player = _Player(context)
        try:
            player.wait_until_active(process)
            player.wait(player.outputs_are_matched, DISCOVERY_LIMIT_S, "the node to see us listen")
            player.play(frames, rate_hz, progress)
            player.drain()
            player.change_state(Transition.TRANSITION_DEACTIVATE)
            player.wait_until_idle()
            player.ask_to_shut_down()
            exit_status = process.wait(timeout=DRAIN_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise CamsegError(f"segment_node did not end within {DRAIN_LIMIT_S:.0f} s") from error
        finally:
            player.close()
    return ReplayResult(
        player.published, player.masks, player.received, player.node_values, exit_status
    )


@contextmanager
def _context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield context
    finally:
        rclpy.shutdown(context=context)


@contextmanager
def node_process(
    parameters: Mapping[str, bool | int | float | str],
) -> Iterator[subprocess.Popen[bytes]]:
    """Run segment_node as users do, with a params file; interrupt it at the end if it still runs.

    Raises:
        CamsegError: a parameter is none of the node's.
    """
    unknown = set(parameters) - {spec.name for spec in PARAMETERS}
    if unknown:
        raise CamsegError(f"segment_node has no parameter {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="camseg_") as folder:
        params_file = Path(folder) / "params.yaml"
        lines = [f"    {name}: {json.dumps(value)}" for name, value in parameters.items()]
        params_file.write_text("\n".join(["/**:", "  ros__parameters:", *lines, ""]))
        arguments = ["--ros-args"] + (["--params-file", str(params_file)] if lines else [])
        process = subprocess.Popen([sys.executable, "-m", "camseg_ros.segment_node", *arguments])
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(timeout=DRAIN_LIMIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class _Player:
    """Publishes frames and collects outputs, with its own executor thread."""

    def __init__(self, context: Context) -> None:
        self.published: list[int] = []
        self.masks: list[int] = []
        self.received: dict[int, Received] = {}
        self.node_values: dict[str, str] = {}
        self._sent_ns: dict[int, int] = {}
        self._changed = threading.Condition()
        self._node = Node("camseg_player", context=context)
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._publisher = self._node.create_publisher(Image, IMAGE_TOPIC, best_effort)
        for output in OUTPUT_ENCODINGS:
            self._node.create_subscription(
                Image,
                f"{NODE_NAME}/{CAMERA}/{output}",
                lambda message, output=output: self._on_picture(output, message),
                QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE),
            )
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._get_state = self._node.create_client(GetState, f"{NODE_NAME}/get_state")
        self._change_state = self._node.create_client(ChangeState, f"{NODE_NAME}/change_state")
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, name="player")
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()

    def wait(self, done: Callable[[], bool], limit_s: float, what: str) -> None:
        """Wait for a condition that a callback brings about.

        Raises:
            CamsegError: it did not come within ``limit_s``.
        """
        with self._changed:
            if not self._changed.wait_for(done, limit_s):
                raise CamsegError(f"waited {limit_s:.0f} s for {what} in vain")

    def outputs_are_matched(self) -> bool:
        """True when the node, by its own word, has us as a subscriber of every output."""
        return all(
            self.node_values.get(f"subscribers_{output}", "0") != "0" for output in OUTPUT_ENCODINGS
        )

    def wait_until_active(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the node is active and listens to us.

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
            state = self._call(self._get_state, GetState.Request(), 2.0)
            if (
                state is not None
                and state.current_state.id == State.PRIMARY_STATE_ACTIVE
                and self._publisher.get_subscription_count() > 0
            ):
                return

    def play(self, frames: Iterable[UInt8], rate_hz: float, progress: Callable[[], object]) -> None:
        """Publish at the rate, each frame at its time; stamps are its times since the epoch."""
        start_ns, epoch_ns = time.monotonic_ns(), time.time_ns()
        for index, image in enumerate(frames):
            due_ns = int(index * 1e9 / rate_hz)
            stamp = epoch_ns + due_ns
            header = Header(frame_id=FRAME_ID)
            header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
            message = image_message(image, "rgb8", header)
            delay_s = (start_ns + due_ns - time.monotonic_ns()) / 1e9
            if delay_s > 0:
                time.sleep(delay_s)  # the camera's clock, not a guess at somebody's readiness
            with self._changed:
                self.published.append(stamp)
                self._sent_ns[stamp] = time.monotonic_ns()
            self._publisher.publish(message)
            progress()

    def drain(self) -> None:
        """Wait until the node has nothing left to do, and a little for its last masks."""
        # Two diagnostics: the first may have left the node before the last frame reached it.
        self.wait_until_idle()
        self.wait_until_idle()
        with self._changed:
            self._changed.wait_for(
                lambda: int(self.node_values["frames_out"]) <= len(self.masks), ARRIVAL_LIMIT_S
            )

    def wait_until_idle(self) -> None:
        """Wait for diagnostics, newer than this call, of a node without frames.

        Raises:
            CamsegError: they did not come in time.
        """
        with self._changed:
            self.node_values = {}
            self.wait(self.node_is_empty, DRAIN_LIMIT_S, "the node to finish its frames")

    def ask_to_shut_down(self) -> None:
        """Ask for the end; the process may be gone before its answer leaves."""
        self._change_state.call_async(_change_request(Transition.TRANSITION_INACTIVE_SHUTDOWN))

    def node_is_empty(self) -> bool:
        values = self.node_values
        return bool(values) and values["frames_waiting"] == values["frames_in_progress"] == "0"

    def change_state(self, transition: int) -> None:
        response = self._call(self._change_state, _change_request(transition), DRAIN_LIMIT_S)
        if response is None or not response.success:
            raise CamsegError(f"segment_node refused lifecycle transition {transition}")

    def _call(self, client: Any, request: Any, limit_s: float) -> Any:
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        return future.result() if done.wait(limit_s) else None

    def _on_picture(self, output: str, message: Image) -> None:
        arrived_ns = time.monotonic_ns()
        stamp = stamp_ns(message.header)
        with self._changed:
            item = self.received.setdefault(stamp, Received())
            item.pictures[output] = array_from_image_message(message)
            if output == "mask":
                self.masks.append(stamp)
                if stamp in self._sent_ns:
                    item.latency_ns = arrived_ns - self._sent_ns[stamp]
            self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            for status in message.status:
                if status.name.endswith(NODE_NAME):
                    self.node_values = {entry.key: entry.value for entry in status.values}
            self._changed.notify_all()


def _change_request(transition: int) -> ChangeState.Request:
    request = ChangeState.Request()
    request.transition.id = transition
    return request
