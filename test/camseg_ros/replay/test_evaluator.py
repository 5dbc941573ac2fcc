# SPDX-License-Identifier: Apache-2.0
"""Labels and pairing; over DDS it is tested with the live replay."""

import json

import pytest

from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES, LabelSet
from camseg_ros.class_info import labels_json
from camseg_ros.replay.evaluator import label_set_of


@pytest.mark.parametrize("label_set", [CITYSCAPES, CAMVID])
def test_the_node_s_labels_are_read_back(label_set: LabelSet) -> None:
    found = label_set_of(json.loads(labels_json(label_set, "ab")))
    assert (found.name, found.names, found.palette) == (
        label_set.name, label_set.names, label_set.palette,
    )  # fmt: skip


@pytest.mark.parametrize("content", [{}, {"label_set": "x", "classes": [{"id": 0}]}])
def test_labels_that_are_none(content: dict[str, object]) -> None:
    with pytest.raises(CamsegError, match="the node's labels are not readable: KeyError"):
        label_set_of(content)
