# SPDX-License-Identifier: Apache-2.0
"""The node inside this process: lifecycle, parameters, queueing, with a real executor and DDS."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rclpy
import torch
from lifecycle_msgs.srv import GetState
from node_parts import stand_in_for_tf
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    ListParameters,
    SetParameters,
)
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from camseg_core.diffusion.options import V_PROFILES
from camseg_core.errors import BAD_INPUT, DEVICE_LOST, CamsegError
from camseg_core.labels import CITYSCAPES
from camseg_core.segmenter import SamplingOptions, Segmenter
from camseg_core.weights.loading import random_model, save_model
from camseg_ros.messages.images import stamp_ns
from camseg_ros.node.parameters import INFORMATION, PARAMETERS
from camseg_ros.node.segment_node import SegmentNode
from camseg_ros.remote.node_client import SpinningThread

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
LIMIT_S = 30.0
PARAMETERS_OF_ALL = {
    "weights": "random:tiny", "steps": 1, "autostart": False, "warmup_height": 24,
    "warmup_width": 40,
}  # fmt: skip


class Harness:
    """A node spinning in a thread, and a camera and a listener beside it."""

    def __init__(self, **parameters: Any) -> None:
        values = PARAMETERS_OF_ALL | parameters
        arguments = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
        rclpy.init(args=["--ros-args", *arguments, "--log-level", "error"])
        self.node = SegmentNode()
        self.user = rclpy.create_node("user", use_global_arguments=False)
        self.camera = self.user.create_publisher(Image, "camera/image_raw", QoSProfile(depth=10))
        self.outputs: dict[str, list[Image]] = {"mask": [], "overlay": []}
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        user_executor = SingleThreadedExecutor()
        user_executor.add_node(self.user)
        self.threads = [
            SpinningThread(executor, "harness") for executor in (self.executor, user_executor)
        ]
        for thread in self.threads:
            thread.start()

    def call(self, function: Callable[[], Any]) -> Any:
        """Call on the executor's thread, where services call it."""
        task = self.executor.create_task(function)
        self.wait(task.done)
        return task.result()

    def trigger(self, *transitions: str) -> None:
        for transition in transitions:
            result = self.call(getattr(self.node, f"trigger_{transition}"))
            assert result == SUCCESS, transition

    def start(self) -> None:
        self.trigger("configure", "activate")
        self.wait(lambda: self.camera.get_subscription_count() == 1)

    def set(self, **values: Any) -> Any:
        """Set parameters and return the result."""
        changes = [Parameter(name, value=value) for name, value in values.items()]
        return self.node.set_parameters_atomically(changes)

    def publish(self, stamp: int, encoding: str = "rgb8") -> None:
        step = 4 * 40 + 7  # padded, whatever the encoding's bytes per pixel
        header = Header(frame_id="lens")
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
        self.camera.publish(
            Image(header=header, height=24, width=40, step=step, encoding=encoding,
                  data=bytes(24 * step))
        )  # fmt: skip

    def wait(self, done: Callable[[], Any]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not done():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)

    @property
    def pipeline(self) -> Any:
        return self.node.pipeline

    def counts(self) -> Any:
        return self.pipeline.queue.total()

    def listen(self, *outputs: str) -> None:
        """Subscribe, and wait until the node sees it."""
        for name in outputs:
            topic, received = f"segment_node/camera/{name}", self.outputs[name]
            self.user.create_subscription(Image, topic, received.append, QoSProfile(depth=10))
        camera = self.pipeline.cameras["camera"]
        self.wait(lambda: all(camera.subscribers()[output] for output in outputs))

    def close(self) -> None:
        self.call(self.node.close)
        for thread in self.threads:
            thread.stop()
        self.node.destroy_node()
        self.user.destroy_node()
        rclpy.shutdown()


