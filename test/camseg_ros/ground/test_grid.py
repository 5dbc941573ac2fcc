# SPDX-License-Identifier: Apache-2.0
"""The grid against closed forms, and against the ground that the synthetic drive's depth shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES, UNLABELED
from camseg_core.synthetic.classes import CAR, ROAD, SIDEWALK, SKY
from camseg_core.synthetic.drive import SyntheticDrive, SyntheticFrame
from camseg_ros.ground.camera_model import CameraModel, Mounting
from camseg_ros.ground.grid import (
    FREE,
    OCCUPIED,
    UNKNOWN,
    UPRIGHT,
    GridGeometry,
    GroundProjection,
    occupancy_table,
)
from camseg_ros.messages.outputs import scaled_camera_info

CAMERA = CameraModel(width=640, height=480, fx=400.0, fy=500.0, cx=310.0, cy=230.0)
LEVEL = Mounting(0.0, 0.0, 1.5)
GEOMETRY = GridGeometry(resolution_m=0.5, forward_m=20.0, sideways_m=8.0)
TABLE = occupancy_table(CITYSCAPES)


def painted(class_id: int, camera: CameraModel = CAMERA) -> np.ndarray:
    return np.full((camera.height, camera.width), class_id, np.uint8)


def sure(camera: CameraModel = CAMERA) -> np.ndarray:
    return painted(255, camera)


# Projection


def test_a_mask_of_twice_the_size_gives_the_same_grid():
    # Only if both sides agree on where pixel centres are.
    random = np.random.default_rng(3)
    class_ids = random.choice(np.array([ROAD, CAR], np.uint8), (480, 640))
    grids = []
    for scale in (1, 2):
        k = [400.0, 0.0, 310.0, 0.0, 500.0, 230.0, 0.0, 0.0, 1.0]
        info = scaled_camera_info(
            CameraInfo(height=480, width=640, k=k), 480 * scale, 640 * scale, Header()
        )
        camera = CameraModel.from_camera_info(info, rectified=False)
        projection = GroundProjection(camera, LEVEL, GEOMETRY)
        mask = class_ids.repeat(scale, axis=0).repeat(scale, axis=1)
        grids.append(projection.occupancy(mask, np.full_like(mask, 255), TABLE))
    np.testing.assert_array_equal(*grids)
    assert set(np.unique(grids[0])) == {FREE, OCCUPIED, UNKNOWN}


# Grid


def test_rows_rise_to_the_left_and_columns_forward():
    geometry = GridGeometry(resolution_m=0.5, forward_m=2.5, sideways_m=1.0)
    assert (geometry.rows, geometry.columns) == (4, 5)
    assert geometry.origin_m == (0.0, -1.0)
    points = geometry.points()
    assert points.shape == (4, 5, 2)
    assert points[0, 0].tolist() == [0.25, -0.75]
    assert points[3, 4].tolist() == [2.25, 0.75]
    assert points[0, 4].tolist() == [2.25, -0.75]


def test_lengths_round_up_to_whole_cells():
    geometry = GridGeometry(resolution_m=0.3, forward_m=1.0, sideways_m=0.4)
    assert (geometry.rows, geometry.columns) == (4, 4)
    assert geometry.origin_m == pytest.approx((0.0, -0.6))
    assert GridGeometry(0.1, 0.3, 0.7).columns == 3  # 0.3 / 0.1 is 2.9999999999999996
    assert GridGeometry(0.1, 0.3, 0.7).rows == 14  # and 0.7 / 0.1 is 6.999999999999999


@pytest.mark.parametrize("lengths", [(0.1, 0.0, 1.0), (0.1, 1.0, 0.0), (0.001, 20.0, 20.0)])
def test_a_grid_of_no_or_too_many_cells_is_refused(lengths):
    resolution_m, forward_m, sideways_m = lengths
    told = (
        f"grid of {forward_m} m ahead and {sideways_m} m to each side in cells of {resolution_m} m"
        ": must have 1 to 4000000 cells; give another range or size of cells"
    )
    with pytest.raises(CamsegError, match=told):
        GridGeometry(*lengths)


def test_classes_are_free_occupied_upright_or_never_ground():
    table = occupancy_table(CITYSCAPES, ("road", "terrain"))
    assert table.dtype == np.int8
    named = {name: table[class_id] for class_id, name in enumerate(CITYSCAPES.names)}
    assert [name for name in named if named[name] == FREE] == ["road", "terrain"]
    assert [name for name in named if named[name] == UNKNOWN] == ["sky"]
    assert [name for name in named if named[name] == OCCUPIED] == ["sidewalk"]
    assert sum(value == UPRIGHT for value in named.values()) == 15
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
    class_ids = painted(SIDEWALK)
    class_ids[v, u] = ROAD
    grid = projection.occupancy(class_ids, sure(), TABLE)
    assert grid.dtype == np.int8
    assert grid.shape == (32, 40)
    assert np.argwhere(grid == FREE).tolist() == [[row, column]]


def test_only_what_is_in_view_is_known():
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    grid = projection.occupancy(painted(ROAD), sure(), TABLE)
    x, y = np.moveaxis(GEOMETRY.points(), -1, 0)
    u, v = 310.0 - 400.0 * y / x, 230.0 + 500.0 * 1.5 / x
    expected = (u >= -0.5) & (u < 639.5) & (v < 479.5)
    np.testing.assert_array_equal(grid == FREE, expected)
    np.testing.assert_array_equal(grid == UNKNOWN, ~expected)
    np.testing.assert_array_equal(projection.in_view, expected)
    assert 0.3 < expected.mean() < 0.95


@pytest.mark.parametrize("turn", [{"pitch_rad": -1.0}, {"yaw_rad": math.pi}])
def test_a_camera_that_looks_up_or_back_sees_no_ground_ahead(turn):
    projection = GroundProjection(CAMERA, replace(LEVEL, **turn), GEOMETRY)
    assert (projection.occupancy(painted(ROAD), sure(), TABLE) == UNKNOWN).all()
    assert not projection.in_view.any()


@pytest.mark.parametrize(
    ("class_id", "expected"),
    [(ROAD, FREE), (SIDEWALK, OCCUPIED), (SKY, UNKNOWN), (UNLABELED, UNKNOWN)],
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
    seen = projection.occupancy(painted(SIDEWALK), confidence, TABLE)
    limited = projection.occupancy(painted(SIDEWALK), confidence, TABLE, least_confidence=100)
    assert (seen[projection.in_view] == OCCUPIED).all()
    y, x = GEOMETRY.points()[..., 1], GEOMETRY.points()[..., 0]
    at_right = projection.in_view & (310.0 - 400.0 * y / x >= 319.5)
    np.testing.assert_array_equal(limited == OCCUPIED, at_right)
    assert 0 < at_right.sum() < projection.in_view.sum()


# What stands upright. Row v of `CAMERA` shows the ground 750 / (v - 230) m ahead, and cells are
# 0.5 m long: row 300 ends at 10.64 m, in the column of cells that begins at 10.5 m.


def columns_with(grid: np.ndarray, value: int, row: int = 16) -> list[int]:
    return np.flatnonzero(grid[row] == value).tolist()


@pytest.mark.parametrize("hidden", [UNKNOWN, OCCUPIED])
def test_of_a_wall_the_first_cells_are_occupied_and_what_it_hides_is_unknown(hidden):
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    class_ids = painted(ROAD)
    class_ids[:301] = CAR
    grid = projection.occupancy(class_ids, sure(), TABLE, hidden=hidden)
    ahead = GEOMETRY.points()[..., 0]
    expected = np.where(ahead < 10.5, FREE, np.where(ahead < 11.0, OCCUPIED, hidden))
    np.testing.assert_array_equal(grid, np.where(projection.in_view, expected, UNKNOWN))


def test_ground_that_shows_beyond_an_obstacle_is_ground_and_the_next_one_has_a_foot():
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    class_ids = painted(ROAD)
    class_ids[281:301] = CAR  # hides the ground up to 14.85 m
    class_ids[:271] = CAR  # from 18.5 m on
    grid = projection.occupancy(class_ids, sure(), TABLE)
    assert columns_with(grid, OCCUPIED) == [21, 37]
    assert columns_with(grid, FREE) == [*range(6, 21), *range(30, 37)]


def test_what_is_not_known_neither_ends_an_obstacle_nor_begins_one():
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    class_ids, confidence = painted(ROAD), sure()
    class_ids[:311] = CAR
    confidence[301:311] = 0  # its foot is doubtful
    class_ids[281:291] = SKY  # through its windows
    class_ids[271:281] = UNLABELED
    grid = projection.occupancy(class_ids, confidence, TABLE, least_confidence=1)
    assert columns_with(grid, OCCUPIED) == [21]
    assert columns_with(grid, FREE) == list(range(6, 19))


def test_behind_a_post_a_strip_along_its_rays_is_unknown():
    # Between two cells' centres, too: at 10.6 m it is 0.3 m wide.
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    class_ids = painted(ROAD)
    class_ids[:301, 260:271] = CAR
    grid = projection.occupancy(class_ids, sure(), TABLE)
    across = np.rint(GEOMETRY.points()[..., 1] * -400.0 / GEOMETRY.points()[..., 0] + 310.0)
    behind = (across >= 260) & (across <= 270) & (GEOMETRY.points()[..., 0] > 11.0)
    assert (grid[behind] == UNKNOWN).all()
    assert np.argwhere(grid == OCCUPIED).tolist() == [[18, 21]]
    others = projection.in_view & ~behind & (grid != OCCUPIED)
    assert (grid[others] == FREE).all()


def test_what_is_upright_at_the_edge_of_the_view_begins_there():
    projection = GroundProjection(CAMERA, LEVEL, GEOMETRY)
    grid = projection.occupancy(painted(CAR), sure(), TABLE)
    assert columns_with(grid, OCCUPIED) == [6]  # the last row shows the ground 3.01 m ahead
    assert columns_with(grid, FREE) == []


# The synthetic drive

MOUNTED_X_M, MOUNTED_Y_M, MOUNTED_YAW = 1.4, 0.2, 0.05
"""Where the drive's camera is on our vehicle; height and pitch are the frame's own."""

DRIVE_GEOMETRY = GridGeometry(resolution_m=0.2, forward_m=22.0, sideways_m=12.0)
WITHIN_M = 20.0
GROUND_M = 0.25
"""Points this near the road's plane are ground: the drive is flat, except for kerbs and footways of
0.1 to 0.17 m, which the projection takes for lower and farther than they are."""


def drive_mounting(frame: SyntheticFrame) -> Mounting:
    height_m, pitch = frame.camera.position_m[2], frame.camera.pitch_rad
    return Mounting(MOUNTED_X_M, MOUNTED_Y_M, height_m, 0.0, pitch, MOUNTED_YAW)


def drive_projection(frame: SyntheticFrame) -> GroundProjection:
    seen = frame.camera
    camera = CameraModel(
        seen.width, seen.height, seen.focal_px, seen.focal_px,
        seen.center_x - 0.5, seen.center_y - 0.5,
    )  # fmt: skip
    return GroundProjection(camera, drive_mounting(frame), DRIVE_GEOMETRY)


def points_by_depth(frame: SyntheticFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return by depth each pixel's point in the vehicle frame [n, 3], and its class [n]."""
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


