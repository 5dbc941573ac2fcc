# SPDX-License-Identifier: Apache-2.0
"""The node inside this process: lifecycle, parameters, queueing, with a real executor and DDS."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
import torch
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import DescribeParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from camseg_core.diffusion.options import V_PROFILES
from camseg_core.errors import BAD_INPUT, DEVICE_LOST, CamsegError
from camseg_core.images.drawing import overlay_image
from camseg_core.labels import CITYSCAPES
from camseg_core.segmenter import SamplingOptions, Segmenter
from camseg_core.weights.loading import random_model
from camseg_ros.messages.images import (
    IMAGE_ENCODINGS,
    array_from_image_message,
    image_message,
    stamp_ns,
)
from camseg_ros.messages.outputs import FrameOutputs
from camseg_ros.node import segment_node
from camseg_ros.node.parameters import INFORMATION, PARAMETERS
from camseg_ros.node.segment_node import SegmentNode
from camseg_ros.remote.node_client import SpinningThread

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
LIMIT_S = 30.0


class Harness:
    """A node spinning in a thread, and a camera and a listener beside it."""

    def __init__(self, **parameters: Any) -> None:
        values = {"weights": "random:tiny", "steps": 1, "autostart": False} | parameters
        overrides = [f"{name}:={value}" for name, value in values.items()]
        arguments = [part for override in overrides for part in ("-p", override)]
        rclpy.init(args=["--ros-args", *arguments, "--log-level", "error"])
        self.node = SegmentNode()
        self.user = rclpy.create_node("user", use_global_arguments=False)
        self.camera = self.user.create_publisher(Image, "camera/image_raw", QoSProfile(depth=10))
        self.outputs: dict[str, list[Image]] = {"mask": [], "confidence": [], "overlay": []}
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.user_executor = SingleThreadedExecutor()
        self.user_executor.add_node(self.user)
        self.threads = [
            SpinningThread(executor, "harness") for executor in (self.executor, self.user_executor)
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

    def listen(self, *outputs: str) -> None:
        for output in outputs:
            self.user.create_subscription(
                Image,
                f"segment_node/camera/{output}",
                self.outputs[output].append,
                QoSProfile(depth=10),
            )

    def start(self) -> None:
        self.trigger("configure", "activate")
        self.wait(lambda: self.camera.get_subscription_count() == 1)

    def publish(self, stamp: int, height: int = 24, width: int = 40) -> np.ndarray:
        image = np.random.default_rng(stamp).integers(0, 256, (height, width, 3), np.uint8)
        header = Header(frame_id="lens")
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
        self.camera.publish(image_message(image, "rgb8", header))
        return image

    def wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not done():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    def counts(self) -> Any:
        return self.node._pipeline.queue.total()

    @property
    def pipeline(self) -> Any:
        return self.node._pipeline

    def wait_for_listeners(self, *outputs: str) -> None:
        """Wait until the node sees that somebody listens."""
        self.listen(*outputs)
        port = self.pipeline.ports["camera"]
        self.wait(lambda: all(port.subscribers()[output] for output in outputs))

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


class HeldSegmenter:
    """A segmenter that waits to be let go, to look at the node while it infers."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self.input_size = segmenter.input_size
        self.entered, self.release = threading.Semaphore(0), threading.Semaphore(0)
        self.options: list[SamplingOptions] = []
        self.obeys_cancelled = True

    def segment_batch(
        self,
        images: list[np.ndarray],
        options: SamplingOptions,
        cancelled: Callable[[], bool],
    ) -> Any:
        self.entered.release()
        assert self.release.acquire(timeout=LIMIT_S)
        self.options.append(options)
        self.cancelled = cancelled()
        if self.obeys_cancelled:
            return self._segmenter.segment_batch(images, options, cancelled)
        return self._segmenter.segment_batch(images, options)


def hold(harness: Harness) -> HeldSegmenter:
    held = HeldSegmenter(harness.pipeline.segmenter)
    harness.pipeline._worker.segmenter = held
    return held


