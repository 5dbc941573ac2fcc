# SPDX-License-Identifier: Apache-2.0
"""Projection, mounting and calibration against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Transform, Vector3
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo

from camseg_core.errors import CamsegError
from camseg_ros.ground.camera_model import CameraModel, Mounting

CAMERA = CameraModel(width=640, height=480, fx=400.0, fy=500.0, cx=310.0, cy=230.0)
LEVEL = Mounting(0.0, 0.0, 1.5)
BARREL = (-0.3, 0.1, 0.002, -0.001, -0.01)
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
"""Quaternion x, y, z, w of a camera that looks forward and level (REP 103)."""


def pixel(point: tuple[float, float, float], mounting: Mounting, camera: CameraModel = CAMERA):
    pixels, seen = camera.project(mounting.camera_points(np.array([point])))
    return (pixels[0, 0], pixels[0, 1]) if seen[0] else None


def camera_info(**fields: object) -> CameraInfo:
    info = CameraInfo(height=480, width=640, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [400.0, 0.0, 310.0, 0.0, 500.0, 230.0, 0.0, 0.0, 1.0]
    info.r = np.eye(3).ravel()
    info.p = [390.0, 0.0, 300.0, -40.0, 0.0, 480.0, 220.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    for name, value in fields.items():
        setattr(info, name, value)
    return info


# Projection


@pytest.mark.parametrize("distance_m", [5.0, 12.5, 40.0])
@pytest.mark.parametrize("left_m", [-2.0, 0.0, 1.5])
def test_a_level_camera_sees_the_ground_where_similar_triangles_say(distance_m, left_m):
    column, row = pixel((distance_m, left_m, 0.0), LEVEL)
    assert column == pytest.approx(310.0 - 400.0 * left_m / distance_m)
    assert row == pytest.approx(230.0 + 500.0 * 1.5 / distance_m)


def test_the_camera_is_where_it_is_mounted():
    mounting = Mounting(2.0, 0.5, 1.5)
    column, row = pixel((12.0, 0.0, 0.0), mounting)
    assert column == pytest.approx(310.0 + 400.0 * 0.5 / 10.0)
    assert row == pytest.approx(230.0 + 500.0 * 1.5 / 10.0)


@pytest.mark.parametrize(
    ("turn", "left_m", "expected"),
    [
        # What is ahead moves to the right, or up.
        ({"yaw_rad": 0.2}, 0.0, (310.0 + 400.0 * math.tan(0.2), 230.0)),
        ({"pitch_rad": 0.2}, 0.0, (310.0, 230.0 - 500.0 * math.tan(0.2))),
        # What is at the left, as far as 0.5 of its distance, moves down.
        (
            {"roll_rad": 0.2},
            5.0,
            (310.0 - 400.0 * 0.5 * math.cos(0.2), 230.0 + 500.0 * 0.5 * math.sin(0.2)),
        ),
    ],
)
def test_positive_angles_turn_as_rep_103_says(turn, left_m, expected):
    found = pixel((10.0, left_m, 1.5), replace(LEVEL, **turn))  # at the camera's height
    assert found == pytest.approx(expected)


def test_roll_comes_first_and_yaw_last():
    # Rolled by a quarter turn and then pitched, the camera still looks down: its axis does not
    # know of the roll. Yaw after that turns the axis about the vertical.
    mounting = Mounting(0.0, 0.0, 2.0, math.pi / 2, 0.3, 0.4)
    reach = 2.0 / math.tan(0.3)
    ground = (reach * math.cos(0.4), reach * math.sin(0.4), 0.0)
    assert pixel(ground, mounting) == pytest.approx((310.0, 230.0))


def test_a_pixel_reaches_half_a_pixel_around_its_whole_number():
    camera = CameraModel(width=4, height=4, fx=1.0, fy=1.0, cx=0.0, cy=0.0)
    for place, inside in ((-0.51, False), (-0.49, True), (3.49, True), (3.51, False)):
        point = np.array([[place, 0.0, 1.0], [0.0, place, 1.0]])
        assert camera.project(point)[1].tolist() == [inside, inside]


def test_what_is_behind_is_not_seen():
    assert pixel((-10.0, 0.0, 0.0), LEVEL) is None
    assert pixel((0.0, 0.0, 0.0), LEVEL) is None  # in the camera's plane
    assert pixel((-10.0, 0.0, 0.0), replace(LEVEL, yaw_rad=math.pi)) is not None


def test_distortion_is_that_of_plumb_bob():
    # From the formula in sensor_msgs/CameraInfo's reference: radial, then tangential.
    k1, k2, p1, p2, k3 = BARREL
    x, y = 0.3, 0.2
    s = x * x + y * y
    radial = 1 + k1 * s + k2 * s**2 + k3 * s**3
    expected = (
        400.0 * (x * radial + 2 * p1 * x * y + p2 * (s + 2 * x * x)) + 310.0,
        500.0 * (y * radial + p1 * (s + 2 * y * y) + 2 * p2 * x * y) + 230.0,
    )
    pixels, seen = replace(CAMERA, distortion=BARREL).project(np.array([[x, y, 1.0]]) * 7.0)
    assert seen[0]
    assert pixels[0] == pytest.approx(expected)
    assert abs(pixels[0, 0] - (400.0 * x + 310.0)) > 4.0  # the test would see it left out


def test_distortion_does_not_bring_back_what_is_out_of_view():
    camera = replace(CAMERA, distortion=(-0.5, 0.0, 0.0, 0.0))
    assert camera.largest_tangent == pytest.approx(math.sqrt(2 / 3))  # of x (1 - x^2 / 2)
    # x = 1.4 is distorted to 0.028, the middle of the image.
    points = np.array([[0.7, 0.0, 1.0], [1.4, 0.0, 1.0]])
    assert camera.project(points)[1].tolist() == [True, False]


@pytest.mark.parametrize(
    ("distortion", "tangent"),
    [
        ((), math.inf),
        ((0.2, 0.1, 0.0, 0.0, 0.0), math.inf),
        ((0.0, 0.0, 0.0, 0.0, -1.0), (1 / 7) ** (1 / 6)),  # of x - x^7
        ((0.0, 0.0, 0.0, 0.0, 0.0, -0.25, 0.0, 0.0), 2.0),  # a pole of x / (1 - x^2 / 4)
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0), 2.0),  # the largest x / (1 + x^2 / 4)
        ((0.0, 0.0, 5.0, 5.0), math.inf),  # tangential
    ],
)
def test_distortion_is_one_to_one_up_to_its_turning_point(distortion, tangent):
    assert replace(CAMERA, distortion=distortion).largest_tangent == pytest.approx(tangent)


@settings(max_examples=60, deadline=None)
@given(
    forward_m=st.floats(1.0, 60.0),
    left_m=st.floats(-20.0, 20.0),
    height_m=st.floats(0.3, 3.0),
    roll=st.floats(-0.3, 0.3),
    pitch=st.floats(-0.3, 0.6),
    yaw=st.floats(-1.5, 1.5),
    distorted=st.booleans(),
)
def test_the_ray_of_a_pixel_meets_the_ground_at_the_point_it_came_from(
    forward_m, left_m, height_m, roll, pitch, yaw, distorted
):
    camera = replace(CAMERA, distortion=BARREL if distorted else ())
    mounting = Mounting(1.2, -0.3, height_m, roll, pitch, yaw)
    heading = (forward_m * math.cos(yaw) - left_m * math.sin(yaw),
               forward_m * math.sin(yaw) + left_m * math.cos(yaw))  # fmt: skip
    ground = (1.2 + heading[0], -0.3 + heading[1], 0.0)
    found = pixel(ground, mounting, camera)
    if found is None:
        return
    matrix = np.array([[400.0, 0.0, 310.0], [0.0, 500.0, 230.0], [0.0, 0.0, 1.0]])
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-14)
    x, y = cv2.undistortPointsIter(
        np.array([[found]]), matrix, np.array(camera.distortion), None, None, criteria
    )[0, 0]
    # The ray in vehicle axes by Rodrigues' formula, one turn after the other.
    ray = np.array([1.0, -x, -y])
    for axis, angle in ((0, roll), (1, pitch), (2, yaw)):
        ray = cv2.Rodrigues(np.eye(3)[axis] * angle)[0] @ ray
    assert ray[2] < 0.0  # below the horizon
    meets = np.array([1.2, -0.3]) + ray[:2] * height_m / -ray[2]
    assert meets == pytest.approx(ground[:2], abs=1e-5 * forward_m**2 / height_m + 1e-6)


# Mounting


def transform(x: float, y: float, z: float, quaternion: tuple[float, ...]) -> Transform:
    return Transform(
        translation=Vector3(x=x, y=y, z=z),
        rotation=Quaternion(**dict(zip("xyzw", quaternion, strict=True))),
    )


def quaternion_of(rotation: np.ndarray) -> tuple[float, ...]:
    vector = cv2.Rodrigues(rotation)[0].ravel()
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle else vector
    return (*(axis * math.sin(angle / 2)).tolist(), math.cos(angle / 2))


@pytest.mark.parametrize(
    ("quaternion", "angles"),
    [
        (OPTICAL, (0.0, 0.0, 0.0)),
        # Turned by 90 degrees to the left: looks along y, its right is x, its down is -z.
        ((-math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)), (0.0, 0.0, math.pi / 2)),
        # Looks straight down: its right is x, its down -y; as a mounting first down, then left.
        ((1.0, 0.0, 0.0, 0.0), (0.0, math.pi / 2, math.pi / 2)),
    ],
)
def test_a_transform_of_tf_is_read_as_a_mounting(quaternion, angles):
    mounting = Mounting.from_transform(transform(1.0, 2.0, 3.0, quaternion))
    assert (mounting.x_m, mounting.y_m, mounting.z_m) == (1.0, 2.0, 3.0)
    found = (mounting.roll_rad, mounting.pitch_rad, mounting.yaw_rad)
    assert found == pytest.approx(angles)


@settings(max_examples=60, deadline=None)
@given(
    roll=st.floats(-3.1, 3.1),
    pitch=st.floats(-math.pi / 2, math.pi / 2),
    yaw=st.floats(-3.1, 3.1),
    length=st.sampled_from([1.0, 0.995, 1.005]),
)
@example(roll=0.4, pitch=math.pi / 2, yaw=0.7, length=1.0)
@example(roll=0.4, pitch=-math.pi / 2, yaw=0.7, length=1.0)
def test_angles_to_a_transform_of_tf_and_back(roll, pitch, yaw, length):
    given_ = Mounting(0.0, 0.0, 1.0, roll, pitch, yaw)
    quaternion = tuple(part * length for part in quaternion_of(given_.rotation()))
    read = Mounting.from_transform(transform(0.0, 0.0, 1.0, quaternion))
    # Near half a turn OpenCV's vector is exact to 1e-5 only.
    np.testing.assert_allclose(read.rotation(), given_.rotation(), atol=2e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x_m": math.nan}, "camera mounting x_m nan: must be finite"),
        ({"z_m": 0.0}, r"camera mounting z_m 0.0: must be above 0, the road; is the vehicle"),
        ({"pitch_rad": 5.0}, "camera mounting pitch_rad 5.0: must be -pi to pi, in radians"),
        ({"yaw_rad": math.nan}, "camera mounting yaw_rad nan: must be -pi to pi"),
    ],
)
def test_an_impossible_mounting_is_refused(fields, message):
    with pytest.raises(CamsegError, match=message):
        replace(LEVEL, **fields)


def test_a_transform_without_a_rotation_is_refused():
    with pytest.raises(CamsegError, match=r"quaternion of length 0.0; 1 is needed"):
        Mounting.from_transform(transform(0.0, 0.0, 1.0, (0.0, 0.0, 0.0, 0.0)))


# Camera model


def test_a_raw_image_follows_k_and_d():
    info = camera_info(d=list(BARREL))
    info.r = cv2.Rodrigues(np.array([0.0, 0.02, 0.0]))[0].ravel()
    assert CameraModel.from_camera_info(info, rectified=False) == replace(CAMERA, distortion=BARREL)


@pytest.mark.parametrize(
    ("model", "coefficients", "expected"),
    [
        ("plumb_bob", [*BARREL, 0.0, 0.0, 0.0], BARREL),
        ("rational_polynomial", [0.1] * 8 + [0.0] * 6, (0.1,) * 8),
    ],
)
def test_zeros_behind_the_coefficients_are_left_out(model, coefficients, expected):
    info = camera_info(distortion_model=model, d=coefficients)
    assert CameraModel.from_camera_info(info, rectified=False).distortion == tuple(expected)
    info.d = [*coefficients[:-1], 0.2]  # a thin prism or a tilted sensor
    with pytest.raises(CamsegError, match="coefficients; plumb_bob"):
        CameraModel.from_camera_info(info, rectified=False)


@pytest.mark.parametrize("coefficient", [1e-320, 1e-200, -1e-30])
def test_a_coefficient_of_almost_nothing_is_none(coefficient):
    info = camera_info(distortion_model="rational_polynomial", d=[0.1, *[coefficient] * 7])
    almost, without = (
        replace(CameraModel.from_camera_info(info, rectified=False), distortion=coefficients)
        for coefficients in ((0.1, *[coefficient] * 7), (0.1, 0.0, 0.0, 0.0))
    )
    assert almost.largest_tangent == without.largest_tangent


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial", "", "none"])
def test_distortion_of_zeros_is_none(model):
    for zeros in ([], [0.0] * 5):
        info = camera_info(distortion_model=model, d=zeros)
        assert CameraModel.from_camera_info(info, rectified=False) == CAMERA


def test_a_rectified_image_follows_p_and_r():
    turned = cv2.Rodrigues(np.array([0.0, 0.02, 0.0]))[0]
    info = camera_info(d=list(BARREL), r=turned.ravel(), distortion_model="equidistant")
    camera = CameraModel.from_camera_info(info, rectified=True)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (390.0, 480.0, 300.0, 220.0)
    assert camera.distortion == ()
    # R about the axis that points down: what was straight ahead lies at tan(0.02) to the right.
    pixels, _ = camera.project(np.array([[0.0, 0.0, 5.0]]))
    assert pixels[0] == pytest.approx([300.0 + 390.0 * math.tan(0.02), 220.0])


def test_an_r_of_zeros_is_no_rotation():
    info = camera_info(r=np.zeros(9))
    straight = CameraModel.from_camera_info(camera_info(), rectified=True)
    assert CameraModel.from_camera_info(info, rectified=True) == straight


@pytest.mark.parametrize(
    ("fields", "rectified", "message"),
    [
        ({"p": np.zeros(12)}, True, "focal lengths 0.0, 0.0: must be above 0; is the camera calib"),
        ({"k": [0.0] * 8 + [1.0]}, False, "focal lengths 0.0, 0.0: must be above 0"),
        (
            {"k": [math.nan] * 9},
            False,
            r"camera intrinsics \(nan, .*must be numbers of at most 1e\+06",
        ),
        ({"d": [math.inf] * 5}, False, r"distortion \(inf, .*must be numbers of at most"),
        ({"d": [0.1, 1e300, 0.0, 0.0]}, False, r"distortion \(0.1, 1e\+300, .*must be numbers of"),
        (
            {"distortion_model": "equidistant", "d": [0.0] * 4},
            False,
            "camera_info has distortion model 'equidistant' with 4 coefficients; plumb_bob",
        ),
        ({"distortion_model": "", "d": [0.1] * 5}, False, "model '' with 5 coefficients"),
        ({"d": [0.1] * 6}, False, "model 'plumb_bob' with 6 coefficients"),
        ({"r": [2.0] + [0.0] * 8}, True, r"rectification \(2.0, .*must be a rotation matrix"),
        ({"r": np.diag([1.0, 1.0, -1.0]).ravel()}, True, "must be a rotation matrix"),
    ],
)
def test_an_unusable_camera_info_is_refused_in_one_line(fields, rectified, message):
    with pytest.raises(CamsegError, match=message) as refusal:
        CameraModel.from_camera_info(camera_info(**fields), rectified=rectified)
    assert "\n" not in str(refusal.value)
