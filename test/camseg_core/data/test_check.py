# SPDX-License-Identifier: Apache-2.0
"""The check of a tree: each thing that can be wrong is found, named, and does not hide the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from PIL import Image

from camseg_core.data import check
from camseg_core.data.check import Finding, SplitCount, check_tree
from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES, LabelSet

TWO = LabelSet("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)))
LABEL = "gtFine/val/aachen/aachen_00000{}_000019_gtFine_labelIds.png"
IMAGE = "leftImg8bit/val/aachen/aachen_00000{}_000019_leftImg8bit.png"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return trees.cityscapes(tmp_path, splits=["val"], cities=["aachen"], frames=8)


def findings_of(*arguments: object, **options: object) -> list[Finding]:
    return check_tree(*arguments, **options).findings  # type: ignore[arg-type]


def errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]


def test_a_subset_has_warnings_alone(home: Path) -> None:
    assert findings_of("cityscapes", home) == [
        Finding("note", home, "split 'train' is not there; it has 2975 frames"),
        Finding("note", home, "split 'test' is not there; it has 1525 frames"),
        Finding("warning", home, "split 'val' has 8 frames with a label; 500 were published"),
    ]
    assert str(findings_of("cityscapes", home, "val")[0]) == (
        f"warning: {home}: split 'val' has 8 frames with a label; 500 were published"
    )


def test_all_that_is_broken_is_found_at_once(home: Path) -> None:
    (home / LABEL.format(0)).unlink()
    (home / IMAGE.format(1)).unlink()
    Image.fromarray(trees.cycle([7]).astype(np.uint16)).save(home / LABEL.format(2))
    Image.fromarray(trees.cycle([7])).convert("P").save(home / LABEL.format(3))
    trees.write_ids(home / LABEL.format(4), trees.cycle([7], (6, 41)))
    trees.write_ids(home / LABEL.format(5), trees.cycle([7, 50]))
    (home / IMAGE.format(6)).write_bytes((home / IMAGE.format(6)).read_bytes()[:200])
    (home / LABEL.format(7)).write_bytes(b"")
    (home / "leftImg8bit/val/aachen/extra.png").touch()
    (home / "gtFine/val/aachen/aachen_000002_000019_gtFine_color.png").touch()  # one of theirs
    (home / "gtFine/val/aachen/extra.json").touch()
    found = {
        (str(f.path.relative_to(home)), f.severity): f.message
        for f in findings_of("cityscapes", home, "val")
    }
    assert (
        found.pop((IMAGE.format(0), "error")) == f"has no label: no file {home}/{LABEL.format(0)}"
    )
    assert found.pop((LABEL.format(1), "warning")) == (
        "is a label without an image (leftImg8bit/<split>/<city>/*_leftImg8bit.png)"
    )
    assert found.pop((LABEL.format(2), "error")).startswith("is 16-bit grey; label files of citysc")
    assert found.pop((LABEL.format(3), "error")).startswith("is 8-bit palette; label files of city")
    assert found.pop((LABEL.format(4), "error")) == "is 41 x 6 but its image is 40 x 6"
    assert found.pop((LABEL.format(5), "error")) == (
        "holds id 50 (120 pixels); ids of cityscapes label files are 0..33, 255"
    )
    assert found.pop((IMAGE.format(6), "error")).startswith("is not an image: its 200 bytes cannot")
    assert found.pop((LABEL.format(7), "error")).startswith("is not a PNG file, which labels are")
    note = "has no name of this layout and is not read"
    assert found.pop(("leftImg8bit/val/aachen/extra.png", "note")) == note
    assert found.pop(("gtFine/val/aachen/extra.json", "note")) == note
    assert (
        found.pop((".", "warning")) == "split 'val' has 6 frames with a label; 500 were published"
    )
    assert found == {}


def test_names_alone(home: Path) -> None:
    (home / LABEL.format(7)).write_bytes(b"")
    (home / LABEL.format(0)).unlink()
    assert len(errors(findings_of("cityscapes", home))) == 2
    (finding,) = errors(findings_of("cityscapes", home, read_files=False))
    assert finding.path == home / IMAGE.format(0)


def test_labels_without_any_class_are_one_finding(home: Path) -> None:
    """The published test labels are so."""
    for frame in (2, 5):
        trees.write_ids(home / LABEL.format(frame), trees.cycle([0, 3, 255]))
    assert findings_of("cityscapes", home, "val")[1:] == [
        Finding("warning", home / LABEL.format(2), "has no pixel of any class; 2 labels are so"),
    ]


def test_the_published_numbers_are_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole tree by its names: as many files as published, nothing in them."""
    monkeypatch.setattr(trees, "write_image", touch)
    monkeypatch.setattr(trees, "write_ids", touch)
    trees.camvid(tmp_path, splits=["train"], stems=[f"a_{frame}" for frame in range(367)])
    trees.camvid(tmp_path, splits=["val"], stems=[f"a_{frame}" for frame in range(101)])
    trees.camvid(tmp_path, splits=["test"], stems=[f"a_{frame}" for frame in range(233)])
    assert findings_of("camvid", tmp_path, read_files=False) == []
    (tmp_path / "testannot/a_7.png").unlink()
    messages = [finding.message for finding in findings_of("camvid", tmp_path, read_files=False)]
    assert messages == [
        f"has no label: no file {tmp_path}/testannot/a_7.png",
        "split 'test' has 232 frames with a label; 233 were published",
    ]