def test_outputs_are_those_of_the_segmenter_with_the_input_header(
    harness: Callable[..., Harness],
) -> None:
    node = harness(steps=2, seed=5)
    node.start()
    node.wait_for_listeners("mask", "confidence", "overlay")
    image = node.publish(123_456_789_012)
    node.wait(lambda: all(len(messages) == 1 for messages in node.outputs.values()))
    for messages in node.outputs.values():
        assert stamp_ns(messages[0].header) == 123_456_789_012
        assert messages[0].header.frame_id == "lens"
    segmenter = Segmenter(random_model("tiny"))
    options = replace(segmenter.loaded.profiles["balanced"], steps=2, seed=5)
    expected = segmenter.segment(image, options)
    received = {name: array_from_image_message(item[0]) for name, item in node.outputs.items()}
    np.testing.assert_array_equal(received["mask"], expected.class_ids)
    np.testing.assert_array_equal(received["confidence"], expected.confidence)
    np.testing.assert_array_equal(
        received["overlay"], overlay_image(image, expected.class_ids, segmenter.label_set)
    )
    assert node.counts().out == node.counts().received == 1


@pytest.mark.parametrize("encoding", IMAGE_ENCODINGS)
def test_every_encoding_gives_a_mask_of_the_input_size(
    harness: Callable[..., Harness], encoding: str
) -> None:
    node = harness()
    node.start()
    node.wait_for_listeners("mask")
    step = 4 * 30 + 7  # padded, whatever the encoding's bytes per pixel
    data = np.random.default_rng(1).integers(0, 256, 21 * step, np.uint8).tobytes()
    node.camera.publish(Image(height=21, width=30, step=step, encoding=encoding, data=data))
    node.wait(lambda: len(node.outputs["mask"]) == 1)
    (mask,) = node.outputs["mask"]
    assert (mask.encoding, mask.height, mask.width, mask.step) == ("mono8", 21, 30, 30)
    assert set(array_from_image_message(mask).ravel().tolist()) <= {*range(19), 255}


def test_compressed_images_are_read(harness: Callable[..., Harness]) -> None:
    node = harness(**{"camera.transport": "compressed", "camera.image_topic": "packed"})
    node.camera = node.user.create_publisher(CompressedImage, "packed", QoSProfile(depth=10))
    node.start()
    node.wait_for_listeners("mask")
    image = np.random.default_rng(1).integers(0, 256, (21, 30, 3), np.uint8)
    content = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    node.camera.publish(CompressedImage(format="png", data=content))
    node.wait(lambda: len(node.outputs["mask"]) == 1)
    options = replace(V_PROFILES["balanced"], steps=1)
    expected = Segmenter(random_model("tiny")).segment(image, options)
    received = array_from_image_message(node.outputs["mask"][0])
    np.testing.assert_array_equal(received, expected.class_ids)
    node.camera.publish(CompressedImage(format="png", data=content[:100]))
    node.wait(lambda: node.counts().refused == 1)


