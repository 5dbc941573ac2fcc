# SPDX-License-Identifier: Apache-2.0
"""The grid against closed forms, and against the ground that the synthetic drive's depth shows."""

from __future__ import annotations

import math
from array import array as byte_array
from dataclasses import dataclass, replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform, Vector3
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from camseg_core.data.synthetic.classes import CAR, ROAD, SIDEWALK, SKY
from camseg_core.data.synthetic.drive import SyntheticDrive, SyntheticFrame
from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES, UNLABELED
from camseg_ros.drivable_grid import (
    FREE,
    OCCUPIED,
    UNKNOWN,
    CameraModel,
    GridGeometry,
    GroundProjection,
    Mounting,
    occupancy_grid_message,
    occupancy_table,
)
from camseg_ros.outputs import scaled_camera_info

CAMERA = CameraModel(width=640, height=480, fx=400.0, fy=500.0, cx=310.0, cy=230.0)
LEVEL = Mounting(0.0, 0.0, 1.5)
GEOMETRY = GridGeometry(resolution_m=0.5, forward_m=20.0, sideways_m=8.0)
TABLE = occupancy_table(CITYSCAPES)
BARREL = (-0.3, 0.1, 0.002, -0.001, -0.01)
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
"""Quaternion x, y, z, w of a camera that looks forward and level (REP 103)."""


def pixel(point: tuple[float, float, float], mounting: Mounting, camera: CameraModel = CAMERA):
    pixels, seen = camera.project(mounting.camera_points(np.array([point])))
    return (pixels[0, 0], pixels[0, 1]) if seen[0] else None


def painted(class_id: int, camera: CameraModel = CAMERA) -> np.ndarray:
    return np.full((camera.height, camera.width), class_id, np.uint8)


def sure(camera: CameraModel = CAMERA) -> np.ndarray:
    return painted(255, camera)


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


def test_yaw_to_the_left_moves_what_is_ahead_to_the_right():
    column, row = pixel((10.0, 0.0, 1.5), replace(LEVEL, yaw_rad=0.2))
    assert column == pytest.approx(310.0 + 400.0 * math.tan(0.2))
    assert row == pytest.approx(230.0)


def test_pitch_down_moves_what_is_ahead_up():
    column, row = pixel((10.0, 0.0, 1.5), replace(LEVEL, pitch_rad=0.2))
    assert column == pytest.approx(310.0)
    assert row == pytest.approx(230.0 - 500.0 * math.tan(0.2))


def test_roll_to_the_right_moves_what_is_at_the_left_down():
    # At the camera's height, and as far to the left as 0.5 of its distance.
    column, row = pixel((10.0, 5.0, 1.5), replace(LEVEL, roll_rad=0.2))
    assert column == pytest.approx(310.0 - 400.0 * 0.5 * math.cos(0.2))
    assert row == pytest.approx(230.0 + 500.0 * 0.5 * math.sin(0.2))


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


def test_a_level_camera_of_tf():
    mounting = Mounting.from_transform(transform(1.0, 2.0, 3.0, OPTICAL))
    assert (mounting.x_m, mounting.y_m, mounting.z_m) == (1.0, 2.0, 3.0)
    assert [mounting.roll_rad, mounting.pitch_rad, mounting.yaw_rad] == pytest.approx([0, 0, 0])


def test_a_transform_of_tf_turned_by_hand():
    # Turned by 90 degrees to the left: looks along y, its right is x, its down is -z.
    half = math.sqrt(0.5)
    mounting = Mounting.from_transform(transform(0.0, 0.0, 1.0, (-half, 0.0, 0.0, half)))
    assert [mounting.roll_rad, mounting.pitch_rad, mounting.yaw_rad] == pytest.approx(
        [0.0, 0.0, math.pi / 2]
    )


