# SPDX-License-Identifier: Apache-2.0
"""The node in its own process as a vehicle uses it: several cameras, faults, an audience."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import yaml
from lifecycle_msgs.msg import State
from node_user import LIMIT_S, NodeUser, node_user
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

from camseg_core.diffusion.options import V_PROFILES
from camseg_core.errors import DEVICE_LOST
from camseg_core.images.drawing import overlay_image
from camseg_core.labels import CITYSCAPES
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import random_model
from camseg_ros.messages.images import (
    array_from_image_message,
    image_message,
    rgb_from_compressed,
    rgb_from_image,
    stamp_ns,
)
from camseg_ros.messages.output_topics import OUTPUT_TOPICS
from camseg_ros.messages.outputs import OUTPUTS
from camseg_ros.remote.node_client import NODE_PROGRAM, node_process

PARAMETERS = {"weights": "random:tiny", "steps": 1, "warmup_height": 24, "warmup_width": 40}
TOPIC = "camera/image_raw"
CONFIG = Path(__file__).resolve().parents[2] / "config"
FAULTY_NODE = (str(Path(__file__).with_name("faulty_node.py")),)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
START_LIMIT_S = 60.0
LAST_STAMP = 10**18
OK, WARN, ERROR = b"\x00", b"\x01", b"\x02"
# What a test on the shared node may change, with the values that each begins with.
LIVE = {
    "steps": 1,
    "samples": 1,
    "latency_budget_ms": 0.0,
    "min_confidence": 0.0,
    "safe_state": "publish_nothing",
    "no_input_warn_s": 0.0,
    "no_input_error_s": 0.0,
    "input_age_warn_s": 0.0,
    "use_sim_time": False,
}


@contextmanager
def running(
    program: tuple[str, ...] = NODE_PROGRAM, **parameters: Any
) -> Iterator[tuple[NodeUser, subprocess.Popen[bytes]]]:
    with node_process({**PARAMETERS, **parameters}, program) as process, node_user() as user:
        starts = parameters.get("autostart", True)
        user.wait_for_state(
            State.PRIMARY_STATE_ACTIVE if starts else State.PRIMARY_STATE_UNCONFIGURED
        )
        yield user, process


class Audience:
    """A running node, somebody who listens to all of one camera's outputs, and the camera."""

    def __init__(self, user: NodeUser, process: subprocess.Popen[bytes]) -> None:
        self.user, self.process = user, process
        self.camera = user.camera(Image, TOPIC)
        self.received = {
            name: user.listen(OUTPUTS[name].message_type, f"camera/{item.topic}")
            for name, item in OUTPUT_TOPICS.items()
        }
        self.masks = self.received["mask"]
        user.wait(self.camera.get_subscription_count)
        user.wait(
            lambda: all(user.values("camera").get(f"subscribers_{name}") == "1" for name in OUTPUTS)
        )

    def publish(self, *stamps: int) -> None:
        """Publish frames, each when the mask of the one before has come."""
        for stamp in stamps:
            seen = len(self.masks)
            self.camera.publish(rgb_message(stamp))
            self.user.wait(lambda seen=seen: len(self.masks) > seen)

    @contextmanager
    def publishing(self, make: Callable[[int], Image], period_s: float) -> Iterator[Any]:
        """Publish frames of rising stamps all the time; yield the timer."""
        stamps = iter(range(5, 10**9))
        timer = self.user.node.create_timer(
            period_s, lambda: self.camera.publish(make(next(stamps)))
        )
        try:
            yield timer
        finally:
            self.user.node.destroy_timer(timer)


@pytest.fixture(scope="class")
def shared_node() -> Iterator[Audience]:
    parameters = {
        "camera.camera_info_topic": "/info",
        "camera.mounting": [1.0, 0.0, 1.5, 0.0, 0.0, 0.0],
        "grid_min_confidence": 0.0,
        "grid_hidden": "occupied",  # the classes are random: what hides what is known of none
        "grid_free_classes": list(CITYSCAPES.names[:10]),
        "grid_resolution_m": 0.5,
    }
    with running(**parameters, **LIVE) as (user, process):
        yield Audience(user, process)