def compare(frame: SyntheticFrame) -> np.ndarray:
    """Return the grid, and by depth whether it is road, of each cell whose ground a frame shows.

    The points that lie near the road's plane and within `WITHIN_M` vote for the cell they lie in.
    """
    points, classes = points_by_depth(frame)
    cells = np.floor((points[:, :2] - [0.0, -12.0]) / 0.2).astype(int)  # column, row
    kept = np.abs(points[:, 2]) < GROUND_M
    kept &= np.hypot(points[:, 0], points[:, 1]) < WITHIN_M
    kept &= (cells >= 0).all(axis=1) & (cells < [110, 120]).all(axis=1)
    votes = np.zeros((2, 120, 110), int)
    of_road = (classes[kept] == ROAD).astype(int)
    np.add.at(votes, (of_road, cells[kept, 1], cells[kept, 0]), 1)
    voted = votes.sum(axis=0) > 0
    projection = drive_projection(frame)
    grid = projection.occupancy(
        frame.class_ids, np.full_like(frame.class_ids, 255), occupancy_table(CITYSCAPES)
    )
    return np.stack([grid[voted], (votes[1] > votes[0])[voted]])


def hidden_share(frame: SyntheticFrame, hidden: int) -> tuple[int, int]:
    """Count the occupied cells, and those among them whose ground something hides.

    By depth: what the pixel at a cell's centre shows lies more than `GROUND_M` above the road.
    """
    heights_m = np.full(frame.class_ids.shape, np.inf)
    heights_m[np.isfinite(frame.depth_m)] = points_by_depth(frame)[0][:, 2]
    projection = drive_projection(frame)
    grid = projection.occupancy(
        frame.class_ids, np.full_like(frame.class_ids, 255), TABLE, hidden=hidden
    )
    points = DRIVE_GEOMETRY.points().reshape(-1, 2)[grid.ravel() == OCCUPIED]
    ground = np.concatenate([points, np.zeros_like(points[:, :1])], axis=1)
    pixels, _ = projection.camera.project(drive_mounting(frame).camera_points(ground))
    column, row = np.clip(np.rint(pixels), 0, [511, 255]).astype(int).T
    return len(points), int((heights_m[row, column] > GROUND_M).sum())