@settings(max_examples=60, deadline=None)
@given(
    roll=st.floats(-3.1, 3.1),
    pitch=st.floats(-math.pi / 2, math.pi / 2),
    yaw=st.floats(-3.1, 3.1),
)
@example(roll=0.4, pitch=math.pi / 2, yaw=0.7)
@example(roll=0.4, pitch=-math.pi / 2, yaw=0.7)
def test_angles_to_a_transform_of_tf_and_back(roll, pitch, yaw):
    given_ = Mounting(0.0, 0.0, 1.0, roll, pitch, yaw)
    read = Mounting.from_transform(transform(0.0, 0.0, 1.0, quaternion_of(given_.rotation())))
    np.testing.assert_allclose(read.rotation(), given_.rotation(), atol=1e-6)


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
    assert CameraModel.from_camera_info(info, rectified=False) == replace(CAMERA, distortion=BARREL)


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


def test_any_object_with_the_fields_is_a_camera_info():
    info = camera_info()
    fields = ("width", "height", "k", "d", "r", "p", "distortion_model")
    duck = SimpleNamespace(**{name: getattr(info, name) for name in fields})
    assert CameraModel.from_camera_info(duck, rectified=False) == CAMERA


@pytest.mark.parametrize(
    ("fields", "rectified", "message"),
    [
        ({"k": np.zeros(9)}, False, "camera_info has K of zeros: the camera must be calibrated"),
        ({"p": np.zeros(12)}, True, "camera_info has P of zeros: the camera must be calibrated"),
        ({"width": 0}, False, "camera of 0 x 480: both must be at least 1"),
        ({"k": [0.0] * 8 + [1.0]}, False, "focal lengths 0.0, 0.0: must be above 0"),
        ({"k": [math.nan] * 9}, False, r"camera intrinsics \(nan, .*must be finite"),
        ({"d": [math.inf] * 5}, False, r"distortion \(inf, .*must be finite"),
        (
            {"distortion_model": "equidistant", "d": [0.0] * 4},
            False,
            "camera_info has distortion model 'equidistant' with 4 coefficients; plumb_bob",
        ),
        ({"distortion_model": "", "d": [0.1] * 5}, False, "model '' with 5 coefficients"),
        ({"d": [0.1] * 8}, False, "model 'plumb_bob' with 8 coefficients"),
        ({"r": [2.0] + [0.0] * 8}, True, r"rectification \(2.0, .*must be a rotation matrix"),
        ({"r": np.diag([1.0, 1.0, -1.0]).ravel()}, True, "must be a rotation matrix"),
    ],
)
def test_an_unusable_camera_info_is_refused_in_one_line(fields, rectified, message):
    with pytest.raises(CamsegError, match=message) as refusal:
        CameraModel.from_camera_info(camera_info(**fields), rectified=rectified)
    assert "\n" not in str(refusal.value)


def test_opencv_has_no_model_of_six_coefficients():
    with pytest.raises(CamsegError, match="6 distortion coefficients: must be 0, 4, 5 or 8"):
        replace(CAMERA, distortion=(0.1,) * 6)


def test_a_mask_of_twice_the_size_gives_the_same_grid():
    # Only if both sides agree on where pixel centres are.
    random = np.random.default_rng(3)
    class_ids = random.choice(np.array([ROAD, CAR], np.uint8), (480, 640))
    grids = []
    for scale in (1, 2):
        info = scaled_camera_info(camera_info(), 480 * scale, 640 * scale, Header())
        camera = CameraModel.from_camera_info(info, rectified=False)
        projection = GroundProjection(camera, LEVEL, GEOMETRY)
        mask = class_ids.repeat(scale, axis=0).repeat(scale, axis=1)
        grids.append(projection.occupancy(mask, np.full_like(mask, 255), TABLE))
    np.testing.assert_array_equal(*grids)
    assert set(np.unique(grids[0])) == {FREE, OCCUPIED, UNKNOWN}


# Grid


