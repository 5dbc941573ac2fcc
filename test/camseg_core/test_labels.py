# SPDX-License-Identifier: Apache-2.0
"""Label sets: the published palette, colours to ids and back, other files' ids, JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES, UNLABELED, LabelSet

# As the published palette lists them: void first, then the 19 classes.
PUBLISHED = (
    ("void", (0, 0, 0)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (0, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)

# cityscapesScripts, labels.py: the names of ids 0..33 in order, and the classes that are scored.
CITYSCAPES_LABEL_IDS = (
    *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic"),
    *("ground", "road", "sidewalk", "parking", "rail track", "building", "wall", "fence"),
    *("guard rail", "bridge", "tunnel", "pole", "polegroup", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "caravan"),
    *("trailer", "train", "motorcycle", "bicycle"),
)

TWO = LabelSet(
    name="two",
    names=("a", "b"),
    palette=((1, 2, 3), (4, 5, 6)),
    void_color=(7, 8, 9),
    source_ids={10: 0, 20: 1, 30: 255},
)


def test_the_palette_is_the_published_one() -> None:
    assert UNLABELED == 255
    assert CITYSCAPES.num_classes == 19
    assert CITYSCAPES.void_color == PUBLISHED[0][1]
    assert tuple(zip(CITYSCAPES.names, CITYSCAPES.palette, strict=True)) == PUBLISHED[1:]


def test_colors_of_ids_without_a_class_are_void() -> None:
    colors = TWO.colors()
    assert colors.dtype == np.uint8
    assert colors.shape == (256, 3)
    assert colors[:2].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert (colors[2:] == (7, 8, 9)).all()


def test_every_id_has_its_colour_and_others_are_void() -> None:
    class_ids = np.arange(256, dtype=np.uint8).reshape(4, 64)
    image = CITYSCAPES.color_image(class_ids)
    assert image.dtype == np.uint8
    assert image.shape == (4, 64, 3)
    colors = [color for _, color in PUBLISHED]
    expected = [*colors[1:], *[colors[0]] * (256 - 19)]
    np.testing.assert_array_equal(image.reshape(-1, 3), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16, np.int64])
def test_cityscapes_label_ids_become_the_19_classes(dtype: type[np.integer[Any]]) -> None:
    assert len(CITYSCAPES_LABEL_IDS) == 34
    class_of = {name: index for index, (name, _) in enumerate(PUBLISHED[1:])}
    expected = [class_of.get(name, UNLABELED) for name in CITYSCAPES_LABEL_IDS]
    class_ids = CITYSCAPES.remap(np.arange(34, dtype=dtype).reshape(2, 17))
    assert class_ids.dtype == np.uint8
    assert class_ids.reshape(-1).tolist() == expected
    assert sum(entry != UNLABELED for entry in expected) == 19


def test_ids_that_no_table_lists_are_unlabeled() -> None:
    # -1 is Cityscapes' licence plate; 256 + 7 would be road if it were cut to a byte.
    source = np.array([[-1, 34, 255, 256 + 7]], np.int32)
    assert CITYSCAPES.remap(source).tolist() == [[255, 255, 255, 255]]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_remap_is_its_table_pixel_by_pixel(data: st.DataObject) -> None:
    wide = st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 300)
    table = data.draw(st.dictionaries(wide, st.sampled_from([0, 1, 255]), max_size=8))
    ids = st.sampled_from([*table]) | wide if table else wide
    source = data.draw(hnp.arrays(np.int64, hnp.array_shapes(max_dims=2, max_side=6), elements=ids))
    class_ids = replace(TWO, source_ids=table).remap(source)
    assert class_ids.dtype == np.uint8
    expected = [table.get(int(value), UNLABELED) for value in source.reshape(-1)]
    assert class_ids.reshape(-1).tolist() == expected


def test_camvid_is_segnets() -> None:
    names = "sky building pole road pavement tree sign fence car pedestrian bicyclist"
    assert CAMVID.names == tuple(names.split(" "))
    colors = "808080 800000 c0c080 804080 3c28de 808000 c08080 404080 400080 404000 0080c0"
    assert CAMVID.palette == tuple(tuple(bytes.fromhex(color)) for color in colors.split(" "))
    assert CAMVID.void_color == (0, 0, 0)
    assert CAMVID.source_ids[11] == UNLABELED  # said, not forgotten
    assert CAMVID.remap(np.arange(13)).tolist() == [*range(11), 255, 255]


def test_the_decoding_palette_is_void_first_and_rounded_to_four_decimals() -> None:
    palette = CITYSCAPES.decoding_palette()
    assert palette.dtype == np.float32
    assert palette.shape == (20, 3)
    expected = [[round(channel / 255, 4) for channel in color] for _, color in PUBLISHED]
    np.testing.assert_array_equal(palette, np.array(expected, np.float32))
    # 128 / 255 is 0.50196...: the fifth decimal is gone.
    assert palette[1].tolist() == [np.float32(0.502), np.float32(0.251), np.float32(0.502)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": (), "palette": ()}, "label set 'two' has 0 classes; 1 to 255 fit"),
        (
            {
                "names": tuple(map(str, range(256))),
                "palette": tuple((index, 0, 0) for index in range(256)),
            },
            "label set 'two' has 256 classes; 1 to 255 fit",
        ),
        ({"names": ("a",)}, "label set 'two' has 1 names but 2 colours"),
        ({"palette": ((1, 2, 3),)}, "label set 'two' has 2 names but 1 colours"),
        ({"names": ("a", "a")}, "label set 'two' repeats a class name"),
        ({"palette": ((1, 2, 3), (1, 2, 3))}, "label set 'two' repeats a colour"),
        ({"void_color": (4, 5, 6)}, r"label set 'two' repeats a colour \(void has one too\)"),
        ({"source_ids": {5: 2}}, r"label set 'two' maps id 5 to 2; class ids are 0..1 or 255"),
        ({"source_ids": {5: -1}}, r"label set 'two' maps id 5 to -1; class ids are 0..1 or 255"),
    ],
)
def test_each_rule_names_the_set_and_the_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        replace(TWO, **changes)


@pytest.mark.parametrize("label_set", [CITYSCAPES, CAMVID, TWO])
def test_a_label_set_survives_json(label_set: LabelSet) -> None:
    back = LabelSet.from_dict(json.loads(json.dumps(label_set.to_dict())))
    assert back == label_set
    assert isinstance(back.palette[0], tuple)
    assert all(isinstance(source, int) for source in back.source_ids)
    assert hash(back) == hash(label_set)


def test_the_table_of_source_ids_may_be_left_out() -> None:
    content = TWO.to_dict()
    del content["source_ids"]
    assert LabelSet.from_dict(content).source_ids == {}
    del content["names"]
    with pytest.raises(CamsegError, match="^label set: names is missing"):
        LabelSet.from_dict(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": None}, "file.json: names is null: "),
        ({"palette": 3}, "file.json: palette is 3: "),
        ({"palette": [[1, 2], [4, 5, 6]]}, r"file.json: palette\[0\]\[2\] is missing"),
        ({"void_color": ["x", 2, 3]}, r'file.json: void_color\[0\] is "x": '),
        ({"void_color": [1, 2, 300]}, r"file.json: void_color\[2\] is 300: .* equal to 255"),
        ({"void_color": [1, -2, 3]}, r"file.json: void_color\[1\] is -2: .* equal to 0"),
        ({"void_color": [1, 0.5, 3]}, r"file.json: void_color\[1\] is 0.5: "),
        ({"source_ids": {"x": 1}}, "file.json: source_ids.x"),
        ({"colour": 3}, "file.json: colour is not known"),
    ],
)
def test_a_bad_field_is_named_with_its_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CamsegError, match=f"^{message}"):
        LabelSet.from_dict(TWO.to_dict() | changes, "file.json")