@pytest.fixture
def audience(shared_node: Audience) -> Audience:
    """Return the shared node without frames and with its first settings; counts go on."""
    user = shared_node.user
    user.set_parameters(**LIVE)
    assert user.call("reset", Trigger.Request()).success
    shared_node.camera.publish(rgb_message(LAST_STAMP))  # after whatever is still on its way
    overlays = shared_node.received["overlay"]
    user.wait(lambda: overlays and stamp_ns(overlays[-1].header) == LAST_STAMP)
    for received in (*shared_node.received.values(), *user.statuses.values()):
        received.clear()
    return shared_node


def header(stamp: int, frame_id: str = "lens") -> Header:
    made = Header(frame_id=frame_id)
    made.stamp.sec, made.stamp.nanosec = divmod(stamp, 10**9)
    return made


def rgb_message(stamp: int, height: int = 24, width: int = 40) -> Image:
    random = np.random.default_rng(stamp)
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    return image_message(image, "rgb8", header(stamp))


def raw_message(
    stamp: int, frame_id: str, encoding: str, height: int, width: int, step: int
) -> Image:
    data = np.random.default_rng(stamp).integers(0, 256, height * step, np.uint8).tobytes()
    message = Image(height=height, width=width, step=step, encoding=encoding, data=data)
    message.header = header(stamp, frame_id)
    return message


def compressed_message(stamp: int, frame_id: str) -> CompressedImage:
    image = np.random.default_rng(stamp).integers(0, 256, (33, 21, 3), np.uint8)
    content = cv2.imencode(".png", image)[1].tobytes()
    return CompressedImage(format="png", data=content, header=header(stamp, frame_id))


def test_three_cameras_of_different_rates_sizes_and_encodings() -> None:
    makers = {
        "front": lambda stamp: raw_message(stamp, "front_lens", "bgra8", 24, 40, 4 * 40 + 12),
        "left": lambda stamp: raw_message(stamp, "left_lens", "bayer_grbg8", 50, 66, 70),
        "rear": lambda stamp: compressed_message(stamp, "rear_lens"),
    }
    periods_s = {"front": 0.031, "left": 0.053, "rear": 0.097}
    parameters = {
        "cameras": list(makers),
        "left.image_topic": "/elsewhere/left",
        "rear.transport": "compressed",
    }
    with running(**parameters) as (user, _):
        topics = {
            "front": "front/image_raw",
            "left": "/elsewhere/left",
            "rear": "rear/image_raw/compressed",
        }
        cameras = {
            name: user.camera(CompressedImage if name == "rear" else Image, topic)
            for name, topic in topics.items()
        }
        masks = {name: user.listen(Image, f"{name}/mask", 100) for name in makers}
        user.wait(lambda: all(item.get_subscription_count() for item in cameras.values()))
        sent: dict[str, dict[int, Any]] = {name: {} for name in makers}

        def publish(name: str) -> None:
            stamp = 10**9 * (1 + list(makers).index(name)) + len(sent[name])
            sent[name][stamp] = makers[name](stamp)
            cameras[name].publish(sent[name][stamp])

        timers = [
            user.node.create_timer(period_s, lambda name=name: publish(name))
            for name, period_s in periods_s.items()
        ]
        user.wait(lambda: all(len(received) >= 6 for received in masks.values()))
        for timer in timers:
            timer.cancel()
        user.wait_for_idle()
        counts = {name: user.values(name) for name in makers}
        total = user.values()
    segmenter = Segmenter(random_model("tiny"))
    options = replace(V_PROFILES["balanced"], steps=1)
    for name, received in masks.items():
        for mask in received[-5:]:
            message = sent[name][stamp_ns(mask.header)]
            assert mask.header == message.header
            to_rgb = rgb_from_compressed if name == "rear" else rgb_from_image
            expected = segmenter.segment(to_rgb(message), options).class_ids
            # Another process may lay out memory otherwise, and sums round in another order.
            assert (array_from_image_message(mask) == expected).mean() >= 0.99
        count = {key: int(counts[name][f"frames_{key}"]) for key in ("in", "out", "dropped")}
        assert count["in"] == count["out"] + count["dropped"]
        assert len(received) <= count["out"] <= len(sent[name])
    assert int(total["frames_in"]) == sum(int(values["frames_in"]) for values in counts.values())
    assert int(total["frames_refused"]) == 0


