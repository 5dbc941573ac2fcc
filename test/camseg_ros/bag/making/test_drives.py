# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import dataset_trees as trees
import numpy as np
import pytest

from camseg_core.data.datasets import open_dataset
from camseg_core.labels import CAMVID, CITYSCAPES
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_ros.bag.making.drives import dataset_drives, input_drives, shortened, synthetic_drives


def test_kitti_step_has_a_drive_per_sequence(tmp_path: Path) -> None:
    dataset = open_dataset("kitti-step", trees.kitti_step(tmp_path, 3), "val")
    drives = dataset_drives(dataset)
    assert [(drive.name, drive.count) for drive in drives] == [("0002", 3), ("0018", 3)]
    about = drives[1].about
    assert (about.dataset, about.split, about.sequence) == ("kitti-step", "val", "0018")
    assert about.label_set == CITYSCAPES
    frames = list(drives[1].frames())
    assert [frame.begins for frame in frames] == [True, False, False]
    expected = dataset.read(4)  # 0018, second frame
    assert expected.metadata.name.endswith("0018/000001.png")
    assert np.array_equal(frames[1].image, expected.image)
    assert frames[1].class_ids is not None
    assert np.array_equal(frames[1].class_ids, expected.class_ids)


def test_acdc_conditions_and_references_are_apart(tmp_path: Path) -> None:
    dataset = open_dataset("acdc", trees.acdc(tmp_path, reference_labels=2), "val", part="both")
    drives = dataset_drives(dataset)
    assert [drive.name for drive in drives if "reference" not in drive.name] == [
        "fog-GOPR0475", "night-GOPR0475", "rain-GOPR0475", "snow-GOPR0475",
    ]  # fmt: skip
    assert sum("reference" in drive.name for drive in drives) == 4
    assert len({drive.name for drive in drives}) == 8
    conditions = {drive.name: (drive.about.part, drive.about.condition) for drive in drives}
    assert conditions["rain-GOPR0475"] == ("adverse", "rain")
    assert conditions["reference-GOPR0475"] == ("reference", "clear")


def test_single_images_share_a_drive_per_folder(tmp_path: Path) -> None:
    dataset = open_dataset("cityscapes", trees.cityscapes(tmp_path, frames=3), "val")
    drives = dataset_drives(dataset)
    assert [(drive.name, drive.count) for drive in drives] == [("aachen", 3), ("bochum", 3)]
    assert [frame.begins for frame in drives[0].frames()] == [True, True, True]
    assert drives[0].about.sequence == "aachen"


def test_camvid_sequences(tmp_path: Path) -> None:
    stems = ("0001TP_000010", "0001TP_000002", "0016E5_00001", "0016E5_00002")
    dataset = open_dataset("camvid", trees.camvid(tmp_path, stems=stems), "val")
    drives = dataset_drives(dataset)
    assert [(drive.name, drive.count) for drive in drives] == [("0001TP", 2), ("0016E5", 2)]
    assert drives[0].about.label_set == CAMVID
    first = next(iter(drives[0].frames()))
    assert np.array_equal(first.image, dataset.read(0).image)
    assert dataset.samples[0].frame_index == 2


def test_a_video_gives_the_times_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (64, 32))
    for level in (0, 100, 200):
        writer.write(np.full((32, 64, 3), level, np.uint8))
    writer.release()
    (drive,) = input_drives(path)
    frames = list(drive.frames())
    assert (drive.name, drive.count, drive.is_absolute) == ("clip", 3, False)
    assert [frame.time_ns for frame in frames] == [0, 50_000_000, 100_000_000]
    assert [int(frame.image.mean().round(-1)) for frame in frames] == [0, 100, 200]
    assert frames[0].class_ids is None


def test_a_folder_of_images_with_times(tmp_path: Path) -> None:
    for name in ("a", "b"):
        trees.write_image(tmp_path / "pictures" / f"{name}.png")
    (drive,) = input_drives(tmp_path / "pictures")
    assert (drive.name, drive.count, drive.is_absolute) == ("pictures", 2, False)
    (tmp_path / "pictures" / "timestamps.txt").write_text("5.5\n6\n")
    (drive,) = input_drives(tmp_path / "pictures")
    assert drive.is_absolute
    assert [frame.time_ns for frame in drive.frames()] == [5_500_000_000, 6_000_000_000]


def test_the_synthetic_drive_and_a_part_of_it() -> None:
    synthetic = SyntheticDrive(9001, 64, 32, condition="fog", frames_per_sequence=2)
    (drive,) = synthetic_drives(3, synthetic)
    assert (drive.name, drive.count) == ("synthetic_fog_9001", 3)
    assert (drive.about.dataset, drive.about.condition) == ("synthetic", "fog")
    frames = list(drive.frames())
    assert [frame.begins for frame in frames] == [True, False, True]
    assert [frame.time_ns for frame in frames] == [0, 10**8, 2 * 10**8]
    expected = synthetic.frame(1)
    assert np.array_equal(frames[1].image, expected.image)
    assert frames[1].class_ids is not None
    assert np.array_equal(frames[1].class_ids, expected.class_ids)
    info = frames[1].camera_info
    assert info is not None
    assert info.k[0] == pytest.approx(expected.camera.focal_px)
    short = shortened(drive, 2)
    assert (short.count, len(list(short.frames()))) == (2, 2)
    assert shortened(drive, None) is drive