def touch(path: Path, *_: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_acdc_is_counted_by_part_and_condition(tmp_path: Path) -> None:
    trees.acdc(tmp_path, splits=["val"], conditions=["fog", "night"])
    (tmp_path / "gt/fog/val/GOPR0475/GOPR0475_frame_000000_gt_labelColor.png").touch()
    reference = tmp_path / "rgb_anon/fog/val_ref/GOPR0475/GOPR0475_frame_000001_rgb_ref_anon.png"
    assert findings_of("acdc", tmp_path, "val") == [
        Finding(
            "note", reference, "2 reference images such as this have no label and are not used"
        ),
        *(
            Finding(
                "warning" if frames else "note", tmp_path, f"split 'val' has {text} were published"
            )
            for frames, text in (
                (4, "4 adverse frames with a label; 406"),
                (2, "2 reference frames with a label; 203"),
                (2, "2 adverse fog frames with a label; 100"),
                (0, "0 adverse rain frames with a label; 100"),
                (0, "0 adverse snow frames with a label; 100"),
                (2, "2 adverse night frames with a label; 106"),
                (1, "1 reference fog frames with a label; 50"),
                (0, "0 reference rain frames with a label; 50"),
                (0, "0 reference snow frames with a label; 50"),
                (1, "1 reference night frames with a label; 53"),
            )
        ),
    ]
    assert check_tree("acdc", tmp_path, read_files=False).counts == [
        SplitCount("val", "adverse", "fog", 1, 2, 2, 100),
        SplitCount("val", "adverse", "night", 1, 2, 2, 106),
        SplitCount("val", "reference", "fog", 1, 2, 1, 50),
        SplitCount("val", "reference", "night", 1, 2, 1, 53),
    ]


def test_kitti_sequences_in_the_wrong_split(tmp_path: Path) -> None:
    home = trees.kitti_step(tmp_path, frames=1)
    maps = home / "kitti-step/panoptic_maps"
    (maps / "val/0002").rename(maps / "train/0002")
    messages = [finding.message for finding in findings_of("kitti-step", home, "train")]
    assert messages == [
        "split 'train' has 3 frames with a label; 5027 were published",
        "split 'train' has sequences that were not published in it: 0002",
        "split 'train' lacks sequences: 0003, 0004, 0005, 0009, 0011, 0012, 0015, 0017, 0019, 0020",
    ]


def test_the_overlap_of_cadedgetune_and_files_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = trees.cadedgetune(tmp_path, sequences=["SEQ1", "SEQ2", "SEQ14"])
    (home / "SEQ2/Images/notes.txt").touch()  # in three splits
    read: list[Path] = []
    real = check.read_image
    monkeypatch.setattr(check, "read_image", lambda path: (read.append(path), real(path))[1])
    findings = findings_of("cadedgetune", home)
    assert not errors(findings)
    assert len(read) == len(set(read)) == 6
    messages = [finding.message for finding in findings]
    assert messages.count("has no name of this layout and is not read") == 1
    assert "split 'all' has sequences that were not published in it: SEQ14" in messages
    caution = (
        "split 'train': the published train list is the whole set and holds every frame of val"
    )
    assert sum(message.startswith(caution) for message in messages) == 1


def test_two_images_of_one_label(tmp_path: Path) -> None:
    trees.folder_pair(tmp_path, names=["a.png", "a.jpg"])
    (finding,) = findings_of("folder", tmp_path, label_set=TWO)
    assert finding == Finding(
        "error",
        tmp_path / "images/a.png",
        f"shares its label with {tmp_path}/images/a.jpg; they differ in the suffix only",
    )


def test_ids_that_a_users_table_forgets(tmp_path: Path) -> None:
    trees.folder_pair(tmp_path, names=["a.png"], ids=(0, 7, 9, 255))
    label = tmp_path / "labels/a.png"
    assert findings_of("folder", tmp_path, label_set=CITYSCAPES) == [
        Finding(
            "warning",
            label,
            "ids 0 (60 pixels), 9 (60 pixels) stand in no source_ids and become unlabeled",
        )
    ]
    assert findings_of("folder", tmp_path) == []  # without classes ids are not checked
    (finding,) = findings_of("folder", tmp_path, label_set=TWO)
    assert finding == Finding(
        "error",
        label,
        "holds id 7 (60 pixels), 9 (60 pixels); ids of folder label files are 0..1, 255",
    )


def test_an_empty_split(tmp_path: Path) -> None:
    (tmp_path / "leftImg8bit/val").mkdir(parents=True)
    (finding,) = findings_of("cityscapes", tmp_path, "val")
    assert finding.severity == "warning"
    assert finding.message == (
        "split 'val' has no image; leftImg8bit/<split>/<city>/*_leftImg8bit.png is looked for"
    )


@pytest.mark.parametrize(
    "run",
    [
        lambda path, root: findings_of("list", root, list_file=path),
        lambda path, root: findings_of("list", root, str(path)),
        lambda path, root: findings_of("cityscapes", root, str(path)),
    ],
)
def test_every_line_of_a_list(home: Path, run: Callable[[Path, Path], list[Finding]]) -> None:
    (home / LABEL.format(2)).write_bytes(b"")
    lines = [IMAGE.format(0), "a/b", IMAGE.format(2), "../c", IMAGE.format(0)]
    path = trees.write_list(home / "a.txt", lines)
    found = run(path, home)
    assert [(finding.path, finding.message.split(" ")[:4]) for finding in found] == [
        (path, ["line", "2:", "a/b", "has"]),
        (path, ["line", "4:", "../c", "leaves"]),
        (path, ["line", "5:", IMAGE.format(0), "stands"]),
        (home / LABEL.format(2), ["is", "not", "a", "PNG"]),
    ]
    counts = check_tree("list", home, list_file=path).counts
    assert counts == [SplitCount("a", "", "", 2, 2, 2, None)]


def test_the_report(tmp_path: Path) -> None:
    home = trees.acdc(tmp_path / "acdc", splits=["val"], conditions=["fog"], references=1)
    trees.folder_pair(tmp_path / "own")
    report = check_tree("acdc", home)
    assert [*report.lines()] == [
        "split  part       condition  sequences  frames  labelled  official",
        "val    adverse    fog                1       2         2       100",
        "val    reference  fog                1       1         1        50",
        *map(str, report.findings),
        f"0 errors, {report.count('warning')} warnings",
    ]
    assert report.count("warning") == 4
    assert [*check_tree("folder", tmp_path / "own", "val").lines()] == [
        "split  part  condition  sequences  frames  labelled  official",
        "val    -     -                  2       2         2         -",
        "0 errors, 0 warnings",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cityscape", ""), "unknown data set 'cityscape'; did you mean 'cityscapes'"),
        (("cityscapes", "none"), "no such folder"),
        (("cityscapes", "", "vall"), "has no split 'vall'; did you mean 'val'\\? known are val"),
        (("acdc", ""), "no acdc data in"),
        (("list", ""), "data set 'list' needs a list"),
        (("list", "", "none.txt"), "no list none.txt"),
    ],
)
def test_what_leaves_nothing_to_check(home: Path, arguments: tuple[str, ...], message: str) -> None:
    name, folder, *split = arguments
    with pytest.raises(CamsegError, match=message):
        check_tree(name, home / folder, *split)


def test_a_label_set_that_does_not_fit(home: Path) -> None:
    with pytest.raises(CamsegError, match="label set 'two' has no source_ids for cityscapes"):
        check_tree("cityscapes", home, label_set=TWO)