class TestRunningNode:
    """Questions to one running node, one after the other."""

    def test_who_listens_gets_masks_whatever_its_quality_and_labels_however_late(
        self,
        audience: Audience,
    ) -> None:
        user = audience.user
        best_effort = user.listen(
            Image, "camera/mask", QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        late = user.listen(String, "labels", LATCHED)
        user.wait(lambda: user.values("camera").get("subscribers_mask") == "2")
        audience.publish(1)
        user.wait(lambda: best_effort)
        assert audience.masks[0] == best_effort[0]
        (message,) = user.wait(lambda: late)
        content = json.loads(message.data)
        assert content["label_set"] == CITYSCAPES.name
        assert [item["name"] for item in content["classes"]] == list(CITYSCAPES.names)
        assert [tuple(item["color"]) for item in content["classes"]] == list(CITYSCAPES.palette)

    def test_every_output_is_what_the_contract_says_of_the_frame_it_names(
        self, audience: Audience
    ) -> None:
        stamp = 123_456_789_012
        user, received = audience.user, audience.received
        k = [40.0, 0.0, 39.5, 0.0, 40.0, 5.5, 0.0, 0.0, 1.0]  # for twice the image's size
        info = user.camera(CameraInfo, "/info", LATCHED)
        user.wait(info.get_subscription_count)
        deadline = time.monotonic() + LIMIT_S
        while not received["drivable_grid"]:
            assert time.monotonic() < deadline, "no grid came"
            # A camera publishes its calibration with every frame: the first one may come before
            # the node's subscription knows this publisher, or later than the frame.
            info.publish(CameraInfo(width=80, height=48, k=k))
            audience.publish(stamp)

        def is_complete() -> bool:
            return all(found and stamp_ns(found[-1].header) == stamp for found in received.values())

        user.wait(is_complete)
        messages = {name: found[-1] for name, found in received.items()}
        assert {stamp_ns(message.header) for message in messages.values()} == {stamp}
        assert {
            message.header.frame_id for name, message in messages.items() if name != "drivable_grid"
        } == {"lens"}
        segmenter = Segmenter(random_model("tiny"))
        image = array_from_image_message(rgb_message(stamp))
        expected = segmenter.segment(image, replace(V_PROFILES["balanced"], steps=1))
        mask = array_from_image_message(messages["mask"])
        confidence = array_from_image_message(messages["confidence"])
        assert (mask.shape, messages["mask"].encoding) == ((24, 40), "mono8")
        # Another process may lay out memory otherwise, and sums round in another order.
        np.testing.assert_allclose(confidence, expected.confidence, atol=1)
        assert (mask == expected.class_ids).mean() >= 0.99
        packed = np.frombuffer(messages["mask_compressed"].data, np.uint8)
        np.testing.assert_array_equal(cv2.imdecode(packed, cv2.IMREAD_UNCHANGED), mask)
        assert messages["class_probabilities"].encoding == "8UC19"
        probabilities = array_from_image_message(messages["class_probabilities"])
        np.testing.assert_allclose(
            probabilities.astype(int), expected.token_probabilities.astype(int), atol=2
        )
        (summary,) = array_from_image_message(messages["class_summary"])
        shares = [(mask == class_id).mean() for class_id in range(19)]
        np.testing.assert_allclose(summary[:, 0], shares, atol=1e-6)
        overlay = array_from_image_message(messages["overlay"])
        np.testing.assert_array_equal(overlay, overlay_image(image, mask, CITYSCAPES))
        assert (messages["camera_info"].height, messages["camera_info"].width) == (24, 40)
        np.testing.assert_allclose(messages["camera_info"].k[[0, 2, 5]], [20.0, 19.5, 2.5])
        grid = messages["drivable_grid"]
        assert grid.header.frame_id == "base_link"
        assert (grid.info.width, grid.info.height, grid.info.resolution) == (40, 40, 0.5)
        cells = np.array(grid.data, np.int8).reshape(40, 40)
        # 5.25 m ahead of the vehicle, 0.25 m to the right: below the horizon at row 2.5.
        row, column = 2.5 + 20 * 1.5 / 4.25, 19.5 + 20 * 0.25 / 4.25
        class_id = mask[round(row), round(column)]
        expected_cell = -1 if class_id in (10, 255) else 0 if class_id < 10 else 100
        assert cells[19, 10] == expected_cell
        assert (cells[:, :2] == -1).all()  # behind the camera

    def test_the_layouts_show_topics_and_diagnostics_that_the_node_publishes(
        self, audience: Audience
    ) -> None:
        user = audience.user
        rviz = yaml.safe_load((CONFIG / "segment.rviz").read_text("utf-8"))
        topics = [item["Topic"] for item in rviz["Visualization Manager"]["Displays"][:3]]
        # A transient-local subscriber would get nothing from publishers that are not latched.
        policies = {(item["Durability Policy"], item["Reliability Policy"]) for item in topics}
        assert policies == {("Volatile", "Reliable")}
        foxglove = json.loads((CONFIG / "foxglove_layout.json").read_text("utf-8"))
        shown = set(re.findall(r"/segment_node/[a-z_/]+", json.dumps(foxglove)))
        assert shown
        shown |= {topic["Value"] for topic in topics}
        # A publisher may become known later than its first message.
        user.wait(lambda: all(map(user.node.count_publishers, shown)))
        keys = set(re.findall(r'key==\\"(\w+)\\"', json.dumps(foxglove)))
        assert set() < keys <= set(user.wait(user.values))

    def test_a_budget_that_cannot_be_kept_is_told_and_reset_forgets(
        self, audience: Audience
    ) -> None:
        user = audience.user
        user.set_parameters(steps=4, latency_budget_ms=0.001)
        audience.publish(1, 2)  # the first one measures what one step costs
        user.wait(
            lambda: (
                user.status()
                and "over the latency budget of 0.001 ms with the fewest" in user.status().message
            )
        )
        assert user.values()["steps"] == "1"
        assert user.values()["latency_p50_ms"] != ""
        assert user.values("camera")["frames_lost"] == "0"  # Fast DDS tells
        user.wait(
            lambda: user.values()["frames_waiting"] == user.values()["frames_in_progress"] == "0"
        )
        counted = user.values()["frames_out"]
        answer = user.call("reset", Trigger.Request())
        assert (answer.success, answer.message) == (True, "reset")
        user.wait(lambda: user.values()["latency_p50_ms"] == "")
        assert user.values()["frames_out"] == counted  # what was counted stays counted

    def test_under_overload_every_frame_is_accounted_for_and_memory_stays(
        self, audience: Audience
    ) -> None:
        user, masks = audience.user, audience.masks
        observed = psutil.Process(audience.process.pid)
        user.set_parameters(steps=10, samples=4)
        with audience.publishing(rgb_message, 0.003):
            user.wait(lambda: len(masks) >= 5)
            memory = observed.memory_info().rss
            user.wait(lambda: len(masks) >= 30)
            grown = observed.memory_info().rss - memory
        values = {key: int(value) for key, value in user.wait_for_idle().items() if "frames" in key}
        assert values["frames_in"] == values["frames_out"] + values["frames_dropped"]
        assert values["frames_refused"] == 0
        assert values["frames_dropped"] > values["frames_out"]
        stamps = [stamp_ns(mask.header) for mask in masks]
        assert stamps == sorted(set(stamps))
        assert grown < 30 * 2**20

    @pytest.mark.parametrize("sim_time", [False, True])
    def test_a_camera_that_stops_and_returns(self, audience: Audience, sim_time: bool) -> None:
        """With ``sim_time`` nobody publishes /clock: the node's clock stands still at 0."""
        user, masks = audience.user, audience.masks
        confidences = audience.received["confidence"]
        with audience.publishing(rgb_message, 0.05) as timer:
            user.wait(lambda: len(masks) >= 3)
            user.set_parameters(
                use_sim_time=sim_time, safe_state="all_unlabeled",
                no_input_warn_s=0.5, no_input_error_s=0.8,
            )  # fmt: skip
            user.wait(lambda: user.status("camera") and user.status("camera").level == OK)
            timer.cancel()
            seen = len(user.statuses["camera"])
            user.wait(lambda: user.status("camera").level == ERROR)
            levels = [status.level for status in user.statuses["camera"][seen - 1 :]]
            assert WARN in levels
            assert levels == sorted(levels)
            assert "no input for" in user.status("camera").message
            assert user.status().level == ERROR
            assert user.status().message.startswith("camera: no input for")
            real = len(user.wait(lambda: [mask for mask in masks if set(mask.data) != {255}]))
            user.wait(lambda: len(masks) > real and len(confidences) > real)
            safe, confidence = masks[real], confidences[real]
            assert int(user.wait(lambda: user.values("camera")["safe_masks"])) >= 1
            timer.reset()
            user.wait(lambda: user.status("camera").level == OK)
            user.wait(lambda: set(masks[-1].data) != {255})
        assert (array_from_image_message(safe) == 255).all()
        assert (array_from_image_message(confidence) == 0).all()
        assert (safe.height, safe.width, safe.header.frame_id) == (24, 40, "lens")
        assert (stamp_ns(safe.header) == 0) == sim_time


def test_the_lifecycle_again_and_again_leaks_nothing() -> None:
    with running(autostart=False) as (user, process):
        camera = user.camera(Image, TOPIC)
        observed = psutil.Process(process.pid)
        threads, publishers, memory = [], [], []
        for round_number in range(1, 4):
            user.transition("configure", "activate")
            user.wait(camera.get_subscription_count)
            camera.publish(rgb_message(round_number))
            user.wait(lambda: user.values("camera").get("frames_out") == "1")
            user.transition("deactivate", "cleanup")
            user.wait(lambda: camera.get_subscription_count() == 0)
            found = user.node.get_publisher_names_and_types_by_node("segment_node", "/")
            publishers.append(sorted(name for name, _ in found))
            threads.append(observed.num_threads())
            memory.append(observed.memory_info().rss)
        user.wait(lambda: user.status().message == "not configured")
    assert len({tuple(names) for names in publishers}) == 1
    assert threads[1] == threads[2]
    assert memory[-1] - memory[1] < 30 * 2**20


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("hang", "inference hangs: a batch has taken"),
        ("interrupt", "inference hangs: it did not end within 0.8 s"),  # Ctrl-C, which it ignores
        ("device", "the device failed: Accelerator"),
    ],
)
def test_a_lost_device_or_a_hang_ends_the_process_in_the_safe_state(
    fault: str, told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAMSEG_TEST_FAULTS", f"3:{fault}")
    parameters = {"inference_limit_s": 0.8, "safe_state": "all_unlabeled"}
    with running(FAULTY_NODE, **parameters) as (user, process):
        camera = user.camera(Image, TOPIC)
        masks = user.listen(Image, "camera/mask")
        user.wait(lambda: user.values("camera").get("subscribers_mask") == "1")
        user.wait(camera.get_subscription_count)
        for stamp in (1, 2):
            camera.publish(rgb_message(stamp))
            user.wait(lambda stamp=stamp: len(masks) == stamp)
        camera.publish(rgb_message(3))
        user.wait(lambda: process.poll() is not None)
        if fault != "interrupt":
            user.wait(lambda: len(masks) == 3)
            last = user.wait(lambda: user.status() if user.status().level == ERROR else None)
            assert told in last.message
            assert (array_from_image_message(masks[2]) == 255).all()
            assert stamp_ns(masks[2].header) > 3
    assert process.returncode == DEVICE_LOST
    assert told in capfd.readouterr().err


def test_a_device_that_fails_at_the_start_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAMSEG_TEST_FAULTS", "-1:device")
    with node_process(PARAMETERS, FAULTY_NODE) as process:
        assert process.wait(START_LIMIT_S) == DEVICE_LOST
    output = capfd.readouterr().err
    assert "cannot configure: AcceleratorError: CUDA error" in output
    assert "Traceback" not in output


def test_short_memory_is_tried_again_and_a_fault_of_a_frame_costs_that_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CAMSEG_TEST_FAULTS", "2:memory, 5:memory, 6:memory, 8:program")
    with running(FAULTY_NODE) as (user, process):
        camera = user.camera(Image, TOPIC)
        masks = user.listen(Image, "camera/mask")
        user.wait(lambda: user.values("camera").get("subscribers_mask") == "1")
        user.wait(camera.get_subscription_count)
        for stamp, refused in ((1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 2), (7, 2)):
            camera.publish(rgb_message(stamp))
            user.wait(lambda count=stamp - refused: len(masks) == count)
            if stamp in (4, 6):  # two batches without memory; an error of the program
                user.wait(lambda n=refused: user.values()["frames_refused"] == str(n))
        assert process.poll() is None
