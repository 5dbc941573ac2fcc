# SPDX-License-Identifier: Apache-2.0
"""Every output, read as a subscriber reads it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from camseg_core.images.drawing import overlay_image
from camseg_core.images.fit import Fit
from camseg_core.labels import CITYSCAPES
from camseg_core.models.configs import InputConfig
from camseg_core.segmentation import Segmentation
from camseg_ros.messages.images import array_from_image_message
from camseg_ros.messages.outputs import (
    OUTPUTS,
    FrameOutputs,
    OutputSettings,
    least_confidence_table,
    scaled_camera_info,
    unlabeled_messages,
)

HEADER = Header(frame_id="lens", stamp=Time(sec=12, nanosec=34))
NO_LIMIT = np.zeros(256, np.uint8)
HEIGHT, WIDTH, STRIDE = 32, 48, 16


def segmentation(seed: int = 0) -> Segmentation:
    """Return a result with random probabilities, from which its class ids and confidence follow."""
    random = np.random.default_rng(seed)
    probabilities = torch.from_numpy(
        random.dirichlet(np.full(19, 0.1), (HEIGHT, WIDTH)).astype(np.float32)
    ).permute(2, 0, 1)
    best, class_ids = probabilities.max(dim=0)
    return Segmentation(
        class_ids=class_ids.to(torch.uint8).numpy(),
        confidence=(best * 255).round().to(torch.uint8).numpy(),
        logarithms=probabilities.log(),
        fit=Fit.of(HEIGHT, WIDTH, InputConfig("pad", HEIGHT, WIDTH), STRIDE),
        stride=STRIDE,
        has_no_number=False,
        stage_seconds={},
    )


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def outputs(
    least_confidence: np.ndarray = NO_LIMIT,
    size: tuple[int, int] = (0, 0),
    camera_info: CameraInfo | None = None,
) -> FrameOutputs:
    return FrameOutputs(
        image(),
        segmentation(),
        HEADER,
        OutputSettings(least_confidence, *size),
        CITYSCAPES,
        camera_info,
    )


def test_every_output_has_the_input_s_header_and_its_type() -> None:
    messages = outputs(camera_info=CameraInfo(width=WIDTH, height=HEIGHT)).messages(OUTPUTS)
    assert sorted(messages) == sorted(set(OUTPUTS) - {"drivable_grid"})  # it needs a mounting
    for name, message in messages.items():
        assert isinstance(message, OUTPUTS[name].message_type)
        assert message.header == HEADER


def test_mask_and_confidence_are_the_segmenter_s() -> None:
    messages = outputs().messages(["mask", "confidence", "mask_compressed"])
    expected = segmentation()
    np.testing.assert_array_equal(array_from_image_message(messages["mask"]), expected.class_ids)
    np.testing.assert_array_equal(
        array_from_image_message(messages["confidence"]), expected.confidence
    )
    packed = messages["mask_compressed"]
    assert packed.format == "mono8; png compressed mono8"
    decoded = cv2.imdecode(np.frombuffer(packed.data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, expected.class_ids)


def test_class_probabilities_are_means_over_tokens() -> None:
    message = outputs().messages(["class_probabilities"])["class_probabilities"]
    assert (message.encoding, message.height, message.width) == ("8UC19", 2, 3)
    received = array_from_image_message(message)
    probabilities = segmentation().input_probabilities.numpy()
    expected = probabilities.reshape(19, 2, STRIDE, 3, STRIDE).mean(axis=(2, 4))
    np.testing.assert_allclose(received, 255 * expected.transpose(1, 2, 0), atol=0.51)


def test_class_summary_is_the_share_and_the_mean_confidence_of_each_class() -> None:
    table = least_confidence_table([0.5] * 19)
    built = outputs(table)
    message = built.messages(["class_summary"])["class_summary"]
    assert (message.encoding, message.height, message.width) == ("32FC2", 1, 19)
    (received,) = array_from_image_message(message)
    for class_id in range(19):
        chosen = built.class_ids == class_id
        mean = built.confidence[chosen].mean() / 255 if chosen.any() else 0.0
        assert received[class_id] == pytest.approx((chosen.mean(), mean), abs=1e-6)
    assert received[:, 0].sum() == pytest.approx((built.class_ids != 255).mean(), abs=1e-6)


def test_the_overlay_is_of_the_published_mask() -> None:
    table = least_confidence_table([0.6] * 19)
    built = outputs(table)
    received = array_from_image_message(built.messages(["overlay"])["overlay"])
    np.testing.assert_array_equal(received, overlay_image(image(), built.class_ids, CITYSCAPES))


def test_pixels_below_the_least_confidence_of_their_class_are_unlabeled() -> None:
    table = least_confidence_table([0.9, *[0.4] * 9, 0.0, *[0.4] * 8])  # road first, sky tenth
    built, plain = outputs(table), segmentation()
    limits = {0: 230, 10: 0}  # 229.5 rounded up
    for class_id in range(19):
        chosen = plain.class_ids == class_id
        kept = plain.confidence[chosen] >= limits.get(class_id, 102)
        expected = np.where(kept, class_id, 255)
        np.testing.assert_array_equal(built.class_ids[chosen], expected)
    np.testing.assert_array_equal(built.confidence, plain.confidence)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 1.0), st.integers(0, 255))
def test_a_pixel_stays_if_its_share_reaches_the_limit(share: float, confidence: int) -> None:
    limit = int(least_confidence_table([share])[0])
    assert (confidence >= limit) == (confidence / 255 >= share - 1e-8)


# Others would put a pixel's centre on the border of two.
@pytest.mark.parametrize("size", [(16, 24), (64, 96), (96, 144), (HEIGHT, WIDTH)])
def test_another_output_size_is_that_of_all_pictures(size: tuple[int, int]) -> None:
    info = CameraInfo(width=WIDTH, height=HEIGHT)
    built = outputs(size=size, camera_info=info)
    names = ["mask", "confidence", "overlay", "camera_info"]
    for message in built.messages(names).values():
        assert (message.height, message.width) == size
    mask = array_from_image_message(built.messages(["mask"])["mask"])
    rows = ((np.arange(size[0]) + 0.5) * HEIGHT / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * WIDTH / size[1]).astype(int)
    np.testing.assert_array_equal(mask, segmentation().class_ids[rows][:, columns])


@pytest.mark.parametrize(
    ("given", "shape"),
    [((16, 0), (16, 24)), ((0, 24), (16, 24)), ((0, 1), (1, 1)), ((5, 0), (5, 8))],
)
def test_one_side_follows_from_the_other(given: tuple[int, int], shape: tuple[int, int]) -> None:
    built = outputs(size=given)
    assert built.shape == shape
    assert built.class_ids.shape == built.confidence.shape == shape


def test_without_a_calibration_there_is_no_camera_info() -> None:
    assert outputs().messages(["camera_info", "mask"]).keys() == {"mask"}


def test_the_safe_state_knows_nothing_of_any_pixel() -> None:
    messages = unlabeled_messages(3, 5, HEADER)
    assert (array_from_image_message(messages["mask"]) == np.full((3, 5), 255)).all()
    assert (array_from_image_message(messages["confidence"]) == np.zeros((3, 5))).all()
    packed = np.frombuffer(messages["mask_compressed"].data, np.uint8)
    assert (cv2.imdecode(packed, cv2.IMREAD_UNCHANGED) == np.full((3, 5), 255)).all()
    assert all(message.header == HEADER for message in messages.values())


def calibrated(**changes: object) -> CameraInfo:
    k = [500.0, 0.0, 319.5, 0.0, 510.0, 239.5, 0.0, 0.0, 1.0]
    p = [500.0, 0.0, 319.5, -60.0, 0.0, 510.0, 239.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    return CameraInfo(width=640, height=480, k=k, p=p, d=[0.1, 0.0, 0.0, 0.0, 0.0], **changes)


def test_a_calibration_follows_the_size() -> None:
    info = calibrated(distortion_model="plumb_bob")
    scaled = scaled_camera_info(info, 240, 320, HEADER)
    np.testing.assert_allclose(scaled.k, [250, 0, 159.5, 0, 255, 119.5, 0, 0, 1])
    np.testing.assert_allclose(scaled.p, [250, 0, 159.5, -30, 0, 255, 119.5, 0, 0, 0, 1, 0])
    assert (scaled.height, scaled.width, scaled.header) == (240, 320, HEADER)
    assert (list(scaled.d), scaled.distortion_model) == ([0.1, 0, 0, 0, 0], "plumb_bob")
    np.testing.assert_array_equal(info.k, calibrated().k)  # the camera's own is left alone
    np.testing.assert_array_equal(scaled_camera_info(info, 480, 640, HEADER).k, info.k)


def test_a_part_of_the_sensor_is_described_as_the_image_it_is() -> None:
    roi = RegionOfInterest(x_offset=160, y_offset=120, width=320, height=240)
    scaled = scaled_camera_info(calibrated(roi=roi, binning_x=2, binning_y=2), 120, 160, HEADER)
    np.testing.assert_allclose(scaled.k, [250, 0, 79.5, 0, 255, 59.5, 0, 0, 1])
    assert scaled.roi == RegionOfInterest()
    assert (scaled.binning_x, scaled.binning_y) == (0, 0)


def test_an_uncalibrated_camera_stays_so() -> None:
    scaled = scaled_camera_info(CameraInfo(width=640, height=480), 240, 320, HEADER)
    assert not scaled.k.any()
    assert not scaled.p.any()