def test_nothing_is_built_for_nobody(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    real = FrameOutputs.messages
    monkeypatch.setattr(
        FrameOutputs,
        "messages",
        lambda self, names: built.extend(names) or real(self, names),
    )
    node = harness()
    node.start()
    node.publish(1)
    node.wait(lambda: node.counts().out == 1)
    assert built == []
    node.wait_for_listeners("mask", "overlay")
    (result,) = node.node.set_parameters([Parameter("outputs", value=["mask", "confidence"])])
    assert result.successful
    node.publish(2)
    node.wait(lambda: len(node.outputs["mask"]) == 1)
    assert built == ["mask"]
    assert node.outputs["overlay"] == []


def test_executor_answers_and_the_newest_frame_wins_while_a_frame_is_inferred(
    harness: Callable[..., Harness],
) -> None:
    node = harness()
    node.start()
    node.wait_for_listeners("mask")
    held = hold(node)
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
    node.wait(lambda: node.counts().out == 2)
    node.wait(lambda: len(node.outputs["mask"]) == 2)
    assert [stamp_ns(message.header) for message in node.outputs["mask"]] == [1, 4]
    assert node.counts().dropped == 2


def test_live_parameters_take_effect_on_the_next_frame(harness: Callable[..., Harness]) -> None:
    node = harness()
    node.start()
    held = hold(node)
    held.release.release(2)
    node.publish(1)
    node.wait(lambda: node.counts().out == 1)
    changes = [Parameter("steps", value=7), Parameter("sampler", value="ddpm")]
    result = node.node.set_parameters_atomically(changes)
    assert result.successful
    node.publish(2)
    node.wait(lambda: node.counts().out == 2)
    assert [(item.steps, item.sampler) for item in held.options] == [(1, "ddim"), (7, "ddpm")]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
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
    ],
)
def test_a_parameter_is_refused_with_a_reason_and_changes_nothing(
    harness: Callable[..., Harness], name: str, value: Any, reason: str
) -> None:
    node = harness()
    node.start()
    before = node.pipeline._live, node.node.get_parameter(name).value
    (result,) = node.node.set_parameters([Parameter(name, value=value)])
    assert not result.successful
    assert reason in result.reason
    assert node.pipeline._live is before[0]
    assert node.node.get_parameter(name).value == before[1]


def test_a_profile_changed_live_is_the_weights_own(harness: Callable[..., Harness]) -> None:
    node = harness(steps=0)
    node.start()
    assert node.pipeline._live.sampling == V_PROFILES["balanced"]
    (result,) = node.node.set_parameters([Parameter("profile", value="fast")])
    assert result.successful
    assert node.pipeline._live.sampling == V_PROFILES["fast"]


def test_parameters_are_described_with_their_ranges(harness: Callable[..., Harness]) -> None:
    node = harness()
    client = node.user.create_client(DescribeParameters, "segment_node/describe_parameters")
    assert client.wait_for_service(timeout_sec=LIMIT_S)
    names = [spec.name for spec in (*PARAMETERS, *INFORMATION)]
    answer = client.call_async(DescribeParameters.Request(names=names))
    node.wait(answer.done)
    descriptors = {item.name: item for item in answer.result().descriptors}
    assert all(descriptors[name].description for name in names)
    assert [name for name in names if descriptors[name].read_only] == [
        spec.name for spec in INFORMATION
    ]
    (share,) = descriptors["min_confidence"].floating_point_range
    assert (share.from_value, share.to_value) == (0.0, 1.0)
    (steps,) = descriptors["steps"].integer_range
    assert (steps.from_value, steps.to_value) == (0, 1000)


@pytest.mark.parametrize(
    "parameters",
    [{"weights": "/nowhere"}, {"device": "tpu"}, {"camera.transport": "theora"}],
)
def test_configure_fails_on_a_bad_parameter_and_the_node_can_try_again(
    harness: Callable[..., Harness], parameters: dict[str, str]
) -> None:
    node = harness(**parameters)
    assert node.call(node.node.trigger_configure) == FAILURE
    good = {"weights": "random:tiny", "device": "cpu", "camera.transport": "raw"}
    changes = [Parameter(name, value=good[name]) for name in parameters]
    assert all(result.successful for result in node.node.set_parameters(changes))
    node.trigger("configure")


def test_the_lifecycle_twice_leaves_no_thread_and_no_publisher(
    harness: Callable[..., Harness],
) -> None:
    node = harness()
    threads = set(threading.enumerate())
    publishers = list(node.node.publishers)
    for round_number in (1, 2):
        node.start()
        assert len(set(threading.enumerate()) - threads) == 1
        node.publish(round_number)
        node.wait(lambda: node.counts().out == 1)
        node.trigger("deactivate")
        node.wait(lambda: node.camera.get_subscription_count() == 0)
        node.trigger("cleanup")
        assert set(threading.enumerate()) == threads
        assert list(node.node.publishers) == publishers


@pytest.mark.parametrize("ends_early", [True, False])
def test_a_frame_in_progress_at_deactivation_is_dropped_and_not_published(
    harness: Callable[..., Harness], ends_early: bool
) -> None:
    node = harness()
    node.start()
    node.listen("mask")
    held = hold(node)
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
    assert held.cancelled
    assert node.outputs["mask"] == []