def test_rows_rise_to_the_left_and_columns_forward():
    geometry = GridGeometry(resolution_m=0.5, forward_m=2.0, sideways_m=1.0, backward_m=0.5)
    assert (geometry.rows, geometry.columns) == (4, 5)
    assert geometry.origin_m == (-0.5, -1.0)
    points = geometry.points()
    assert points.shape == (4, 5, 1, 2)
    assert points[0, 0, 0].tolist() == [-0.25, -0.75]
    assert points[3, 4, 0].tolist() == [1.75, 0.75]
    assert points[0, 4, 0].tolist() == [1.75, -0.75]


def test_lengths_round_up_to_whole_cells():
    geometry = GridGeometry(resolution_m=0.3, forward_m=1.0, sideways_m=0.4, backward_m=0.1)
    assert (geometry.rows, geometry.columns) == (4, 5)
    assert geometry.origin_m == pytest.approx((-0.3, -0.6))
    assert GridGeometry(0.1, 0.3, 0.7).columns == 3  # 0.3 / 0.1 is 2.9999999999999996
    assert GridGeometry(0.1, 0.3, 0.7).rows == 14  # and 0.7 / 0.1 is 6.999999999999999


def test_points_spread_evenly_over_a_cell():
    points = GridGeometry(0.4, 0.4, 0.4).points(2)[1, 0]
    assert points.ravel().tolist() == pytest.approx([0.1, 0.1, 0.3, 0.1, 0.1, 0.3, 0.3, 0.3])


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((-1.0, 1.0, 1.0), "grid resolution_m -1.0: must be 0 or more, finite"),
        ((1.0, math.nan, 1.0), "grid forward_m nan: must be 0 or more, finite"),
        ((0.0, 1.0, 1.0), "cells of 0.0 m: cells must be larger than 0"),
        ((0.1, 0.0, 1.0), "grid of 0.0 m ahead.*: must have at least one cell"),
        ((0.1, 1.0, 0.0), "0.0 m to each side.*: must have at least one cell"),
        ((1.0, 1e-12, 1e6), "must have at least one cell"),
        ((0.001, 20.0, 20.0), "must have at most 4000000 cells; give a smaller range or larger"),
        ((1e-300, 1e300, 1.0), "must have at most 4000000 cells"),
    ],
)
def test_an_impossible_grid_is_refused(lengths, message):
    with pytest.raises(CamsegError, match=message):
        GridGeometry(*lengths)


def test_classes_are_free_occupied_or_never_ground():
    table = occupancy_table(CITYSCAPES, ("road", "terrain"))
    assert table.dtype == np.int8
    named = {name: table[class_id] for class_id, name in enumerate(CITYSCAPES.names)}
    assert [name for name in named if named[name] == FREE] == ["road", "terrain"]
    assert [name for name in named if named[name] == UNKNOWN] == ["sky"]
    assert sum(value == OCCUPIED for value in named.values()) == 16
    assert (table[19:] == UNKNOWN).all()  # ids without a class, unlabeled among them


@pytest.mark.parametrize("name", ["street", "sky"])
def test_a_free_class_that_is_unknown_or_no_ground_is_refused(name):
    message = f"free class '{name}'; must be one of road, sidewalk, .*terrain, person"
    with pytest.raises(CamsegError, match=message):
        occupancy_table(CITYSCAPES, ("road", name))


def test_the_class_at_the_cells_centre_counts():
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    column, row = 12, 20  # the centre is at x = 6.25, y = 2.25
    u = round(310.0 - 400.0 * 2.25 / 6.25)
    v = round(230.0 + 500.0 * 1.5 / 6.25)
    class_ids = painted(CAR)
    class_ids[v, u] = ROAD
    grid = projection.occupancy(class_ids, sure(), TABLE)
    assert grid.dtype == np.int8
    assert grid.shape == (32, 40)
    assert np.argwhere(grid == FREE).tolist() == [[row, column]]


