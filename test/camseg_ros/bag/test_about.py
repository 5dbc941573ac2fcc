# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import made_bags as bags
import pytest
from std_msgs.msg import String

from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES
from camseg_ros.bag.about import AboutDrive, read_abouts
from camseg_ros.bag.camera_topics import find_cameras
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.writer import BagWriter


def write(path: Path, **abouts: AboutDrive | None) -> Path:
    """Cameras by name; those whose name begins with ``no`` have no truth."""
    with BagWriter(path) as writer:
        for name, about in abouts.items():
            writer.write(f"/{name}/image", bags.noise_image(0), 1)
            if not name.startswith("no"):
                writer.write(f"/{name}/semantic_gt/image", bags.truth_image(0), 1)
            if about is not None:
                content = String(data=about.to_json())
                writer.write(f"/{name}/semantic_gt/about", content, 1, latched=True)
    return path


def read(path: Path) -> list[AboutDrive]:
    with open_bag(path) as bag:
        return read_abouts(bag, find_cameras(bag.topics))


NIGHT = AboutDrive(CITYSCAPES, "acdc", "val", "adverse", "night", "GOPR1")
DAY = AboutDrive(CITYSCAPES, "acdc", "val", "adverse", "fog")


def test_cameras_of_one_drive(tmp_path: Path) -> None:
    other = replace(NIGHT, sequence="GOPR2")
    assert read(write(tmp_path / "a", left=NIGHT, right=other)) == [NIGHT, other]
    # What has truth says what the bag is.
    assert read(write(tmp_path / "b", no_truth=None, right=NIGHT)) == [NIGHT, AboutDrive()]
    assert read(write(tmp_path / "c", left=None, right=None)) == [AboutDrive(), AboutDrive()]


@pytest.mark.parametrize(
    ("right", "words"), [(DAY, "acdc val adverse fog"), (None, "an unnamed data set")]
)
def test_truth_of_different_data_is_not_mixed(
    tmp_path: Path, right: AboutDrive | None, words: str
) -> None:
    rule = (
        f"the ground truth of left is from acdc val adverse night, that of right from {words}, and"
    )
    with pytest.raises(CamsegError, match=rule):
        read(write(tmp_path / "a", left=NIGHT, right=right))