def test_cleanup_frees_the_model(harness: Callable[..., Harness]) -> None:
    node = harness()
    gc.disable()  # the model is in reference cycles, and the collector may be long in coming
    try:
        for _ in range(2):
            node.start()
            model = weakref.ref(node.pipeline.segmenter._model)
            node.trigger("deactivate", "cleanup")
            assert model() is None
    finally:
        gc.enable()


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
    assert node.node._pipeline is None
    assert node.node.failure is None


def test_a_device_that_fails_in_configure_ends_the_process(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = harness()

    def fail(*_: Any, **__: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(Segmenter, "load", fail)
    assert node.call(node.node.trigger_configure) == FAILURE
    assert node.node.failure == (
        "the device failed: AcceleratorError: CUDA error: unspecified launch failure"
    )


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), DEVICE_LOST, None),
        (MemoryError("no room"), DEVICE_LOST, None),
        (CamsegError("no weights there"), BAD_INPUT, None),
        (KeyError("a fault of the program"), BAD_INPUT, None),
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
    """tf2_ros is in no registry; the stand-in owns its subscriptions as the real one does."""

    class TransformListener:
        def __init__(self, buffer: Any, listener_node: Any) -> None:
            self.node = listener_node
            self.subscriptions = [
                listener_node.create_subscription(String, topic, self.callback, 100)
                for topic in ("/tf", "/tf_static")
            ]

        def callback(self, message: Any) -> None:
            raise AssertionError

        def unregister(self) -> None:
            for subscription in self.subscriptions:
                self.node.destroy_subscription(subscription)

    class Buffer:
        def lookup_transform(self, *_: Any) -> Any:
            raise LookupError("nothing yet")

    tf2_ros = ModuleType("tf2_ros")
    tf2_ros.__dict__.update(
        Buffer=Buffer, TransformException=LookupError, TransformListener=TransformListener
    )
    monkeypatch.setitem(sys.modules, "tf2_ros", tf2_ros)
    node = harness()

    def tf_topics() -> list[str]:
        return [item.topic_name for item in node.node.subscriptions if "tf" in item.topic_name]

    for round_number in (1, 2):
        node.start()
        node.publish(round_number)
        node.wait(lambda: node.counts().out == 1)
        assert tf_topics() == []
        ground = node.pipeline.ports["camera"].ground
        with pytest.raises(CamsegError, match="tf has none: nothing yet"):
            ground._find_mounting("lens")
        with pytest.raises(CamsegError, match="tf has none: nothing yet"):
            ground._find_mounting("lens")
        assert tf_topics() == ["/tf", "/tf_static"]
        node.trigger("deactivate", "cleanup")
        assert tf_topics() == []


