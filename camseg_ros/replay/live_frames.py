# SPDX-License-Identifier: Apache-2.0
"""Live replay: play frames over DDS to the real node in its own process, collect what comes out."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from camseg_ros.node_process import END_LIMIT_S, NodeParameters, node_process
from camseg_ros.outputs import OUTPUTS
from camseg_ros.parameters import NODE_NAME

UInt8 = NDArray[np.uint8]

CAMERA = "camera"
FRAME_ID = "camera_optical_frame"
PICTURES = ("mask", "confidence", "overlay")
START_LIMIT_S = 300.0
DISCOVERY_LIMIT_S = 60.0
DRAIN_LIMIT_S = 120.0
ARRIVAL_LIMIT_S = 10.0


@dataclass
class Received:
    """What came back for one stamp; pictures uint8 [H, W] or [H, W, 3]."""

    pictures: dict[str, UInt8] = field(default_factory=dict)
    latency_ns: int | None = None


@dataclass
class CameraReplay:
    """What came back for one camera.

    Attributes:
        published: stamps of the frames played, ns, in order.
        masks: stamps of the masks received, ns, in order of arrival, repeats included.
        received: per stamp, the pictures and the latency from publishing to the mask's arrival.
        values: the node's last diagnostics of this camera.
    """

    published: list[int] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)
    received: dict[int, Received] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def latencies_ms(self) -> NDArray[np.float64]:
        """Give all latencies in milliseconds."""
        latencies_ns = [item.latency_ns for item in self.received.values() if item.latency_ns]
        return np.array(latencies_ns, np.float64) / 1e6

    def problems(self) -> list[str]:
        """List what breaks the node's promises; empty if all held."""
        count = {
            key.removeprefix("frames_"): int(value)
            for key, value in self.values.items()
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
        return problems


@dataclass(frozen=True)
class ReplayResult:
    """What a live replay saw.

    Attributes:
        cameras: what came back for each camera.
        values: the node's last diagnostics of itself.
        exit_status: of the node's process.
    """

    cameras: dict[str, CameraReplay]
    values: dict[str, str]
    exit_status: int

    @property
    def only(self) -> CameraReplay:
        """What came back where there is one camera."""
        (camera,) = self.cameras.values()
        return camera

    def problems(self) -> list[str]:
        """List what breaks the node's promises, per camera; empty if all held."""
        problems = [
            f"{name}: {problem}"
            for name, camera in self.cameras.items()
            for problem in camera.problems()
        ]
        if self.exit_status != 0:
            problems.append(f"the node exited with status {self.exit_status}")
        return problems


def latency_percentile_ms(latencies_ms: NDArray[np.float64], percent: float) -> float:
    """Give a percentile, not-a-number without masks."""
    return float(np.percentile(latencies_ms, percent)) if latencies_ms.size else float("nan")


def replay_live(
    frames: Iterable[UInt8],
    *,
    rate_hz: float,
    parameters: NodeParameters,
    cameras: Sequence[str] = (CAMERA,),
    keep: Sequence[str] = PICTURES,
    progress: Callable[[], object] = lambda: None,
    observe: Callable[[int], object] = lambda pid: None,
) -> ReplayResult:
    """Play RGB frames uint8 [H, W, 3] at ``rate_hz`` through a node started for it.

    The node runs in its own process with ``parameters`` set and is shut down through its lifecycle
    at the end. Every camera gets every frame.

    Args:
        frames: to play.
        rate_hz: of each camera.
        parameters: of the node, without cameras and image topics.
        cameras: their names.
        keep: outputs to listen to, ``mask`` among them; with ``mask`` alone no picture is kept.
        progress: called once per frame played.
        observe: called with the node's process id when it is active and seen, before the first
            frame.

    Raises:
        CamsegError: the node did not start, or did not end.
    """
    parameters = {
        **parameters,
        "cameras": list(cameras),
        **{f"{name}.image_topic": image_topic(name) for name in cameras},
    }
    with _context() as context, node_process(parameters) as process:
        player = _Player(context, cameras, keep)
        try:
            player.wait_until_active(process)
            player.wait(player.outputs_are_matched, DISCOVERY_LIMIT_S, "the node to see us listen")
            observe(process.pid)
            player.play(frames, rate_hz, progress)
            player.drain()
            player.change_state(Transition.TRANSITION_DEACTIVATE)
            player.wait_until_idle()
            player.ask_to_shut_down()
            exit_status = process.wait(timeout=END_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise CamsegError(f"segment_node did not end within {END_LIMIT_S:.0f} s") from error
        finally:
            player.close()
    return ReplayResult(player.cameras, player.node_values, exit_status)


def image_topic(camera: str) -> str:
    """Give the topic on which a camera is played."""
    return f"{camera}/image_raw"


@contextmanager
def _context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield context
    finally:
        rclpy.shutdown(context=context)


class _Player:
    """Publishes frames and collects outputs, with its own executor thread."""

    def __init__(self, context: Context, cameras: Sequence[str], keep: Sequence[str]) -> None:
        self.cameras = {name: CameraReplay() for name in cameras}
        self.node_values: dict[str, str] = {}
        self._keep = keep
        self._sent_ns: dict[int, int] = {}
        self._changed = threading.Condition()
        self._node = Node("camseg_player", context=context)
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._publishers = {
            name: self._node.create_publisher(Image, image_topic(name), best_effort)
            for name in cameras
        }
        for name in cameras:
            for output in keep:
                self._node.create_subscription(
                    Image,
                    f"{NODE_NAME}/{name}/{OUTPUTS[output].topic}",
                    lambda message, name=name, output=output: self._on_picture(
                        name, output, message
                    ),
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
            camera.values.get(f"subscribers_{output}", "0") != "0"
            for camera in self.cameras.values()
            for output in self._keep
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
                and all(item.get_subscription_count() > 0 for item in self._publishers.values())
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
                for camera in self.cameras.values():
                    camera.published.append(stamp)
                self._sent_ns[stamp] = time.monotonic_ns()
            for publisher in self._publishers.values():
                publisher.publish(message)
            progress()

    def drain(self) -> None:
        """Wait until the node has nothing left to do, and a little for its last masks."""
        # Two diagnostics: the first may have left the node before the last frame reached it.
        self.wait_until_idle()
        self.wait_until_idle()
        with self._changed:
            self._changed.wait_for(
                lambda: all(
                    int(camera.values["frames_out"]) <= len(camera.masks)
                    for camera in self.cameras.values()
                ),
                ARRIVAL_LIMIT_S,
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

    def _on_picture(self, name: str, output: str, message: Image) -> None:
        arrived_ns = time.monotonic_ns()
        stamp = stamp_ns(message.header)
        camera = self.cameras[name]
        with self._changed:
            item = camera.received.setdefault(stamp, Received())
            if len(self._keep) > 1:
                item.pictures[output] = array_from_image_message(message)
            if output == "mask":
                camera.masks.append(stamp)
                if stamp in self._sent_ns:
                    item.latency_ns = arrived_ns - self._sent_ns[stamp]
            self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            for status in message.status:
                values = {entry.key: entry.value for entry in status.values}
                node, _, camera = status.name.partition(": ")
                if not node.endswith(NODE_NAME):
                    continue
                if camera in self.cameras:
                    self.cameras[camera].values = values
                elif not camera:
                    self.node_values = values
            self._changed.notify_all()


def _change_request(transition: int) -> ChangeState.Request:
    request = ChangeState.Request()
    request.transition.id = transition
    return request
