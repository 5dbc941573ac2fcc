# SPDX-License-Identifier: Apache-2.0
"""Drives on disk: names, values, several in one folder, and nothing half-written."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from camseg_core.data.datasets import open_dataset
from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES
from camseg_core.synthetic.drive import GENERATOR_VERSION, SyntheticDrive, SyntheticFrame
from camseg_core.synthetic.layouts import (
    DRIVE_LAYOUTS,
    LABEL_IDS,
    FrameKey,
    depth_image,
    disparity_image,
    kitti_sequence,
)
from camseg_core.synthetic.write import (
    MANIFEST,
    labels_sha256,
    write_contact_sheet,
    write_drive,
)  # fmt: skip

SIZE = (64, 32)
SEED = 5


def frame(index: int, condition: str = "clear") -> SyntheticFrame:
    return SyntheticDrive(SEED, *SIZE, condition, 2).frame(index)


def write(out: Path, layout: str, condition: str = "clear", split: str = "val") -> None:
    write_drive(out, 3, SEED, SIZE, condition, layout, split, frames_per_sequence=2)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture[..., ::-1] if picture.ndim == 3 else picture


def test_cityscapes(tmp_path: Path) -> None:
    write(tmp_path, "cityscapes")
    stems = ["clear5_000000_000000", "clear5_000000_000001", "clear5_000001_000000"]
    assert names(tmp_path) == sorted(
        [
            MANIFEST,
            *(f"leftImg8bit/val/clear5/{stem}_leftImg8bit.png" for stem in stems),
            *(f"gtFine/val/clear5/{stem}_gtFine_labelIds.png" for stem in stems),
            *(f"gtFine/val/clear5/{stem}_gtFine_instanceIds.png" for stem in stems),
            *(f"disparity/val/clear5/{stem}_disparity.png" for stem in stems),
            *(f"camera/val/clear5/{stem}_camera.json" for stem in stems),
        ]
    )
    made, stem = frame(2), "val/clear5/clear5_000001_000000"
    np.testing.assert_array_equal(
        read(tmp_path / f"leftImg8bit/{stem}_leftImg8bit.png"), made.image
    )
    label_ids = read(tmp_path / f"gtFine/{stem}_gtFine_labelIds.png")
    assert label_ids.dtype == np.uint8
    np.testing.assert_array_equal(CITYSCAPES.remap(label_ids), made.class_ids)
    instances = read(tmp_path / f"gtFine/{stem}_gtFine_instanceIds.png")
    assert instances.dtype == np.uint16
    counted = made.instance_ids > 0
    np.testing.assert_array_equal(instances[~counted], label_ids[~counted])
    np.testing.assert_array_equal(instances[counted] // 1000, label_ids[counted])
    np.testing.assert_array_equal(instances[counted] % 1000, made.instance_ids[counted])
    camera = json.loads((tmp_path / f"camera/{stem}_camera.json").read_text())
    assert camera["intrinsic"] == {
        "fx": made.camera.focal_px, "fy": made.camera.focal_px,
        "u0": made.camera.center_x - 0.5, "v0": made.camera.center_y - 0.5,
    }  # fmt: skip
    assert camera["extrinsic"]["pitch"] == made.camera.pitch_rad
    assert camera["extrinsic"]["z"] == made.camera.position_m[2]
    disparity = read(tmp_path / f"disparity/{stem}_disparity.png").astype(float)
    near = made.depth_m < 20
    depth = camera["intrinsic"]["fx"] * camera["extrinsic"]["baseline"] * 256 / (disparity - 1)
    np.testing.assert_allclose(depth[near], made.depth_m[near], rtol=0.01)
    assert (disparity[np.isinf(made.depth_m)] == 0).all()


def test_kitti_step(tmp_path: Path) -> None:
    write(tmp_path, "kitti-step")
    frames = ["0002/000000", "0002/000001", "0006/000000"]
    assert names(tmp_path) == sorted(
        [
            MANIFEST,
            *(f"training/image_02/{name}.png" for name in frames),
            *(f"training/depth_02/{name}.png" for name in frames),
            *(f"panoptic_maps/val/{name}.png" for name in frames),
            *(
                f"training/{kind}/{name}.txt"
                for kind in ("calib", "pose_02")
                for name in ("0002", "0006")
            ),
        ]
    )
    made = frame(1)
    np.testing.assert_array_equal(read(tmp_path / "training/image_02/0002/000001.png"), made.image)
    panoptic = read(tmp_path / "panoptic_maps/val/0002/000001.png").astype(int)
    np.testing.assert_array_equal(panoptic[..., 0], made.class_ids)
    np.testing.assert_array_equal(panoptic[..., 1] * 256 + panoptic[..., 2], made.instance_ids)
    depth = read(tmp_path / "training/depth_02/0002/000001.png")
    near = made.depth_m < 255
    np.testing.assert_allclose(depth[near] / 256, made.depth_m[near], atol=0.002)
    assert (depth[made.depth_m > 256] == 0).all()
    calibration = (tmp_path / "training/calib/0002.txt").read_text()
    assert calibration.startswith("P2: ")
    numbers = [float(word) for word in calibration[4:].split()]
    assert len(numbers) == 12
    assert numbers[0] == numbers[5] == pytest.approx(made.camera.focal_px)
    assert numbers[2] == pytest.approx(made.camera.center_x - 0.5)
    poses = np.loadtxt(tmp_path / "training/pose_02/0002.txt").reshape(-1, 3, 4)
    assert len(poses) == 2
    np.testing.assert_allclose(poses[1, :, 3], made.camera.position_m)
    np.testing.assert_allclose(poses[1, :, :3].T @ poses[1, :, :3], np.eye(3), atol=1e-9)
    # A road pixel, carried into the world, lies on the ground.
    row, column = np.argwhere(made.class_ids == 0)[-1]
    ray = np.array([(column - numbers[2]) / numbers[0], (row - numbers[6]) / numbers[0], 1.0])
    place = poses[1, :, :3] @ (ray * made.depth_m[row, column]) + poses[1, :, 3]
    assert place[2] == pytest.approx(0.0, abs=1e-5)


def test_instances_beyond_a_byte_reach_panoptic_maps() -> None:
    made = frame(0)
    many = dataclasses.replace(made, instance_ids=made.instance_ids + np.uint16(700))
    files = DRIVE_LAYOUTS["kitti-step"].frame_files(many, FrameKey(5, "clear", "val", 0, 0))
    content = np.frombuffer(files["panoptic_maps/val/0002/000000.png"], np.uint8)
    panoptic = cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    np.testing.assert_array_equal(panoptic[..., 1] * 256 + panoptic[..., 2], many.instance_ids)


def test_kitti_sequences_are_the_splits_own() -> None:
    val = [kitti_sequence("val", number) for number in range(40)]
    train = [kitti_sequence("train", number) for number in range(40)]
    assert val[:10] == [
        "0002",
        "0006",
        "0007",
        "0008",
        "0010",
        "0013",
        "0014",
        "0016",
        "0018",
        "5000",
    ]
    assert val[:4] == ["0002", "0006", "0007", "0008"]
    assert train[:4] == ["0000", "0001", "0003", "0004"]
    assert len({*val, *train}) == 80


@pytest.mark.parametrize(
    ("condition", "folder", "ref"), [("night", "night/val", ""), ("clear", "fog/val_ref", "_ref")]
)
def test_acdc(tmp_path: Path, condition: str, folder: str, ref: str) -> None:
    write(tmp_path, "acdc", condition)
    drives = [("GOPR00050000", 0), ("GOPR00050000", 1), ("GOPR00050001", 0)]
    stems = [f"{folder}/{drive}/{drive}_frame_{place:06d}" for drive, place in drives]
    assert names(tmp_path) == sorted(
        [
            MANIFEST,
            *(f"rgb_anon/{stem}_rgb{ref}_anon.png" for stem in stems),
            *(f"gt/{stem}_gt{ref}_labelIds.png" for stem in stems),
            *(f"depth/{stem}_depth{ref}.png" for stem in stems),
            *(f"camera/{stem}_camera{ref}.json" for stem in stems),
        ]
    )
    made = frame(2, condition)
    np.testing.assert_array_equal(
        read(tmp_path / f"rgb_anon/{stems[2]}_rgb{ref}_anon.png"), made.image
    )
    label_ids = read(tmp_path / f"gt/{stems[2]}_gt{ref}_labelIds.png")
    np.testing.assert_array_equal(CITYSCAPES.remap(label_ids), made.class_ids)


@pytest.mark.parametrize("layout", ["cityscapes", "kitti-step", "acdc"])
def test_the_readers_read_what_is_written(tmp_path: Path, layout: str) -> None:
    write(tmp_path, layout, "rain")
    dataset = open_dataset(layout, tmp_path, "val")
    assert len(dataset) == 3
    for index in range(3):
        sample = dataset.read(index)
        np.testing.assert_array_equal(sample.class_ids, frame(index).class_ids)
        np.testing.assert_array_equal(sample.image, frame(index, "rain").image)


def test_label_ids_are_the_inverse_of_the_readers_table() -> None:
    for class_id in range(19):
        assert CITYSCAPES.source_ids[int(LABEL_IDS[class_id])] == class_id
    assert LABEL_IDS[255] == 0


def test_depth_images_keep_their_units() -> None:
    depth = np.array([[1.0, 10.25, 255.99, 256.0, np.inf]], np.float32)
    np.testing.assert_array_equal(depth_image(depth), [[256, 2624, 65533, 0, 0]])
    expected = [[round(100 * 0.5 / d * 256) + 1 for d in (1.0, 10.25, 255.99, 256.0)] + [0]]
    np.testing.assert_array_equal(disparity_image(depth, 100.0), expected)


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "d", "cityscapes")
    write(tmp_path / "d", "cityscapes", split="train")
    write(tmp_path / "d", "cityscapes", "snow")
    content = json.loads((tmp_path / "d" / MANIFEST).read_text())
    assert content["layout"] == "cityscapes"
    expected_hash = labels_sha256(frame(index).class_ids for index in range(3))
    assert content["drives"] == [
        {
            "generator_version": GENERATOR_VERSION, "seed": 5, "condition": condition,
            "split": split, "width": 64, "height": 32, "frames": 3, "frames_per_sequence": 2,
            "labels_sha256": expected_hash,
            "image_folders": [f"leftImg8bit/{split}/{condition}5"],
        }
        for condition, split in (("clear", "val"), ("clear", "train"), ("snow", "val"))
    ]  # fmt: skip
    assert not [entry for entry in (tmp_path / "d").iterdir() if entry.name.startswith(".")]


def test_the_same_drive_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, "kitti-step", "fog")
    assert names(tmp_path / "one") == names(tmp_path / "two")
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_hashes_depend_on_shape_order_and_values() -> None:
    flat = np.zeros((2, 8), np.uint8)
    masks = [[flat], [flat.reshape(4, 4)], [flat, flat + 1], [flat + 1, flat], [flat + 1]]
    assert len({labels_sha256(group) for group in masks}) == 5
    assert labels_sha256([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_folder_with_other_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    message = (
        f"{tmp_path} holds other data (photo.jpg) and no synthetic.json; give a new or empty folder"
    )
    with pytest.raises(CamsegError, match=f"^{re.escape(message)}$"):
        write(tmp_path, "cityscapes")
    assert names(tmp_path) == ["photo.jpg"]


def test_a_drive_is_not_written_twice(tmp_path: Path) -> None:
    write(tmp_path, "cityscapes")
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in names(tmp_path)}
    with pytest.raises(CamsegError, match="is there already; give another folder, seed"):
        write(tmp_path, "cityscapes")
    assert before == {name: (tmp_path / name).stat().st_mtime_ns for name in names(tmp_path)}
    with pytest.raises(CamsegError, match="holds a drive in the layout cityscapes; give another"):
        write(tmp_path, "acdc")


def test_another_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "acdc")
    written = (tmp_path / MANIFEST).read_text()
    version = f'"generator_version": {GENERATOR_VERSION}'
    (tmp_path / MANIFEST).write_text(written.replace(version, '"generator_version": 0'))
    with pytest.raises(CamsegError, match="holds a drive of generator version 0, this is version"):
        write(tmp_path, "acdc")


@pytest.mark.parametrize(
    ("content", "problem"),
    [("{", ""), ("[]", ""), ('{"layout": "acdc", "drives": [{}]}', "drives.* is missing")],
)
def test_a_broken_manifest_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(CamsegError, match=f"synthetic.json: .*{problem}"):
        write(tmp_path, "acdc")


def test_nothing_is_left_of_a_drive_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = SyntheticDrive.frame

    def fail_at_2(drive: SyntheticDrive, index: int) -> SyntheticFrame:
        if index == 2:
            raise OSError(28, "No space left on device")
        return draw(drive, index)

    monkeypatch.setattr(SyntheticDrive, "frame", fail_at_2)
    with pytest.raises(CamsegError, match="^cannot write below .*: No space left on device$"):
        write(tmp_path / "d", "cityscapes")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": 0}, "0 frames: a whole number of at least 1 is needed"),
        ({"size": (10, 32)}, "width 10: a whole number from 64 to 2048 is needed"),
    ],
)
def test_bad_arguments_are_refused(
    tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    given: dict[str, object] = {"frames": 1, "seed": 0, "size": SIZE, **arguments}
    with pytest.raises(CamsegError, match=f"^{re.escape(message)}$"):
        write_drive(tmp_path / "d", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "d").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CamsegError, match="file is a file; a folder is needed$"):
        write(tmp_path / "file", "cityscapes")


def test_a_contact_sheet_has_columns_of_conditions_and_rows_of_images_and_classes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "images" / "sheet.jpg"
    write_contact_sheet(path, SEED, (64, 32), (1, 2))
    sheet = read(path).astype(int)
    assert sheet.shape == (4 * 32, 5 * 64, 3)
    fog = SyntheticDrive(SEED, 64, 32, "fog").frame(2)
    assert np.abs(sheet[64:96, 64:128] - fog.image).mean() < 6
    assert np.abs(sheet[96:, 64:128] - CITYSCAPES.color_image(fog.class_ids)).mean() < 20


def test_a_contact_sheet_is_small_enough_for_a_repository(tmp_path: Path) -> None:
    write_contact_sheet(tmp_path / "sheet.jpg", 2)
    assert read(tmp_path / "sheet.jpg").shape == (640, 1600, 3)
    assert (tmp_path / "sheet.jpg").stat().st_size < 400_000