def test_frames_that_dds_lost_are_counted_apart(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[Callable[[int], None]] = []

    def subscribe(node: Any, *given: Any) -> Any:
        *others, on_lost = given
        lost.append(on_lost)
        return node.create_subscription(*others), True

    node = harness()
    node.start()  # with what the middleware tells
    assert node.pipeline.ports["camera"].frames_lost == 0
    node.trigger("deactivate", "cleanup")
    monkeypatch.setattr(segment_node, "subscribe", subscribe)
    node.start()
    for count in (3, 2):
        lost[0](count)
    (entry,) = node.pipeline.camera_entries("/node")
    assert entry.values["frames_lost"] == "5"
    assert entry.values["frames_in"] == "0"
    node.trigger("deactivate", "activate")
    assert node.pipeline.ports["camera"].frames_lost == 5  # as the other counts


def test_a_bad_frame_is_refused_counted_and_survived(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = harness()
    node.start()
    warnings: list[str] = []
    monkeypatch.setattr(
        node.pipeline._warnings, "warn", lambda what, why: warnings.append(f"{what} {why}")
    )
    node.camera.publish(Image(height=2, width=4, step=3, encoding="rgb8", data=bytes(6)))
    node.wait(lambda: node.counts().refused == 1)
    node.camera.publish(Image(height=0, width=0, encoding="rgb8"))
    node.wait(lambda: node.counts().refused == 2)
    node.camera.publish(Image(height=1, width=1, step=2, encoding="mono16", data=bytes(2)))
    node.wait(lambda: node.counts().refused == 3)
    node.publish(1)
    node.wait(lambda: node.counts().out == 1)
    assert len(warnings) == 3
    assert "step" in warnings[0]
    assert "mono16" in warnings[2]
    assert node.counts().received == 4


def test_an_error_in_a_transition_is_told_and_the_node_can_try_again(
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
    assert line.startswith("cannot activate: InvalidTopicNameException: ")
    assert "\n" not in line
    node.trigger("cleanup")
    (result,) = node.node.set_parameters([Parameter("camera.image_topic", value="")])
    assert result.successful
    node.start()


def test_cameras_may_change_while_the_node_is_not_active(harness: Callable[..., Harness]) -> None:
    node = harness()
    node.start()
    node.trigger("deactivate", "cleanup")
    (result,) = node.node.set_parameters([Parameter("cameras", value=["front", "camera"])])
    assert result.successful
    (refused,) = node.node.set_parameters([Parameter("cameras", value=["front", "front"])])
    assert "camera 'front' stands twice in cameras" in refused.reason
    # They can be set before the node is configured with them.
    (result,) = node.node.set_parameters([Parameter("front.rectified", value=True)])
    assert result.successful
    node.start()
    assert node.pipeline.ports["front"].settings.rectified
    front = node.user.create_publisher(Image, "front/image_raw", QoSProfile(depth=10))
    node.wait(lambda: front.get_subscription_count() == 1)
    assert node.node.get_parameter("front.transport").value == "raw"
    assert list(node.pipeline.ports) == ["front", "camera"]


def test_a_bad_value_for_a_new_camera_is_refused_with_it(harness: Callable[..., Harness]) -> None:
    node = harness(**{"front.rectified": "5"})
    (refused,) = node.node.set_parameters([Parameter("cameras", value=["front"])])
    assert not refused.successful
    assert refused.reason.startswith("parameter front.rectified: ")
    assert node.node.get_parameter("cameras").value == ["camera"]


def test_parameters_are_checked_against_the_weights_that_are_loaded(
    harness: Callable[..., Harness],
) -> None:
    node = harness()
    of_others = Parameter("class_min_confidence", value="bicyclist=0.4")
    for _ in range(2):
        (before,) = node.node.set_parameters([of_others])
        assert before.successful
        (reset,) = node.node.set_parameters([Parameter("class_min_confidence", value="")])
        assert reset.successful
        node.trigger("configure")
        (refused,) = node.node.set_parameters([of_others])
        assert "class_min_confidence names 'bicyclist'" in refused.reason
        node.trigger("cleanup")


def test_what_the_classes_mean_is_in_read_only_parameters(harness: Callable[..., Harness]) -> None:
    node = harness()
    for _ in range(2):  # also when it is configured again
        node.start()
        found = {spec.name: node.node.get_parameter(spec.name).value for spec in INFORMATION}
        assert found["label_set"] == CITYSCAPES.name
        assert tuple(found["class_names"]) == CITYSCAPES.names
        assert found["class_colors"][13] == "#00008e"
        assert found["weights_sha256"] == ""  # of random weights
        node.trigger("deactivate", "cleanup")


def test_masks_of_another_size_are_published_live(harness: Callable[..., Harness]) -> None:
    node = harness()
    node.start()
    node.wait_for_listeners("mask", "overlay")
    changes = [Parameter("output_height", value=12), Parameter("output_width", value=20)]
    assert node.node.set_parameters_atomically(changes).successful
    node.publish(1)
    node.wait(lambda: node.outputs["mask"] and node.outputs["overlay"])
    for output in ("mask", "overlay"):
        (message,) = node.outputs[output]
        assert (message.height, message.width) == (12, 20)