def test_only_what_is_in_view_is_known():
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    grid = projection.occupancy(painted(ROAD), sure(), TABLE)
    x, y = np.moveaxis(GEOMETRY.points()[:, :, 0], -1, 0)
    u, v = 310.0 - 400.0 * y / x, 230.0 + 500.0 * 1.5 / x
    expected = (u >= -0.5) & (u < 639.5) & (v < 479.5)
    np.testing.assert_array_equal(grid == FREE, expected)
    np.testing.assert_array_equal(grid == UNKNOWN, ~expected)
    np.testing.assert_array_equal(projection.in_view, expected)
    assert 0.3 < expected.mean() < 0.95


def test_a_camera_that_looks_back_sees_behind_only():
    geometry = GridGeometry(0.5, 10.0, 4.0, backward_m=10.0)
    projection = GroundProjection(CAMERA, replace(LEVEL, yaw_rad=math.pi), geometry)
    grid = projection.occupancy(painted(ROAD), sure(), TABLE)
    assert (grid[:, 20:] == UNKNOWN).all()
    assert (grid[:, :10] == FREE).any()


def test_a_camera_that_looks_up_sees_no_ground():
    projection = GroundProjection(CAMERA, replace(LEVEL, pitch_rad=-1.0), GEOMETRY)
    assert (projection.occupancy(painted(ROAD), sure(), TABLE) == UNKNOWN).all()
    assert not projection.in_view.any()


@pytest.mark.parametrize(
    ("class_id", "expected"),
    [(ROAD, FREE), (CAR, OCCUPIED), (SIDEWALK, OCCUPIED), (SKY, UNKNOWN), (UNLABELED, UNKNOWN)],
)
def test_what_each_class_says_of_the_cells_in_view(class_id, expected):
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    grid = projection.occupancy(painted(class_id), sure(), TABLE)
    assert (grid[projection.in_view] == expected).all()
    assert (grid[~projection.in_view] == UNKNOWN).all()


def test_confidence_below_the_least_is_unknown():
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    confidence = painted(99)
    confidence[:, 320:] = 100
    seen = projection.occupancy(painted(CAR), confidence, TABLE)
    limited = projection.occupancy(painted(CAR), confidence, TABLE, least_confidence=100)
    assert (seen[projection.in_view] == OCCUPIED).all()
    y, x = GEOMETRY.points()[:, :, 0, 1], GEOMETRY.points()[:, :, 0, 0]
    at_right = projection.in_view & (310.0 - 400.0 * y / x >= 319.5)
    np.testing.assert_array_equal(limited == OCCUPIED, at_right)
    assert 0 < at_right.sum() < projection.in_view.sum()


def test_the_worst_point_of_a_cell_counts():
    geometry = GridGeometry(1.0, 8.0, 2.0)
    careful = GroundProjection(CAMERA, LEVEL, geometry, samples_per_side=3)
    cell = (2, 6)  # x from 6 to 7, y from 0 to 1
    corner_u = round(310.0 - 400.0 * (5 / 6) / (6 + 1 / 6))
    corner_v = round(230.0 + 500.0 * 1.5 / (6 + 1 / 6))
    for worst, expected in ((ROAD, FREE), (UNLABELED, UNKNOWN), (CAR, OCCUPIED)):
        class_ids = painted(ROAD)
        class_ids[corner_v, corner_u] = worst
        class_ids[round(230.0 + 500.0 * 1.5 / 6.5), round(310.0 - 400.0 * 0.5 / 6.5)] = (
            UNLABELED if worst == CAR else ROAD
        )
        grid = careful.occupancy(class_ids, sure(), TABLE)
        assert grid[cell] == expected
        others = careful.in_view.copy()
        others[cell] = False
        assert (grid[others] == FREE).all()


def test_pictures_in_any_memory_layout_are_read():
    random = np.random.default_rng(0)
    class_ids = random.integers(0, 19, (480, 640), np.uint8)
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    np.testing.assert_array_equal(
        projection.occupancy(np.asfortranarray(class_ids), sure()[::-1], TABLE),
        projection.occupancy(class_ids, sure(), TABLE),
    )


