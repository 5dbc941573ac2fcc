# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys

import pytest
from builtin_interfaces.msg import Time
from node_parts import stand_in_for_vision_msgs

from camseg_core.labels import CITYSCAPES
from camseg_ros.messages.labels import label_info_message, labels_json


def test_labels_are_told_as_json() -> None:
    content = json.loads(labels_json(CITYSCAPES, "abc"))
    assert content["label_set"] == CITYSCAPES.name
    assert content["weights_sha256"] == "abc"
    assert content["unlabeled"] == 255
    assert content["classes"][13] == {"id": 13, "name": "car", "color": [0, 0, 142]}
    assert [item["id"] for item in content["classes"]] == list(range(19))


def test_label_info_has_every_id_of_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_vision_msgs(monkeypatch)
    message = label_info_message(CITYSCAPES, 0.25, "lens", Time(sec=3))
    assert (message.header.frame_id, message.header.stamp.sec) == ("lens", 3)
    assert message.threshold == 0.25
    table = [(item.class_id, item.class_name) for item in message.class_map]
    assert table == [*enumerate(CITYSCAPES.names), (255, "unlabeled")]


@pytest.mark.parametrize("lacks", ["LabelInfo", "its library"])
def test_a_half_installed_vision_msgs_is_an_error(
    monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    stand_in_for_vision_msgs(monkeypatch)
    if lacks == "LabelInfo":
        monkeypatch.delattr(sys.modules["vision_msgs.msg"], "LabelInfo")
    else:
        monkeypatch.setitem(sys.modules, "vision_msgs.msg", None)
    with pytest.raises(ImportError):
        label_info_message(CITYSCAPES, 0.0, "lens", Time())


def test_without_vision_msgs_there_is_no_label_info(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vision_msgs", None)
    assert label_info_message(CITYSCAPES, 0.0, "lens", Time()) is None