@pytest.fixture
def harness() -> Iterator[Callable[..., Harness]]:
    made: list[Harness] = []

    def make(**parameters: Any) -> Harness:
        made.append(Harness(**parameters))
        return made[0]

    yield make
    for item in made:
        item.close()


class Hold:
    """Makes the model wait to be let go, to look at the node while it infers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.release = threading.Semaphore(0), threading.Semaphore(0)
        self.options: list[SamplingOptions] = []
        self.was_cancelled: list[bool] = []
        self.obeys_cancelled = True
        real = Segmenter.segment_batch

        def segment_batch(model: Segmenter, images: Any, options: Any, cancelled: Any) -> Any:
            self.entered.release()
            assert self.release.acquire(timeout=LIMIT_S)
            self.options.append(options)
            self.was_cancelled.append(cancelled())
            return real(model, images, options, *([cancelled] if self.obeys_cancelled else []))

        monkeypatch.setattr(Segmenter, "segment_batch", segment_batch)


def test_bad_frames_are_refused_counted_and_survived(harness: Callable[..., Harness]) -> None:
    node = harness()
    node.start()
    for count, bad in enumerate(
        (
            Image(height=2, width=4, step=3, encoding="rgb8", data=bytes(6)),
            Image(height=0, width=0, encoding="rgb8"),
            Image(height=1, width=1, step=2, encoding="mono16", data=bytes(2)),
        ),
        start=1,
    ):
        node.camera.publish(bad)
        node.wait(lambda count=count: node.counts().refused == count)
    node.publish(1)
    node.wait(lambda: node.counts().out == 1)
    assert node.counts().received == 4


def test_only_what_is_enabled_and_heard_is_published_at_the_size_that_is_set(
    harness: Callable[..., Harness],
) -> None:
    node = harness()
    node.start()
    node.listen("mask", "overlay")
    assert node.set(outputs=["mask", "confidence"], output_height=12).successful
    node.publish(1)
    node.wait(lambda: node.outputs["mask"])
    assert node.set(outputs=["mask", "overlay"], output_width=10).successful
    node.publish(2)
    node.wait(lambda: len(node.outputs["mask"]) == 2 and node.outputs["overlay"])
    sizes = [(message.height, message.width) for message in node.outputs["mask"]]
    assert sizes == [(12, 20), (12, 10)]
    (overlay,) = node.outputs["overlay"]
    assert (overlay.height, overlay.width, stamp_ns(overlay.header)) == (12, 10, 2)


def test_executor_answers_and_the_newest_frame_wins_while_a_frame_is_inferred(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = harness()
    node.start()
    node.listen("mask")
    held = Hold(monkeypatch)
    node.publish(1)
    assert held.entered.acquire(timeout=LIMIT_S)
    for count, stamp in enumerate((2, 3, 4), start=2):
        node.publish(stamp)
        node.wait(lambda count=count: node.counts().received == count)
    client = node.user.create_client(GetState, "segment_node/get_state")
    assert client.wait_for_service(timeout_sec=LIMIT_S)
    answer = client.call_async(GetState.Request())
    node.wait(answer.done)
    assert answer.result().current_state.label == "active"
    assert node.counts().in_progress == 1
    held.release.release(2)
    node.wait(lambda: len(node.outputs["mask"]) == 2)
    assert [stamp_ns(message.header) for message in node.outputs["mask"]] == [1, 4]
    assert node.counts().dropped == 2


def test_live_parameters_take_effect_on_the_next_frame(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = harness(steps=0)
    node.start()
    held = Hold(monkeypatch)
    held.release.release(3)
    for stamp, changes in enumerate(
        ({}, {"steps": 7, "sampler": "ddpm"}, {"steps": 0, "sampler": "", "profile": "fast"}),
        start=1,
    ):
        assert node.set(**changes).successful
        node.publish(stamp)
        node.wait(lambda stamp=stamp: node.counts().out == stamp)
    first, second, third = held.options
    assert (first, third) == (V_PROFILES["balanced"], V_PROFILES["fast"])  # the weights' own
    assert (second.steps, second.sampler) == (7, "ddpm")


def test_a_parameter_is_refused_with_a_reason_and_changes_nothing(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = harness()
    node.start()
    applied: list[Any] = []
    monkeypatch.setattr(node.pipeline, "apply", applied.append)
    for name, value, reason in [
        ("steps", -1, "out of range"),
        ("steps", 1001, "out of range"),
        ("samples", -1, "out of range"),
        ("profile", "best", "unknown profile 'best'; one of accurate, balanced, fast"),
        ("precision", "float16", "unknown precision 'float16'; one of float32, bfloat16"),
        ("sampler", "euler", "unknown sampler 'euler'; the samplers are ddpm, ddim"),
        ("weights", "elsewhere", "weights cannot change while the node is active"),
        ("camera.image_topic", "elsewhere", "camera.image_topic cannot change while the node is"),
        ("cameras", ["a", "b"], "cameras cannot change while the node is active"),
        ("outputs", ["depth"], "outputs has 'depth'; it is one of mask"),
        ("class_min_confidence", "cat=1", "class_min_confidence names 'cat'"),
        ("class_names", ["cat"], "read-only"),
    ]:
        before = node.node.get_parameter(name).value
        result = node.set(**{name: value})
        assert not result.successful, name
        assert reason in result.reason
        assert node.node.get_parameter(name).value == before
    assert applied == []


def test_what_is_dumped_can_be_loaded_into_the_active_node(harness: Callable[..., Harness]) -> None:
    node = harness(latency_budget_ms=80)
    node.start()

    def ask(kind: Any, name: str, **request: Any) -> Any:
        client = node.user.create_client(kind, f"segment_node/{name}")
        assert client.wait_for_service(timeout_sec=LIMIT_S)
        answer = client.call_async(kind.Request(**request))
        node.wait(answer.done)
        return answer.result()

    def load(**values: Any) -> list[tuple[bool, str]]:
        given = [Parameter(name, value=value) for name, value in values.items()]
        messages = [parameter.to_parameter_msg() for parameter in given]
        answer = ask(SetParameters, "set_parameters", parameters=messages)
        return [(result.successful, result.reason) for result in answer.results]

    names = list(ask(ListParameters, "list_parameters").result.names)
    assert {"use_sim_time", "weights", "class_names", "camera.mounting"} <= set(names)
    found = ask(GetParameters, "get_parameters", names=names).values
    dumped = dict(zip(names, map(parameter_value_to_python, found), strict=True))
    assert dumped["latency_budget_ms"] == 80.0
    assert load(**dumped) == [(True, "")] * len(names)
    assert load(latency_budget_ms=90, step=1) == [
        (True, ""), (False, "unknown parameter step (did you mean 'steps'?)"),
    ]  # fmt: skip
    (value,) = ask(GetParameters, "get_parameters", names=["latency_budget_ms"]).values
    assert (value.type, value.double_value) == (ParameterType.PARAMETER_DOUBLE, 90.0)
    (told,) = ask(DescribeParameters, "describe_parameters", names=["grid_forward_m"]).descriptors
    assert told.floating_point_range[0].to_value == 1000.0


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ({"weights": "/nowhere"}, {"weights": "random:tiny"}),
        ({"device": "tpu"}, {"device": "cpu"}),
        ({"backend": "onnx"}, {"backend": "torch"}),
        ({"camera.transport": "theora"}, {"camera.transport": "auto"}),
    ],
)
def test_configure_fails_on_a_bad_parameter_and_the_node_can_try_again(
    harness: Callable[..., Harness], bad: dict[str, str], good: dict[str, str]
) -> None:
    node = harness(**bad)
    assert node.call(node.node.trigger_configure) == FAILURE
    assert node.set(**good).successful
    node.trigger("configure")


def test_an_error_in_a_transition_is_told_in_one_line_and_the_node_can_try_again(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = harness(**{"camera.image_topic": "'bad topic'"})
    said: list[str] = []

    class Log:
        error = staticmethod(said.append)
        info = warning = staticmethod(lambda _: None)

    monkeypatch.setattr(node.node, "get_logger", Log)
    node.trigger("configure")
    assert node.call(node.node.trigger_activate) == FAILURE
    (line,) = said
    assert line.startswith("cannot activate: camera.image_topic is 'bad topic': failed to resolve")
    assert "\n" not in line
    node.trigger("cleanup")
    assert node.set(**{"camera.image_topic": ""}).successful
    node.start()


@pytest.mark.parametrize("ends_early", [True, False])
def test_a_frame_in_progress_at_deactivation_is_dropped_and_not_published(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch, ends_early: bool
) -> None:
    node = harness()
    node.start()
    node.listen("mask")
    held = Hold(monkeypatch)
    held.obeys_cancelled = ends_early
    node.publish(1)
    assert held.entered.acquire(timeout=LIMIT_S)
    node.publish(2)
    node.wait(lambda: node.counts().waiting == 1)
    node.trigger("deactivate")
    held.release.release()
    node.wait(lambda: node.counts().in_progress == 0)
    counts = node.counts()
    assert (counts.received, counts.out, counts.dropped) == (2, 0, 2)
    assert held.was_cancelled == [True]
    assert node.outputs["mask"] == []


def test_cleanup_gives_back_threads_publishers_and_the_model(
    harness: Callable[..., Harness],
) -> None:
    node = harness()

    def networks() -> int:
        return sum(issubclass(type(item), torch.nn.Module) for item in gc.get_objects())

    gc.collect()
    before = set(threading.enumerate()), list(node.node.publishers), networks()
    gc.disable()  # the model is in reference cycles, and the collector may be long in coming
    try:
        for round_number in (1, 2):
            node.start()
            assert len(set(threading.enumerate()) - before[0]) == 1
            node.publish(round_number)
            node.wait(lambda: node.counts().out == 1)
            node.trigger("deactivate")
            node.wait(lambda: node.camera.get_subscription_count() == 0)
            node.trigger("cleanup")
            assert node.pipeline is None
            assert set(threading.enumerate()) == before[0]
            assert list(node.node.publishers) == before[1]
            assert networks() == before[2]
    finally:
        gc.enable()


def test_a_device_that_computes_something_else_is_refused(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right, wrong = tmp_path / "right.safetensors", tmp_path / "wrong.safetensors"
    save_model(replace(random_model("tiny"), is_random=False), right)
    with safe_open(right, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(right)
    tensors["mask_decoder.to_logits.weight"] *= 1.02  # as if the decoder's last kernel were wrong
    save_file(tensors, wrong, metadata=metadata)
    node = harness(weights=wrong)
    said: list[str] = []

    class Log:
        error = info = staticmethod(said.append)
        warning = staticmethod(lambda _: None)

    monkeypatch.setattr(node.node, "get_logger", Log)
    assert node.call(node.node.trigger_configure) == FAILURE
    (line,) = said
    assert line.startswith("cannot configure: ")
    assert "computes something else than these weights should: in float32 the decoder is" in line
    said.clear()
    assert node.set(weights=str(right)).successful
    node.trigger("configure", "cleanup")
    assert not any("known answer" in line for line in said)
    assert node.set(weights="random:tiny").successful
    node.trigger("configure")
    assert sum("the weights carry no known answer" in line for line in said) == 1


def test_a_configure_that_is_told_to_end_does(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = harness()
    real = Segmenter.segment_batch
    ran: list[int] = []

    def told(self: Segmenter, images: Any, options: Any, cancelled: Callable[[], bool]) -> Any:
        ran.append(len(images))
        node.node.stop_requested.set()
        return real(self, images, options, cancelled)

    monkeypatch.setattr(Segmenter, "segment_batch", told)
    assert node.call(node.node.trigger_configure) == FAILURE
    assert ran == [1]
    assert (node.pipeline, node.node.failure) == (None, None)


LOST = torch.AcceleratorError("CUDA error: unspecified launch failure")


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), DEVICE_LOST, None),
        (MemoryError("no room"), DEVICE_LOST, None),
        (CamsegError("no weights there"), BAD_INPUT, None),
        (KeyError("a fault of the program"), BAD_INPUT, None),
        (LOST, BAD_INPUT, f"the device failed: AcceleratorError: {LOST}"),
    ],
)
def test_a_start_that_failed_tells_whether_another_one_may_help(
    harness: Callable[..., Harness],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    told: str | None,
) -> None:
    node = harness()

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(Segmenter, "load", fail)
    assert node.call(node.node.trigger_configure) == FAILURE
    assert (node.node.start_failure, node.node.failure) == (status, told)


def test_listening_to_tf_begins_with_the_first_grid_and_ends_with_cleanup(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_for_tf(monkeypatch)
    node = harness()

    def tf_topics() -> list[str]:
        return [item.topic_name for item in node.node.subscriptions if "tf" in item.topic_name]

    for round_number in (1, 2):
        node.start()
        node.publish(round_number)
        node.wait(lambda: node.counts().out == 1)
        assert tf_topics() == []
        ground = node.pipeline.cameras["camera"].ground
        info = CameraInfo(width=40, height=24, k=[9.0, 0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 0.0, 1.0])
        for _ in range(2):
            assert ground.message(None, None, info, None) is None
        assert tf_topics() == ["/tf", "/tf_static"]
        node.trigger("deactivate", "cleanup")
        assert tf_topics() == []


def test_cameras_may_change_while_the_node_is_not_active(harness: Callable[..., Harness]) -> None:
    node = harness(**{"bad.rectified": "5"})
    node.start()
    node.trigger("deactivate", "cleanup")
    assert node.set(cameras=["front", "camera"]).successful
    assert "camera 'front' stands twice in cameras" in node.set(cameras=["front", "front"]).reason
    assert node.set(cameras=["bad"]).reason.startswith("parameter bad.rectified is 5: ")
    # They can be set before the node is configured with them.
    result = node.set(**{"front.rectified": True, "seed": 3})
    assert result.successful
    assert result.reason == "front.rectified: takes effect with the next configure"
    node.start()
    front = node.user.create_publisher(Image, "front/image_raw", QoSProfile(depth=10))
    node.wait(lambda: front.get_subscription_count() == 1)
    settings = node.pipeline.cameras["front"].settings
    assert (settings.rectified, settings.transport) == (True, "auto")
    assert list(node.pipeline.cameras) == ["front", "camera"]


def test_classes_are_those_of_the_weights_that_are_loaded(harness: Callable[..., Harness]) -> None:
    node = harness()
    for _ in range(2):  # also when it is configured again
        assert node.set(class_min_confidence="bicyclist=0.4").successful
        assert node.set(class_min_confidence="").successful
        node.trigger("configure")
        refused = node.set(class_min_confidence="bicyclist=0.4")
        assert "class_min_confidence names 'bicyclist'" in refused.reason
        found = {spec.name: node.node.get_parameter(spec.name).value for spec in INFORMATION}
        assert found["label_set"] == CITYSCAPES.name
        assert tuple(found["class_names"]) == CITYSCAPES.names
        assert found["class_colors"][13] == "#00008e"
        assert found["weights_sha256"] == ""  # of random weights
        read_only = {spec.name for spec in PARAMETERS + INFORMATION
                     if node.node.describe_parameter(spec.name).read_only}  # fmt: skip
        assert read_only == set(found) | {"autostart", "strict_parameters"}
        node.trigger("cleanup")