@pytest.mark.parametrize(
    ("class_ids", "confidence", "message"),
    [
        (np.zeros((4, 640), np.uint8), sure(), r"class ids of uint8 \[4, 640\].*\[480, 640\]"),
        (painted(0).astype(np.int64), sure(), r"class ids of int64 \[480, 640\]"),
        (painted(0), sure()[:-1], r"confidence of uint8 \[479, 640\]"),
    ],
)
def test_a_picture_of_another_camera_is_refused(class_ids, confidence, message):
    with pytest.raises(ValueError, match=message):
        GroundProjection(CAMERA, LEVEL, GEOMETRY).occupancy(class_ids, confidence, TABLE)


# Message


def test_the_message_reads_as_nav2_reads_it():
    geometry = GridGeometry(0.5, 1.5, 0.5, backward_m=0.5)
    grid = np.array([[-1, 0, 100, 0], [100, 100, 0, -1]], np.int8)
    stamp = Time(sec=3, nanosec=4)
    message = occupancy_grid_message(grid, geometry, "base_link", stamp)
    assert message.header.frame_id == "base_link"
    assert message.header.stamp == message.info.map_load_time == stamp
    assert message.info.resolution == 0.5
    assert (message.info.width, message.info.height) == (4, 2)
    origin = message.info.origin
    assert (origin.position.x, origin.position.y, origin.position.z) == (-0.5, -0.5, 0.0)
    assert (origin.orientation.x, origin.orientation.y, origin.orientation.z) == (0.0, 0.0, 0.0)
    assert origin.orientation.w == 1.0
    assert message.data == byte_array("b", [-1, 0, 100, 0, 100, 100, 0, -1])


@pytest.mark.parametrize(
    "grid", [np.zeros((3, 4), np.int8), np.zeros((2, 4), np.uint8), np.zeros(8, np.int8)]
)
def test_a_grid_of_another_geometry_is_refused(grid):
    with pytest.raises(ValueError, match=r"the geometry has int8 \[2, 4\]"):
        occupancy_grid_message(grid, GridGeometry(0.5, 2.0, 0.5), "base_link", Time())


# The synthetic drive

MOUNTED_X_M, MOUNTED_Y_M, MOUNTED_YAW = 1.4, 0.2, 0.05
"""Where the drive's camera is on our vehicle; height and pitch are the frame's own."""

DRIVE_GEOMETRY = GridGeometry(resolution_m=0.2, forward_m=22.0, sideways_m=12.0)
WITHIN_M = 20.0
GROUND_M = 0.25
"""Points this near to the road's plane are ground: the drive is flat, but for kerbs and footways of
0.1 to 0.17 m, which the projection takes for lower and farther than they are."""


@dataclass(frozen=True)
class Comparison:
    """Cells within WITHIN_M whose ground the frame's depth shows."""

    grid: np.ndarray
    is_road: np.ndarray

    @classmethod
    def together(cls, parts: list[Comparison]) -> Comparison:
        return cls(
            np.concatenate([part.grid for part in parts]),
            np.concatenate([part.is_road for part in parts]),
        )

    @property
    def known(self) -> float:
        return float((self.grid != UNKNOWN).mean())

    @property
    def agreement(self) -> float:
        known = self.grid != UNKNOWN
        return float(((self.grid == FREE) == self.is_road)[known].mean())

    @property
    def free_is_road(self) -> float:
        return float(self.is_road[self.grid == FREE].mean())

    @property
    def road_is_free(self) -> float:
        known = self.grid != UNKNOWN
        return float((self.grid == FREE)[known & self.is_road].mean())


def drive_mounting(frame: SyntheticFrame) -> Mounting:
    height_m, pitch = frame.camera.position_m[2], frame.camera.pitch_rad
    return Mounting(MOUNTED_X_M, MOUNTED_Y_M, height_m, 0.0, pitch, MOUNTED_YAW)


