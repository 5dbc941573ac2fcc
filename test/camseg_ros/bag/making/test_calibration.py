# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from camseg_core.data.datasets import open_dataset
from camseg_core.errors import CamsegError
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.synthetic.write import write_drive
from camseg_ros.bag.making.calibration import find_camera_info, pinhole_info

SIZE = (128, 64)


@pytest.mark.parametrize("layout", ["cityscapes", "kitti-step", "acdc"])
def test_each_layout_gives_the_synthetic_camera(tmp_path: Path, layout: str) -> None:
    write_drive(tmp_path, 1, 9000, size=SIZE, layout=layout, split="val", condition="fog")
    dataset = open_dataset(layout, tmp_path, "val")
    found = find_camera_info(dataset.root, dataset.samples[0], 64, 128)
    camera = SyntheticDrive(9000, *SIZE).frame(0).camera
    expected = pinhole_info(
        camera.focal_px, camera.center_x - 0.5, camera.center_y - 0.5, (64, 128)
    )
    assert found is not None
    assert found.k.tolist() == pytest.approx(expected.k.tolist())
    assert found.p.tolist() == pytest.approx(expected.p.tolist())
    assert (found.height, found.width, found.distortion_model) == (64, 128, "plumb_bob")
    assert found.r.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_no_file_is_no_calibration(tmp_path: Path) -> None:
    write_drive(tmp_path, 1, 9000, size=SIZE, layout="kitti-step", split="val")
    dataset = open_dataset("kitti-step", tmp_path, "val")
    (calibration,) = (tmp_path / "training" / "calib").iterdir()
    calibration.write_text("P0: 1 2 3\n")
    with pytest.raises(CamsegError, match=r"is not a KITTI calibration: it has no line P2$"):
        find_camera_info(dataset.root, dataset.samples[0], 64, 128)
    calibration.write_text("P2: 1 2 3\n")
    with pytest.raises(CamsegError, match=r"is not a KITTI calibration: cannot reshape"):
        find_camera_info(dataset.root, dataset.samples[0], 64, 128)
    calibration.unlink()
    assert find_camera_info(dataset.root, dataset.samples[0], 64, 128) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 100_000, "RecursionError"),
        ('{"intrinsic": {"fx": 1' + "0" * 400 + "}}", "OverflowError"),
        ('{"intrinsic": {"fx": []}}', "TypeError"),
    ],
)
def test_a_hostile_calibration_is_refused_in_one_line(
    tmp_path: Path, content: str, reason: str
) -> None:
    write_drive(tmp_path, 1, 9000, size=SIZE, layout="cityscapes", split="val")
    dataset = open_dataset("cityscapes", tmp_path, "val")
    (calibration,) = (tmp_path / "camera").rglob("*.json")
    calibration.write_text(content)
    with pytest.raises(CamsegError, match=f"is not a Cityscapes calibration: {reason}: "):
        find_camera_info(dataset.root, dataset.samples[0], 64, 128)
