# SPDX-License-Identifier: Apache-2.0
"""Each data set's layout: what its names say, which splits there are, how its labels are read."""

from __future__ import annotations

import warnings
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from dataset_trees import BUILDERS
from PIL import Image

from camseg_core.data.check import check_tree
from camseg_core.data.datasets import DatasetWarning, open_dataset
from camseg_core.data.known_layouts import LAYOUTS
from camseg_core.data.sample import FileDataset
from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES, LabelSet

TWO = LabelSet("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)))
CONDITIONS = ("fog", "rain", "snow", "night")

# cityscapesScripts, labels.py: trainId of ids 0..33, 255 where it is ignored, then id 255.
CLASSES_OF_LABEL_IDS = [
    *([255] * 7), 0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11,
    12, 13, 14, 15, 255, 255, 16, 17, 18, 255,
]  # fmt: skip


def opened(name: str, root: Path, split: str, **options: object) -> FileDataset:
    """Open a data set without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        return open_dataset(name, root, split, **options)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("name", "part", "image", "label", "sequence", "classes"),
    [
        (
            "cityscapes",
            "",
            "leftImg8bit/val/aachen/aachen_000000_000019_leftImg8bit.png",
            "gtFine/val/aachen/aachen_000000_000019_gtFine_labelIds.png",
            ("aachen_000000", 19),
            CLASSES_OF_LABEL_IDS,
        ),
        (
            "acdc",
            "",
            "rgb_anon/fog/val/GOPR0475/GOPR0475_frame_000000_rgb_anon.png",
            "gt/fog/val/GOPR0475/GOPR0475_frame_000000_gt_labelIds.png",
            ("GOPR0475", 0),
            CLASSES_OF_LABEL_IDS,
        ),
        (
            "acdc",
            "reference",
            "rgb_anon/fog/val_ref/GOPR0475/GOPR0475_frame_000000_rgb_ref_anon.png",
            "gt/fog/val_ref/GOPR0475/GOPR0475_frame_000000_gt_ref_labelIds.png",
            ("GOPR0475", 0),
            CLASSES_OF_LABEL_IDS,
        ),
        (
            "kitti-step",
            "",
            "training/image_02/0002/000000.png",
            "kitti-step/panoptic_maps/val/0002/000000.png",
            ("0002", 0),
            [*range(19), 255],  # red alone
        ),
        (
            "cadedgetune",
            "",
            "SEQ1/Images/frame0001.jpg",
            "SEQ1/LabelMasks/frame0001_label_mask.png",
            ("SEQ1", 1),
            CLASSES_OF_LABEL_IDS,
        ),
        (
            "camvid",
            "",
            "val/0001TP_006690.png",
            "valannot/0001TP_006690.png",
            ("0001TP", 6690),
            [*range(11), 255],
        ),
        ("folder", "", "images/val/b.png", "labels/val/b.png", ("val", 0), [0, 1, 255]),
    ],
)
def test_a_sample_is_what_its_names_say(
    tmp_path: Path,
    name: str,
    part: str,
    image: str,
    label: str,
    sequence: tuple[str, int],
    classes: list[int],
) -> None:
    home = BUILDERS[name](tmp_path)
    label_set = TWO if name == "folder" else None
    dataset = opened(name, home, "val", part=part, label_set=label_set)
    assert (dataset.name, dataset.root, dataset.split) == (name, home, "val")
    assert dataset.label_set is (label_set or LAYOUTS[name].labels.classes)
    first = dataset.samples[0]
    assert first.name == image
    assert dataset.files[0] == (home / image, home / label)
    assert (first.sequence, first.frame_index) == sequence
    class_ids = dataset.read(0).class_ids
    assert class_ids is not None
    assert class_ids.reshape(-1)[: len(classes)].tolist() == classes


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [
        ("kitti-step", "val", [(f"00{n}", f) for n in ("02", "18") for f in (0, 1)]),
        ("kitti-step", "train", [(f"000{n}", f) for n in (0, 1) for f in (0, 1)]),
        ("camvid", "val", [("0001TP", 6690), ("0006R0", 930), ("Seq05VD", 0)]),
        ("folder", "all", [("", 0), ("val", 0), ("val/deep", 0)]),
        ("folder", "val", [("val", 0), ("val/deep", 0)]),
        ("cadedgetune", "val", [(f"SEQ{n}", f) for n in (1, 11) for f in (1, 2)]),
        ("cadedgetune", "train-only", [(f"SEQ{n}", f) for n in (2, 17) for f in (1, 2)]),
    ],
)
def test_a_split_has_these_sequences_and_frames(
    tmp_path: Path, name: str, split: str, expected: list[tuple[str, int]]
) -> None:
    label_set = TWO if name == "folder" else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = open_dataset(name, BUILDERS[name](tmp_path), split, label_set=label_set)
    assert [(one.sequence, one.frame_index) for one in dataset.samples] == expected


def test_the_published_numbers() -> None:
    counts = {
        name: {(one.split, one.part, one.filed_under): one.frames for one in layout.official}
        for name, layout in LAYOUTS.items()
    }
    acdc = counts.pop("acdc")
    frames = {name: {key[0]: count for key, count in one.items()} for name, one in counts.items()}
    assert frames == {
        "cityscapes": {"train": 2975, "val": 500, "test": 1525},
        "kitti-step": {"train": 5027, "val": 2981},
        "cadedgetune": {"all": 1508, "train": 1508, "train-only": 1063, "val": 445},
        "camvid": {"train": 367, "val": 101, "test": 233},
        "folder": {},
        "comma10k": {},
    }
    assert acdc["train", "adverse", ""] == 1600
    assert acdc["val", "adverse", ""] == 406
    assert acdc["val", "reference", ""] == 203
    for condition in CONDITIONS:
        assert acdc["train", "adverse", condition] == 400
        assert acdc["val", "adverse", condition] == (106 if condition == "night" else 100)
        assert acdc["val", "reference", condition] == (53 if condition == "night" else 50)


def test_the_published_sequences() -> None:
    kitti = LAYOUTS["kitti-step"].official_sequences
    assert sorted(map(int, kitti["val"])) == [2, 6, 7, 8, 10, 13, 14, 16, 18]
    assert sorted(map(int, kitti["train"])) == [0, 1, 3, 4, 5, 9, 11, 12, 15, 17, 19, 20]
    robot = LAYOUTS["cadedgetune"].official_sequences
    assert sorted(robot["val"]) == ["SEQ1", "SEQ11", "SEQ12", "SEQ13"]
    assert robot["all"] == robot["train"] == robot["val"] | robot["train-only"]
    assert (len(robot["all"]), "SEQ14" in robot["all"]) == (16, False)


def test_the_table_is_cityscapes_scripts_own() -> None:
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    for label in labels:
        expected = 255 if label.trainId in (-1, 255) else label.trainId
        assert CITYSCAPES.source_ids.get(label.id, 255) == expected, label.name


def test_train_ids_are_read_where_label_ids_are_missing(tmp_path: Path) -> None:
    home = trees.cityscapes(tmp_path, splits=["val"], cities=["aachen"], frames=2)
    folder = home / "gtFine" / "val" / "aachen"
    for frame in (0, 1):
        name = f"aachen_00000{frame}_000019_gtFine_labelTrainIds.png"
        trees.write_ids(folder / name, trees.cycle([3, 255]))
    (folder / "aachen_000001_000019_gtFine_labelIds.png").unlink()
    dataset = opened("cityscapes", home, "val")
    assert [file.label.name[len("aachen_00000x_000019_gtFine_") :] for file in dataset.files] == [
        *("labelIds.png", "labelTrainIds.png"),
    ]
    assert dataset.read(0).ground_truth.reshape(-1)[7] == 0  # road, by label ids
    assert np.unique(dataset.read(1).ground_truth).tolist() == [3, 255]
    user = LabelSet("user", ("a",), ((1, 1, 1),), source_ids={26: 0})
    with pytest.raises(CamsegError, match="maps id 26, which cityscapes labelTrainIds label files"):
        open_dataset("cityscapes", home, "val", label_set=user)


@pytest.mark.parametrize(
    ("name", "image", "label", "sequence"),
    [
        (
            "cityscapes",
            "leftImg8bit/val/city/{}_leftImg8bit.png",
            "gtFine/val/city/{}_gtFine_labelIds.png",
            "city",
        ),
        ("camvid", "val/{}.jpg", "valannot/{}.png", ""),
        ("folder", "images/val/{}.JPG", "labels/val/{}.png", "val"),
    ],
)
def test_frames_without_a_number_are_counted_per_sequence(
    tmp_path: Path, name: str, image: str, label: str, sequence: str
) -> None:
    for stem in ("b", "a"):
        trees.write_image(tmp_path / image.format(stem))
        trees.write_ids(tmp_path / label.format(stem), trees.cycle([1]))
    (tmp_path / "val.txt").touch()
    (tmp_path / image.format("x")).with_name("Thumbs.db").touch()
    dataset = opened(name, tmp_path, "val", label_set=TWO if name == "folder" else None)
    assert [(one.name, one.sequence, one.frame_index) for one in dataset.samples] == [
        (image.format("a"), sequence, 0),
        (image.format("b"), sequence, 1),
    ]


def test_a_condition_takes_both_parts_that_are_filed_under_it(tmp_path: Path) -> None:
    home = trees.acdc(tmp_path, splits=["val"])
    adverse = open_dataset("acdc", home, "val")
    assert [(one.part, one.condition) for one in adverse.samples] == [
        ("adverse", condition) for condition in sorted(CONDITIONS) for _ in range(2)
    ]
    with pytest.warns(DatasetWarning, match="^4 reference images have no label and are left out, "):
        references = open_dataset("acdc", home, "val", part="reference")
    assert [(one.part, one.condition) for one in references.samples] == [("reference", "clear")] * 4
    both = opened("acdc", home, "val", part="both", conditions=["fog", "night"])
    assert {sample.name.split("/")[1] for sample in both.samples} == {"fog", "night"}
    assert {sample.condition for sample in both.samples} == {"fog", "night", "clear"}
    parts = [sample.part for sample in both.samples]
    assert (parts.count("adverse"), parts.count("reference")) == (4, 2)


def test_a_published_list_mixes_both_and_only_adverse_is_taken(tmp_path: Path) -> None:
    root = trees.original_project(tmp_path)
    with pytest.warns(
        DatasetWarning,
        match="vallist_fog.txt: 1 of 3 images are left out by part 'adverse'; part 'both' takes",
    ):
        dataset = open_dataset("acdc", root, "dataset/ACDC/vallist_fog.txt")
    assert [sample.part for sample in dataset.samples] == ["adverse"] * 2
    both = open_dataset("list", root, "dataset/ACDC/vallist_fog.txt", part="both")
    assert [sample.part for sample in both.samples].count("reference") == 1
    assert {sample.dataset for sample in both.samples} == {"acdc"}


@pytest.mark.parametrize("name", ["acdc", "list"])
@pytest.mark.parametrize("conditions", [(), ("fog",), ("night", "rain")])
def test_an_adverse_selection_of_a_list_never_holds_a_reference(
    tmp_path: Path, name: str, conditions: tuple[str, ...]
) -> None:
    home = trees.acdc(tmp_path, splits=["val"])
    images = sorted((home / "rgb_anon").glob("*/*/*/*000000*.png"))
    lines = [path.relative_to(home).as_posix() for path in images]
    list_file = trees.write_list(home / "mixed.txt", reversed(lines))
    dataset = opened(name, home, "val", conditions=conditions, list_file=list_file)
    assert {sample.condition for sample in dataset.samples} == {*(conditions or CONDITIONS)}
    for sample, files in zip(dataset.samples, dataset.files, strict=True):
        assert "_ref" not in f"{sample.name} {files.label.name}"
        assert sample.part == "adverse"
    only = [line for line in lines if "_ref" in line]
    list_file = trees.write_list(home / "references.txt", only)
    with pytest.raises(CamsegError, match="images of acdc is of part adverse"):
        opened(name, home, "val", list_file=list_file)


@pytest.mark.parametrize("name", ["val_ref/G/G_frame_0_rgb_anon.png", "val/G/G_rgb_ref_anon.png"])
def test_folder_and_file_agree_on_what_a_reference_is(name: str) -> None:
    assert LAYOUTS["acdc"].recognize(Path("x"), f"rgb_anon/fog/{name}") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "ref"}, "unknown part 'ref'; known are adverse, reference, both"),
        ({"part": "advers"}, "unknown part 'advers'; did you mean 'adverse'\\?"),
        ({"conditions": ["clear"]}, "acdc has no images filed under 'clear'; known are fog, rain"),
        ({"conditions": ["snow"]}, "none of 4 images of acdc is of part adverse and filed under s"),
    ],
)
def test_a_part_or_condition_that_is_not_there(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    home = trees.acdc(tmp_path, splits=["val"], conditions=["fog"])
    with pytest.raises(CamsegError, match=f"^{message}"):
        opened("acdc", home, "val", **options)


def test_an_adverse_image_needs_its_label_and_a_reference_does_not(tmp_path: Path) -> None:
    home = trees.acdc(tmp_path, splits=["val"], conditions=["snow"])
    label = home / "gt/snow/val/GOPR0475/GOPR0475_frame_000001_gt_labelIds.png"
    label.unlink()
    with pytest.raises(
        CamsegError, match=f"_frame_000001_rgb_anon.png has no label: no file {label}"
    ):
        open_dataset("acdc", home, "val")
    assert len(opened("acdc", home, "val", part="reference")) == 1
    (home / "gt/snow/val_ref/GOPR0475/GOPR0475_frame_000000_gt_ref_labelIds.png").unlink()
    with pytest.raises(
        CamsegError, match="none of 2 reference images has a label; the first would"
    ):
        open_dataset("acdc", home, "val", part="reference")


def test_labels_of_kitti_step_may_lie_in_its_own_place(tmp_path: Path) -> None:
    home = trees.kitti_step(tmp_path, nested=False)
    assert opened("kitti-step", home, "val").files[0].label == (
        home / "panoptic_maps/val/0002/000000.png"
    )
    trees.write_image(home / "testing/image_02/0000/000000.png")
    assert len(opened("kitti-step", home, "train")) == 4


def test_a_split_or_a_sequence_without_labels(tmp_path: Path) -> None:
    """All images are in one archive, so that a user of one split has those of the other too."""
    home = trees.kitti_step(tmp_path)
    maps = home / "kitti-step/panoptic_maps"
    (maps / "val/0002").rename(tmp_path / "away")
    assert len(opened("kitti-step", home, "train")) == 4
    with pytest.raises(
        CamsegError, match=r"0002/000000.png has no label \(and 1 more of 4\): no file .*val/0002/"
    ):
        open_dataset("kitti-step", home, "val")
    (tmp_path / "away").rename(maps / "val/0002")
    (maps / "train").rename(tmp_path / "away")
    assert len(opened("kitti-step", home, "val")) == 4
    with pytest.raises(CamsegError, match="has no split 'train'; known are val$"):
        open_dataset("kitti-step", home, "train")


def test_ones_own_sequences_are_where_their_labels_are(tmp_path: Path) -> None:
    home = trees.kitti_step(tmp_path)
    maps = home / "kitti-step/panoptic_maps"
    (maps / "train/0001").rename(maps / "val/0001")
    train, val = (opened("kitti-step", home, split) for split in ("train", "val"))
    assert [one.sequence for one in train.samples] == ["0000"] * 2
    assert [one.sequence for one in val.samples] == ["0001"] * 2 + ["0002"] * 2 + ["0018"] * 2
    val.read(0)
    (home / "one.txt").write_text("training/image_02/0001/000000.png")
    listed = opened("list", home, "one.txt")
    assert listed.files[0].label == maps / "val/0001/000000.png"


def test_a_sequence_with_labels_of_both_splits_is_read_from_each(tmp_path: Path) -> None:
    home = trees.kitti_step(tmp_path)
    maps = home / "kitti-step/panoptic_maps"
    for frame in (0, 1):
        label = maps / f"train/0002/{frame:06d}.png"
        trees.write_ids(label, np.full((6, 40, 3), 5, np.uint8))
    train = opened("kitti-step", home, "train")
    assert [file.label for file in train.files[4:]] == [
        *(maps / "train/0002/000000.png", maps / "train/0002/000001.png"),
    ]
    assert np.unique(train.read(4).ground_truth).tolist() == [5]


OVERLAP = "cadedgetune, split train: the published train list is the whole set and holds every"


def test_the_overlap_of_train_and_val_is_said(tmp_path: Path) -> None:
    root = trees.original_project(tmp_path)
    with pytest.warns(DatasetWarning, match=OVERLAP):
        assert len(open_dataset("cadedgetune", root, "train")) == 8
    with pytest.warns(DatasetWarning, match=OVERLAP):
        open_dataset("cadedgetune", root, "dataset/CADEdgeTune/trainlist.txt")
    lines = [f"dataset/CADEdgeTune/SEQ2/Images/frame000{frame}.jpg" for frame in (1, 2)]
    trees.write_list(tmp_path / "trainlist.txt", lines)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(open_dataset("cadedgetune", root, "trainlist.txt")) == 2


def test_cityscapes_classes_need_a_table_for_camvid(tmp_path: Path) -> None:
    home = trees.camvid(tmp_path)
    with pytest.raises(
        CamsegError, match="'cityscapes' is made for other label files than camvid's"
    ):
        open_dataset("camvid", home, "val", label_set=CITYSCAPES)
    table = {0: 10, 1: 2, 2: 5, 3: 0, 4: 1, 5: 8, 6: 7, 7: 4, 8: 13, 9: 11, 10: 12}
    label_set = LabelSet("mixed", CITYSCAPES.names, CITYSCAPES.palette, source_ids=table)
    class_ids = opened("camvid", home, "val", label_set=label_set).read(0).ground_truth
    assert class_ids.reshape(-1)[:12].tolist() == [*table.values(), 255]


def test_two_images_of_one_label(tmp_path: Path) -> None:
    trees.camvid(tmp_path, splits=["val"])
    trees.write_image(tmp_path / "val" / "0001TP_006690.jpg")
    with pytest.raises(
        CamsegError, match="6690.jpg and .*6690.png differ in their suffix only, so that they share"
    ):
        open_dataset("camvid", tmp_path, "val")


def test_a_split_of_camvid_needs_both_folders(tmp_path: Path) -> None:
    trees.camvid(tmp_path, splits=["train", "val"])
    (tmp_path / "trainannot").rename(tmp_path / "away")
    assert LAYOUTS["camvid"].splits(tmp_path) == ("val",)


def test_comma10k_is_split_by_its_own_rule_and_read_by_colours(tmp_path: Path) -> None:
    home = trees.comma10k(tmp_path / "comma10k")
    names = {
        split: [one.name for one in opened("comma10k", tmp_path, split).samples]
        for split in ("train", "val", "all")
    }
    assert names["val"] == ["imgs/0000_a_1_019.png", "imgs/0001_b_2_9.png"]
    assert names["train"] == ["imgs/0002_c_3_10.png"]
    assert sorted(names["all"]) == sorted([*names["train"], *names["val"]])
    expected = np.resize(np.array([0, 1, 2, 3, 4, 255], np.uint8), trees.SIZE)
    np.testing.assert_array_equal(opened("comma10k", home, "train").read(0).class_ids, expected)
    mask = home / "masks" / "0002_c_3_10.png"
    pixels = np.array(Image.open(mask))
    Image.fromarray(np.dstack([pixels, np.full(trees.SIZE, 255, np.uint8)])).save(mask)  # RGBA
    np.testing.assert_array_equal(opened("comma10k", home, "train").read(0).class_ids, expected)
    pixels[0, :2] = (64, 32, 33)
    Image.fromarray(pixels).save(mask)
    with pytest.raises(CamsegError, match="10.png has colour #402021 on 2 pixels; .* road #402020"):
        opened("comma10k", home, "train").read(0)
    trees.write_ids(mask, trees.cycle(range(5)))
    with pytest.raises(CamsegError, match="is 8-bit grey; label files of comma10k are 8-bit RGB"):
        opened("comma10k", home, "train").read(0)
    report = check_tree("comma10k", home, "val")
    assert [(row.frames, row.labelled) for row in report.counts] == [(2, 2)]
    assert report.findings == []


def test_a_folder_pair_has_the_classes_that_are_given(tmp_path: Path) -> None:
    home = trees.folder_pair(tmp_path, ids=(7, 8, 0, 255))
    with pytest.raises(
        CamsegError,
        match="^data set folder has no classes of its own: give a label set, a YAML file or one of "
        "cityscapes, cityscapes-train-ids, camvid, comma10k$",
    ):
        open_dataset("folder", home, "all")
    with pytest.raises(CamsegError, match="has no split 'train'; known are all, val$"):
        open_dataset("folder", home, "train", label_set=TWO)
    class_ids = opened("folder", home, "all", label_set=CITYSCAPES).read(0).ground_truth
    assert class_ids.reshape(-1)[:4].tolist() == [0, 1, 255, 255]


def test_sizes_that_differ(tmp_path: Path) -> None:
    home = trees.camvid(tmp_path, splits=["val"])
    trees.write_ids(home / "valannot/0001TP_006690.png", trees.cycle([0], (5, 40)))
    with pytest.raises(
        CamsegError, match="6690.png is 40 x 5 but its image .* is 40 x 6; an image and its label"
    ):
        opened("camvid", home, "val").read(0)
    assert opened("camvid", home, "val").label_set is CAMVID
