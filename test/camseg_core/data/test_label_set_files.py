# SPDX-License-Identifier: Apache-2.0
"""Label sets as YAML files: what is read, what is refused and how it is said, and names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from camseg_core.data.label_set_files import LABEL_SETS, find_label_set
from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES, UNLABELED, LabelSet

GOOD = """
name: drivable
names: [road, obstacle, sky]
palette: [[128, 64, 128], [220, 20, 60], [70, 130, 180]]
void_color: [1, 2, 3]
source_ids: {7: road, 24: obstacle, 26: 1, 23: sky, 3: unlabeled, 4: 255}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "classes.yaml"
    path.write_text(GOOD)
    return path


def test_a_file_becomes_a_label_set(file: Path) -> None:
    assert find_label_set(file) == LabelSet(
        name="drivable",
        names=("road", "obstacle", "sky"),
        palette=((128, 64, 128), (220, 20, 60), (70, 130, 180)),
        void_color=(1, 2, 3),
        source_ids={7: 0, 24: 1, 26: 1, 23: 2, 3: 255, 4: 255},
    )


def test_void_colour_and_table_may_be_left_out(file: Path) -> None:
    file.write_text("name: a\nnames: [b]\npalette: [[1, 1, 1]]\nsource_ids:\n")
    assert find_label_set(file) == LabelSet("a", ("b",), ((1, 1, 1),), (0, 0, 0), {})


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def label_sets(draw: st.DrawFn) -> LabelSet:
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    bytes3 = st.tuples(*[st.integers(0, 255)] * 3)
    colors = draw(st.lists(bytes3, min_size=len(names) + 1, max_size=len(names) + 1, unique=True))
    targets = st.sampled_from([*range(len(names)), 255])
    table = draw(st.dictionaries(st.integers(-5, 300), targets, max_size=5))
    return LabelSet(draw(NAMES), tuple(names), tuple(colors[1:]), colors[0], table)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(label_set=label_sets())
def test_any_label_set_survives_its_file(tmp_path: Path, label_set: LabelSet) -> None:
    content = label_set.to_dict()
    content["source_ids"] = {
        source: UNLABELED if target == UNLABELED else label_set.names[target]
        for source, target in label_set.source_ids.items()
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content), "utf-8")
    assert find_label_set(tmp_path / "a.yaml") == label_set


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: drivable\n", "", "name is missing; a label set file has name, names, palette and"),
        ("name: drivable", "name: 3", "name is 3: input should be a valid string; a label set fi"),
        ("[road, obstacle, sky]", "road", 'names is "road": input should be a valid array'),
        ("obstacle, sky]", "no, sky]", "names[1] is false: input should be a valid string"),
        ("palette: [", "palette: 5 #", "palette is 5: input should be a valid array"),
        ("[220, 20, 60]", "red", 'palette[1] is "red": input should be a valid array'),
        ("[220, 20, 60]", "[220, 20]", "palette[1][2] is missing"),
        ("[220, 20, 60]", "[220, 20, 300]", "palette[1][2] is 300: input should be less"),
        ("[1, 2, 3]", "[1, 2, 3, 4]", "void_color is [1, 2, 3, 4]: tuple should have at most 3"),
        ("void_color", "void_colour", "void_colour is not known; known are name"),
        ("23: sky", "23: ski", 'source_ids.23 is "ski": input should be a valid integer'),
        ("23: sky", "23: true", "source_ids.23 is true: input should be a valid integer"),
        ("23: sky", "23: 3", "label set 'drivable' maps id 23 to 3; class ids are 0..2 or 255"),
        ("23: sky", "x: sky", 'source_ids.x.[key] is "x": input should be a valid integer'),
        ("{7: road", "[7] #", "source_ids is [7]: input should be an object"),
        ("obstacle, sky]", "obstacle, sky, sky]", "label set 'drivable' has 4 names but 3 col"),
    ],
)
def test_an_error_names_file_and_field(file: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(CamsegError) as caught:
        find_label_set(file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


# Seven times nine of the one before: written out, far more than a machine holds.
ALIASES = "palette: [&a0 [lol]" + "".join(
    f", &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 8)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", ", line 2: not YAML: expected ',' or ']'"),
        ("source_ids: {7: road,\n 7: sky}", ", line 2: not YAML: key 7 stands twice"),
        (ALIASES, ", line 1: not YAML: more than 20 aliases"),
        ("just text", ': the content is "just text": input should be an object'),
        ("", ": the content is null: input should be an object; a label set file has"),
    ],
)
def test_what_is_no_table_is_one_line(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(CamsegError) as caught:
        find_label_set(file)
    assert str(caught.value).startswith(f"{file}{message}")
    assert "\n" not in str(caught.value)


def test_the_original_projects_file_is_its_table(file: Path) -> None:
    learning_map = dict.fromkeys(range(34), 0) | {-1: 0}
    learning_map |= {raw: 1 + class_id for raw, class_id in CITYSCAPES.source_ids.items()}
    file.write_text(yaml.safe_dump({"learning_map": learning_map, "name": {0: "unlabeled"}}))
    assert find_label_set(file) == CITYSCAPES
    file.write_text("learning_map: {0: 1, 18: 19, 255: 0}\n")
    assert find_label_set(file) == replace(CITYSCAPES, source_ids={0: 0, 18: 18})
    file.write_text("learning_map: {0: 20}\n")
    with pytest.raises(CamsegError, match=r"learning_map: 0 is 20: .* equal to 19"):
        find_label_set(file)


def test_names_and_files_are_found(file: Path) -> None:
    assert find_label_set("cityscapes") is CITYSCAPES
    assert find_label_set("camvid") is CAMVID
    train_ids = find_label_set("cityscapes-train-ids")
    assert (train_ids.names, train_ids.source_ids) == (CITYSCAPES.names, {})
    assert find_label_set(file).name == find_label_set(str(file)).name == "drivable"
    assert [*LABEL_SETS] == ["cityscapes", "cityscapes-train-ids", "camvid", "comma10k"]


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(
        CamsegError,
        match="^no label set 'cityscape'; did you mean 'cityscapes'\\? known are cityscapes, "
        "cityscapes-train-ids, camvid, comma10k, or give a YAML file$",
    ):
        find_label_set("cityscape")
    with pytest.raises(CamsegError, match="^no label set 'x.yaml'; known are cityscapes, "):
        find_label_set("x.yaml")