def drive_projection(frame: SyntheticFrame, samples_per_side: int = 1) -> GroundProjection:
    seen = frame.camera
    camera = CameraModel(
        seen.width, seen.height, seen.focal_px, seen.focal_px,
        seen.center_x - 0.5, seen.center_y - 0.5,
    )  # fmt: skip
    return GroundProjection(camera, drive_mounting(frame), DRIVE_GEOMETRY, samples_per_side)


def points_by_depth(frame: SyntheticFrame) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel's point in the vehicle frame [n, 3] and its class [n], by depth alone."""
    camera = frame.camera
    rows, columns = np.nonzero(np.isfinite(frame.depth_m))
    ahead = frame.depth_m[rows, columns].astype(np.float64)
    right = (columns + 0.5 - camera.center_x) / camera.focal_px * ahead
    down = (rows + 0.5 - camera.center_y) / camera.focal_px * ahead
    level = math.cos(camera.pitch_rad) * ahead - math.sin(camera.pitch_rad) * down
    fall = math.sin(camera.pitch_rad) * ahead + math.cos(camera.pitch_rad) * down
    x = MOUNTED_X_M + math.cos(MOUNTED_YAW) * level + math.sin(MOUNTED_YAW) * right
    y = MOUNTED_Y_M + math.sin(MOUNTED_YAW) * level - math.cos(MOUNTED_YAW) * right
    points = np.stack([x, y, camera.position_m[2] - fall], axis=1)
    return points, frame.class_ids[rows, columns]


def compare(frame: SyntheticFrame, samples_per_side: int = 1) -> Comparison:
    """Let the points that lie near the road's plane vote for the cell they lie in."""
    points, classes = points_by_depth(frame)
    cells = np.floor((points[:, :2] - [0.0, -12.0]) / 0.2).astype(int)  # column, row
    kept = np.abs(points[:, 2]) < GROUND_M
    kept &= np.hypot(points[:, 0], points[:, 1]) < WITHIN_M
    kept &= (cells >= 0).all(axis=1) & (cells < [110, 120]).all(axis=1)
    votes = np.zeros((2, 120, 110), int)
    of_road = (classes[kept] == ROAD).astype(int)
    np.add.at(votes, (of_road, cells[kept, 1], cells[kept, 0]), 1)
    voted = votes.sum(axis=0) > 0
    projection = drive_projection(frame, samples_per_side)
    grid = projection.occupancy(
        frame.class_ids, np.full_like(frame.class_ids, 255), occupancy_table(CITYSCAPES)
    )
    return Comparison(grid[voted], (votes[1] > votes[0])[voted])


@pytest.fixture(scope="module")
def frames() -> list[SyntheticFrame]:
    return [
        SyntheticDrive(seed, 512, 256).frame(index)
        for seed in (0, 1, 9000, 9001)
        for index in (0, 10, 27, 45)
    ]


def test_every_pixel_of_the_drive_projects_onto_itself(frames):
    frame = frames[0]
    points, _ = points_by_depth(frame)
    rows, columns = np.nonzero(np.isfinite(frame.depth_m))
    camera = drive_projection(frame).camera
    pixels, seen = camera.project(drive_mounting(frame).camera_points(points))
    assert seen.all()
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=1), atol=1e-6)


def test_the_grid_agrees_with_the_ground_that_depth_shows(frames):
    parts = [compare(frame) for frame in frames]
    whole = Comparison.together(parts)
    assert len(whole.grid) > 40_000
    assert 0.2 < 1.0 - whole.is_road.mean() < 0.8  # other ground counts too
    assert whole.known >= 0.97
    assert whole.agreement >= 0.95
    assert whole.free_is_road >= 0.97
    assert whole.road_is_free >= 0.97
    # Where most of the road is behind traffic, a cell of which a corner shows is occupied.
    assert min(part.agreement for part in parts) >= 0.90


def test_the_worst_of_several_points_leaves_less_that_is_free_in_error(frames):
    careful = Comparison.together([compare(frame, samples_per_side=3) for frame in frames])
    assert careful.free_is_road >= 0.985
    assert careful.agreement >= 0.95
