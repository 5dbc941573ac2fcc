# SPDX-License-Identifier: Apache-2.0
"""Merge files: what they do to ids and probabilities, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camseg_core.data.class_merges import MERGES, find_merge
from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES, COMMA10K, LabelSet

FIVE = LabelSet("five", ("a", "b", "c", "d", "e"), tuple((n, 0, 1) for n in range(5)))
TWO = LabelSet("two", ("x", "y"), ((1, 2, 3), (4, 5, 6)))
TARGETS = {
    "cityscapes-to-bdd100k": CITYSCAPES,
    "cityscapes-to-camvid": CAMVID,
    "cityscapes-to-comma10k": COMMA10K,
    "cityscapes-to-kitti": CITYSCAPES,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nclasses: {x: [b, d], y: [a]}\n")
    return path


@pytest.mark.parametrize("name", MERGES)
def test_shipped_files_fit_their_data_sets_and_leave_no_class_out(name: str) -> None:
    found = find_merge(name)
    assert found.name == name
    merge = found.between(CITYSCAPES, TARGETS[name])
    never = ["lane markings", "my car"] if "comma10k" in name else []
    expected = [f"merge {name!r}: never predicted, so that their IoU is 0: {', '.join(never)}"]
    assert list(found.notes(CITYSCAPES, TARGETS[name])) == (expected if never else [])
    assert set(found.classes) == set(TARGETS[name].names)
    pairs = {CITYSCAPES.names[i]: TARGETS[name].names[to] for i, to in enumerate(merge.table)}
    assert (pairs["road"], len(pairs)) == ("road", 19)


def test_there_is_one_for_each_data_set() -> None:
    assert sorted(MERGES) == sorted(TARGETS)


def test_ids_are_merged_and_classes_without_a_target_become_unlabeled(file: Path) -> None:
    merge = find_merge(file).between(FIVE, TWO)
    ids = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)
    np.testing.assert_array_equal(merge.class_ids(ids), [[1, 0, 255], [0, 255, 255]])
    (note,) = find_merge(file).notes(FIVE, TWO)
    assert note.startswith("merge 'mine': a pixel that is taken for c or e is wrong")


def test_probabilities_of_merged_classes_are_summed(file: Path) -> None:
    merge = find_merge(str(file)).between(FIVE, TWO)
    probabilities = np.random.default_rng(0).dirichlet([1] * 5, (2, 3)).transpose(2, 0, 1)
    merged = merge.probabilities(probabilities.astype(np.float32))
    assert (merged.dtype, merged.shape) == (np.float32, (2, 2, 3))
    np.testing.assert_allclose(merged[0], probabilities[1] + probabilities[3], rtol=1e-6)
    np.testing.assert_allclose(merged[1], probabilities[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: m\nclasses: {z: [a]}", "names 'z', which is no class of the data set ('two')"),
        ("name: m\nclasses: {x: [f]}", "names 'f', which is no class of the weights ('five')"),
        ("name: m\nclasses: {x: [a], y: [a]}", "counts 'a' as 'x' and as 'y'; one target is"),
        ("name: m\nclasses: {x: a}", 'classes.x is "a": input should be a valid array; a merge'),
        ("classes: {x: [a]}", "name is missing; a merge file has a name and classes"),
        ("[1]", "a merge file has a name and classes"),
        ("a: [", "a merge file has a name and classes"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(content)
    with pytest.raises(CamsegError) as caught:
        find_merge(path).between(FIVE, TWO)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(CamsegError, match="^no merge 'cityscapes-to-kity'; did you mean 'citysca"):
        find_merge("cityscapes-to-kity")