def share(of: np.ndarray, among: np.ndarray) -> float:
    return float(of[among].mean())


@pytest.fixture(scope="module")
def frames() -> list[SyntheticFrame]:
    return [
        SyntheticDrive(seed, 512, 256).frame(index)
        for seed in (0, 1, 9000, 9001)
        for index in (0, 27)
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
    grid, is_road = np.concatenate(parts, axis=1)
    known, free = grid != UNKNOWN, grid == FREE
    assert len(grid) > 20_000
    assert 0.2 < 1.0 - is_road.mean() < 0.8  # other ground counts too
    assert known.mean() >= 0.95  # a cell of which a corner shows may be hidden at its centre
    assert share(free == is_road, known) >= 0.95
    assert share(is_road, free) >= 0.97
    assert share(free, known & (is_road == 1)) >= 0.97
    assert share(free, is_road == 1) >= 0.95
    assert min(share((cells == FREE) == road, cells != UNKNOWN) for cells, road in parts) >= 0.90


def test_few_occupied_cells_are_ground_that_something_hides(frames):
    before, after = (
        np.sum([hidden_share(frame, hidden) for frame in frames[:5]], axis=0)
        for hidden in (OCCUPIED, UNKNOWN)
    )
    assert before[1] >= 0.5 * before[0]
    assert after[1] <= 0.05 * after[0]
    assert after[0] >= 2000
