# SPDX-License-Identifier: Apache-2.0
"""Frames: the same for the same question, exact, and of every class."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.data.sample import CONDITIONS
from camseg_core.errors import CamsegError
from camseg_core.synthetic import classes
from camseg_core.synthetic.drive import SyntheticDrive, SyntheticFrame, drive_textures
from camseg_core.synthetic.world.world import make_world
from camseg_core.synthetic.write import labels_sha256

SIZE = (128, 64)
COUNTED = range(classes.PERSON, classes.BICYCLE + 1)
PINNED_FRAMES = (0, 7, 19, 20, 61, 113)
PINNED_SHA256 = "9f4c2cd67d0df33215a5447dba36a402d699d4fcd39255bb66f094e5d4add689"


def assert_same(first: SyntheticFrame, second: SyntheticFrame) -> None:
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.class_ids, second.class_ids)
    np.testing.assert_array_equal(first.instance_ids, second.instance_ids)
    np.testing.assert_array_equal(first.depth_m, second.depth_m)
    assert first.camera == second.camera


def test_labels_have_not_changed() -> None:
    drive = SyntheticDrive(9000, *SIZE)
    found = labels_sha256(drive.frame(index).class_ids for index in PINNED_FRAMES)
    assert found == PINNED_SHA256, (
        f"class ids of the synthetic drive changed ({found}): bump GENERATOR_VERSION, and update "
        "this hash and those of docs/synthetic.md"
    )


def test_the_ego_vehicle_drives_through_nobody() -> None:
    """Ten seconds of the drive of ``make demo``, in which people cross a junction."""
    drive = SyntheticDrive(9200, *SIZE, frames_per_sequence=100)
    for index in range(80, 92):
        frame = drive.frame(index)
        users = frame.instance_ids > 0
        assert users.mean() < 0.2
        assert users.any()
        assert frame.depth_m[users].min() > 2.0


def test_a_frame_depends_on_seed_and_index_only() -> None:
    drive = SyntheticDrive(3, *SIZE, "snow")
    expected = drive.frame(45)
    others = [SyntheticDrive(seed, *SIZE).frame(45) for seed in (1, 2)]  # push it out of caches
    others += [drive.frame(index) for index in (44, 3)]
    assert_same(drive.frame(45), expected)
    masks = [frame.class_ids for frame in (*others, expected)]
    assert len({labels_sha256([mask]) for mask in masks}) == 5


@pytest.mark.parametrize("index", [4, 33])
def test_weather_changes_the_image_and_nothing_else(index: int) -> None:
    frames = [SyntheticDrive(4, *SIZE, condition).frame(index) for condition in CONDITIONS]
    for frame in frames[1:]:
        clear = dataclasses.replace(frames[0], image=frame.image)
        assert_same(frame, clear)
        assert np.abs(frame.image.astype(int) - frames[0].image).mean() > 4


def test_a_frame_has_the_promised_form() -> None:
    frame = SyntheticDrive(0, *SIZE).frame(8)
    assert (frame.camera.width, frame.camera.height) == SIZE
    for array, kind in (
        (frame.image[..., 0], np.uint8), (frame.class_ids, np.uint8),
        (frame.instance_ids, np.uint16), (frame.depth_m, np.float32),
    ):  # fmt: skip
        assert (array.dtype, array.shape) == (kind, (64, 128))


def test_depth_instances_and_classes_agree() -> None:
    for index in range(0, 200, 53):
        frame = SyntheticDrive(6, *SIZE).frame(index)
        np.testing.assert_array_equal(np.isinf(frame.depth_m), frame.class_ids == classes.SKY)
        assert frame.depth_m.min() >= 0.4
        counted = np.isin(frame.class_ids, list(COUNTED))
        np.testing.assert_array_equal(frame.instance_ids > 0, counted)
        for instance in np.unique(frame.instance_ids[counted]):
            assert len(np.unique(frame.class_ids[frame.instance_ids == instance])) == 1


def test_the_flat_road_is_where_the_camera_says() -> None:
    """Depth of road pixels follows from height, pitch and focal length alone."""
    for index in (2, 25, 48):
        frame = SyntheticDrive(11, *SIZE).frame(index)
        camera = frame.camera
        rows, columns = np.nonzero(frame.class_ids == classes.ROAD)
        y = (rows + 0.5 - camera.center_y) / camera.focal_px
        descent = y * np.cos(camera.pitch_rad) + np.sin(camera.pitch_rad)
        np.testing.assert_allclose(
            frame.depth_m[rows, columns], camera.position_m[2] / descent, rtol=1e-5
        )


def test_riders_sit_above_their_vehicles() -> None:
    drive = SyntheticDrive(0, 256, 128)
    higher, seen = 0, 0
    for index in range(0, 200, 20):
        ids = drive.frame(index).class_ids
        rider = np.nonzero(ids == classes.RIDER)[0]
        if len(rider) < 60:
            continue
        seen += 1
        columns = np.nonzero((ids == classes.RIDER).any(axis=0))[0]
        below = np.isin(ids[:, columns], [classes.BICYCLE, classes.MOTORCYCLE])
        higher += bool(below.any()) and np.nonzero(below)[0].mean() > rider.mean()
    assert seen >= 4
    assert higher >= 0.8 * seen


def test_things_move_on_their_own() -> None:
    """Over one second something that moves comes nearer or goes away, however the camera moves."""
    world = make_world(0, 0, *SIZE, 20, drive_textures(0))
    before, after = world.scene.poses(0.0), world.scene.poses(1.0)
    moved = np.hypot(*(after - before)[:, :2].T)
    assert (moved[list(world.scene.moving)] > 0.5).sum() > 5
    resting = np.setdiff1d(np.arange(len(moved)), world.scene.moving)
    assert (moved[resting] == 0).all()
    ego = np.array(world.camera(10).position_m) - world.camera(0).position_m
    assert 1 < np.hypot(*ego[:2]) < 20


@pytest.mark.parametrize(("seed", "step"), [(0, 5), (9001, 10)])
def test_every_class_is_seen_often_and_none_rules(seed: int, step: int) -> None:
    """Every ``step``-th of 200 frames is looked at."""
    drive = SyntheticDrive(seed, *SIZE)
    present = np.zeros(19)
    pixels = np.zeros(19)
    for index in range(0, 200, step):
        counts = np.bincount(drive.frame(index).class_ids.ravel(), minlength=19)
        present += counts > 0
        pixels += counts
    assert present.min() >= 0.05 * 200 / step
    assert pixels.max() / pixels.sum() <= 0.45


def test_cameras_vary() -> None:
    cameras = [
        make_world(0, sequence, *SIZE, 20, drive_textures(0)).camera(0) for sequence in range(6)
    ]
    for attribute in ("focal_px", "pitch_rad"):
        assert len({getattr(camera, attribute) for camera in cameras}) == 6
    heights = [camera.position_m[2] for camera in cameras]
    assert 1.1 < min(heights) < max(heights) < 2.3


@given(
    width=st.integers(64, 200), height=st.integers(32, 200), seed=st.integers(0, 2**32 - 1),
    condition=st.sampled_from(CONDITIONS), per_sequence=st.integers(1, 60),
)  # fmt: skip
@settings(max_examples=4, deadline=None)
def test_any_size_and_seed_can_be_rendered(
    width: int, height: int, seed: int, condition: str, per_sequence: int
) -> None:
    frame = SyntheticDrive(seed, width, height, condition, per_sequence).frame(per_sequence + 1)
    assert frame.image.shape == (height, width, 3)
    assert frame.class_ids.max() < 19
    assert frame.image.std() > 1


def test_a_frame_without_sky_can_be_rendered() -> None:
    frame = SyntheticDrive(62686285, 64, 32, "clear", 2).frame(3)
    assert not (frame.class_ids == classes.SKY).any()
    assert np.isfinite(frame.depth_m).all()


def test_the_largest_width_can_be_rendered() -> None:
    frame = SyntheticDrive(1, 2048, 512).frame(0)
    small = SyntheticDrive(1, 512, 128).frame(0)
    agreement = (frame.class_ids[2::4, 2::4] == small.class_ids).mean()
    assert agreement > 0.97


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 64, 32), "seed -1: a whole number from 0 to 4294967295 is needed"),
        ((2**32, 64, 32), "seed 4294967296: a whole number from 0 to 4294967295 is needed"),
        ((0, 63, 32), "width 63: a whole number from 64 to 2048 is needed"),
        ((0, 64, 31), "height 31: a whole number from 32 to 2048 is needed"),
        ((0, 2049, 32), "width 2049: a whole number from 64 to 2048 is needed"),
        ((0, 64, 32, "dust"), "condition 'dust': one of clear, fog, rain, snow, night is needed"),
        ((0, 64, 32, "fog", 0), "frames per sequence 0: a whole number from 1 to 200 is needed"),
    ],
)
def test_values_out_of_range_are_refused(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(CamsegError, match=f"^{re.escape(message)}$"):
        SyntheticDrive(*arguments)


def test_frames_are_counted_from_0() -> None:
    with pytest.raises(CamsegError, match="^frame -1: frames are counted from 0$"):
        SyntheticDrive(0, 64, 32).frame(-1)
