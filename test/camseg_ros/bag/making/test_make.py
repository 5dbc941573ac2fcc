# SPDX-License-Identifier: Apache-2.0
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES
from camseg_ros.bag.about import AboutDrive
from camseg_ros.bag.making.calibration import pinhole_info
from camseg_ros.bag.making.drives import Drive, DriveFrame
from camseg_ros.bag.making.make import BagForm, make_bags, write_drive
from camseg_ros.bag.reader import open_bag
from camseg_ros.messages.images import (
    array_from_image_message,
    rgb_from_compressed,
    rgb_from_image,
    stamp_ns,
)

BASE = "/kitti/camera_color_left"
ABOUT = AboutDrive(CITYSCAPES, "kitti-step", "val", sequence="0002")


def frame(index: int, **given: Any) -> DriveFrame:
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (12, 20, 3), np.uint8)
    return DriveFrame(image, rng.integers(0, 19, (12, 20), np.uint8), **given)


def drive(*frames: DriveFrame, name: str = "0002", is_absolute: bool = False) -> Drive:
    def give() -> Iterator[DriveFrame]:
        yield from frames

    return Drive(name, ABOUT, len(frames), give, is_absolute)


def read(path: Path, topic: str) -> list[Any]:
    with open_bag(path) as bag:
        return [message.decode() for message in bag.messages([topic])]


def stamps(path: Path, topic: str = f"{BASE}/image_rect") -> list[int]:
    return [stamp_ns(message.header) for message in read(path, topic)]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_topics_and_their_contents(tmp_path: Path, storage: Any) -> None:
    info = pinhole_info(100.0, 9.5, 5.5, (12, 20))
    frames = [frame(0, camera_info=info), frame(1, camera_info=info)]
    path = write_drive(drive(*frames), tmp_path / "0002", BagForm(storage=storage))
    images = read(path, f"{BASE}/image_rect")
    for message, made in zip(images, frames, strict=True):
        assert np.array_equal(rgb_from_image(message), made.image)
        assert message.header.frame_id == "camera_color_left"
    truths = read(path, f"{BASE}/semantic_gt/image")
    assert [t.encoding for t in truths] == ["mono8", "mono8"]
    assert np.array_equal(array_from_image_message(truths[1]), frames[1].class_ids)
    infos = read(path, f"{BASE}/camera_info")
    assert [i.header.stamp for i in infos] == [i.header.stamp for i in images]
    (about,) = read(path, f"{BASE}/semantic_gt/about")
    assert AboutDrive.from_json(about.data) == ABOUT
    with open_bag(path) as bag:  # recorded when it was taken
        logged = [m.log_ns for m in bag.messages([f"{BASE}/image_rect"])]
    assert logged == stamps(path) == [10**9, 11 * 10**8]


@pytest.mark.parametrize(("images", "close"), [("png", 0), ("jpeg", 30)])
def test_compressed_images(tmp_path: Path, images: Any, close: int) -> None:
    smooth = np.dstack([np.tile(np.arange(0, 200, 10, dtype=np.uint8), (12, 1))] * 3)
    made = DriveFrame(smooth)
    form = BagForm(images=images, camera="/front")
    path = write_drive(drive(made), tmp_path / "x", form)
    (message,) = read(path, "/front/image_rect/compressed")
    assert message.format == f"rgb8; {images} compressed bgr8"
    difference = rgb_from_compressed(message).astype(int) - smooth
    assert np.abs(difference).max() <= close
    with open_bag(path) as bag:
        assert set(bag.topics) == {"/front/image_rect/compressed", "/front/semantic_gt/about"}


def test_stamps_by_rate_and_gaps_between_sequences(tmp_path: Path) -> None:
    frames = [frame(0, begins=True), frame(1), frame(2, begins=True), frame(3)]
    path = write_drive(drive(*frames), tmp_path / "x", BagForm(rate_hz=20.0))
    assert stamps(path) == [10**9, 1_050_000_000, 3_100_000_000, 3_150_000_000]


def test_times_of_the_data(tmp_path: Path) -> None:
    epoch_ns = 1317042145_964389445
    frames = [frame(0, time_ns=epoch_ns), frame(1, time_ns=epoch_ns + 7)]
    path = write_drive(drive(*frames, is_absolute=True), tmp_path / "a", BagForm())
    assert stamps(path) == [epoch_ns, epoch_ns + 7]
    # A video whose file tells the same time for every frame.
    stuck = [frame(i, time_ns=0) for i in range(3)]
    path = write_drive(drive(*stuck), tmp_path / "b", BagForm())
    assert stamps(path) == [10**9, 11 * 10**8, 12 * 10**8]
    told = [frame(i, time_ns=i * 10**8, begins=i == 2) for i in range(4)]
    path = write_drive(drive(*told), tmp_path / "c", BagForm())
    assert stamps(path) == [10**9, 11 * 10**8, 32 * 10**8, 33 * 10**8]


def test_times_that_ros_does_not_know(tmp_path: Path) -> None:
    last_ns = 2**31 * 10**9 - 1
    path = write_drive(
        drive(frame(0, time_ns=last_ns), is_absolute=True), tmp_path / "a", BagForm()
    )
    assert stamps(path) == [last_ns]
    with pytest.raises(CamsegError, match="^0002: a frame's time is 2147483648000000000 ns since"):
        late = drive(frame(0, time_ns=last_ns + 1), is_absolute=True)
        write_drive(late, tmp_path / "b", BagForm())
    assert not (tmp_path / "b").exists()


def test_nothing_is_begun_where_a_bag_exists(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    drives = [drive(frame(0), name="a"), drive(frame(0), name="b")]
    told = r"/b exists already; --skip-existing makes the 1 that are missing; or remove it, or give"
    with pytest.raises(CamsegError, match=told):
        list(make_bags(drives, tmp_path, BagForm()))
    assert not (tmp_path / "a").exists()
    assert list(make_bags(drives, tmp_path, BagForm(), skips_existing=True)) == [tmp_path / "a"]
    with pytest.raises(CamsegError, match=r"/a exists already; remove it, or give another --out$"):
        list(make_bags(drives, tmp_path, BagForm()))
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "b").rmdir()
    assert list(make_bags(drives, tmp_path, BagForm())) == [tmp_path / "a", tmp_path / "b"]


def test_a_drive_that_breaks_leaves_no_bag(tmp_path: Path) -> None:
    def give() -> Iterator[DriveFrame]:
        yield frame(0)
        raise CamsegError("clip.mp4 ends after 1 of 9 frames")

    broken = Drive("x", ABOUT, 9, give)
    with pytest.raises(CamsegError, match="ends after 1 of 9"):
        write_drive(broken, tmp_path / "x", BagForm())
    with pytest.raises(CamsegError, match="^0002 has no frame to make a bag of$"):
        write_drive(drive(), tmp_path / "x", BagForm())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"rate_hz": 0.0}, r"the rate is 0\.0; 0\.001 to 1000 frames a second are possible"),
        ({"rate_hz": float("nan")}, "the rate is nan"),
        ({"camera": "left"}, "camera 'left': a topic name such as /kitti/camera_color_left is nee"),
        ({"camera": "/1x"}, "camera '/1x': a topic name"),
        ({"camera": "/a//b"}, "camera '/a//b': a topic name"),
        ({"camera": "/a\n"}, r"camera '/a\\n': a topic name"),
    ],
)
def test_forms_that_are_none(given: dict[str, Any], rule: str) -> None:
    with pytest.raises(CamsegError, match=rule):
        BagForm(**given)
