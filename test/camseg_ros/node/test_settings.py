# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from node_parts import camera
from node_parts import parameter_values as values

from camseg_core.diffusion.options import ONE_STEP_PROFILES, V_PROFILES
from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES, LabelSet
from camseg_ros.ground.camera_model import Mounting
from camseg_ros.ground.grid import FREE, OCCUPIED, UNKNOWN, UPRIGHT
from camseg_ros.messages.output_topics import OUTPUT_TOPICS
from camseg_ros.node.health import Limit, WatchLimits
from camseg_ros.node.settings import (
    CameraSettings,
    LiveSettings,
    camera_names,
    live_settings,
)


def live(**changes: Any) -> LiveSettings:
    return live_settings(values(**changes), V_PROFILES, CITYSCAPES)


def test_sampling_follows_the_profile_where_nothing_is_given() -> None:
    assert live(profile="accurate", seed=4).sampling == replace(V_PROFILES["accurate"], seed=4)
    given = {"steps": 3, "sampler": "ddpm", "samples": 2, "precision": "float32"}
    assert live(**given).sampling == replace(V_PROFILES["balanced"], **given)


def test_the_defaults_need_no_budget_and_publish_everything_unchanged() -> None:
    settings = live()
    assert settings.sampling == V_PROFILES["balanced"]
    assert (settings.budget_ns, settings.steps_range) == (0, (1, V_PROFILES["accurate"].steps))
    assert settings.outputs == tuple(OUTPUT_TOPICS)
    assert (settings.output.height, settings.output.width) == (0, 0)
    assert not settings.output.least_confidence.any()
    assert settings.threshold == 0.0
    assert settings.limits == WatchLimits(
        no_input=Limit(10**9, 3 * 10**9), input_age=Limit(10**9), latency=Limit(10**9)
    )


def test_settings_are_in_nanoseconds_and_by_class_id() -> None:
    settings = live(
        latency_budget_ms=80.5,
        min_steps=2,
        max_steps=8,
        output_height=100,
        output_width=200,
        min_confidence=0.5,
        class_min_confidence="person=0.2, car = 0.9",
        outputs=["mask", ""],
        latency_warn_ms=0.0,
        latency_error_ms=250.0,
    )
    assert (settings.budget_ns, settings.steps_range) == (80_500_000, (2, 8))
    assert (settings.output.height, settings.output.width) == (100, 200)
    table = settings.output.least_confidence
    assert (table[0], table[11], table[13], table[255]) == (128, 51, 230, 0)
    assert settings.outputs == ("mask",)
    assert settings.threshold == 0.2
    assert settings.limits.latency == Limit(0, 250_000_000)


def test_one_step_weights_are_not_given_more_steps_by_a_budget() -> None:
    settings = live_settings(values(latency_budget_ms=50.0), ONE_STEP_PROFILES, CITYSCAPES)
    assert settings.steps_range == (1, 1)


def test_without_weights_names_of_classes_are_not_checked() -> None:
    settings = live_settings(values(class_min_confidence="cat=0.5"), V_PROFILES, None)
    assert not settings.output.least_confidence.any()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sampler": "euler"}, "unknown sampler 'euler'; the samplers are"),
        ({"profile": "best"}, "unknown profile 'best'; one of accurate, balanced"),
        ({"min_steps": 9, "max_steps": 4}, "min_steps is 9 and max_steps 4; min_steps <="),
        ({"safe_state": "black"}, "safe_state has 'black'; it is one of publish_nothing, all_unl"),
        ({"safe_state": ""}, "safe_state has ''; it is one of"),
        ({"outputs": ["mask", "depth"]}, "outputs has 'depth'; it is one of mask, mask_compressed"),
        ({"class_min_confidence": "cat=0.5"}, "class_min_confidence names 'cat'"),
        ({"class_min_confidence": "car"}, "class_min_confidence has 'car'; CLASS=SHARE is needed"),
        ({"class_min_confidence": "car=much"}, "class_min_confidence has 'car=much'"),
        ({"class_min_confidence": "car=1.5"}, "'car=1.5'; CLASS=SHARE is needed with a share of 0"),
        (
            {"no_input_warn_s": 4.0, "no_input_error_s": 3.0},
            "no_input_warn_s is 4 and no_input_error_s 3; the first one must not be larger",
        ),
    ],
)
def test_a_value_that_breaks_its_rule_is_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(CamsegError, match=told):
        live(**changes)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "cameras is empty; at least one name is needed"),
        (["front", "2nd"], "camera '2nd'; letters, digits and underscores, not starting"),
        (["vorne_ü"], "camera 'vorne_ü'; letters, digits"),
        (["a", "b", "a"], "camera 'a' stands twice in cameras; each once is needed"),
    ],
)
def test_bad_camera_names_are_told(names: list[str], told: str) -> None:
    with pytest.raises(CamsegError, match=told):
        camera_names({"cameras": names})


def test_topics_follow_the_camera_s_name() -> None:
    assert camera() == CameraSettings("front", "front/image_raw", "auto", "front/camera_info")
    assert not camera().rectified
    assert camera(transport="compressed") == CameraSettings(
        "front", "front/image_raw/compressed", "compressed", "front/camera_info"
    )


def test_camera_info_is_beside_the_image_topic_unless_it_is_given() -> None:
    topic = "/kitti/camera_color_left/image_rect"
    assert camera(image_topic=topic).camera_info_topic == "/kitti/camera_color_left/camera_info"
    packed = camera(image_topic=f"{topic}/compressed", transport="compressed")
    assert packed.camera_info_topic == "/kitti/camera_color_left/camera_info"
    assert camera(image_topic="image").camera_info_topic == "camera_info"
    assert camera(camera_info_topic="/info").camera_info_topic == "/info"


def test_unknown_transports_and_reliabilities_are_told() -> None:
    with pytest.raises(CamsegError, match="front.transport has 'theora'; it is one of auto, raw"):
        camera(transport="theora")
    with pytest.raises(CamsegError, match="front.reliability has 'often'; it is one of auto, reli"):
        camera(reliability="often")


def test_a_mounting_is_read_and_checked() -> None:
    assert camera().mounting is None
    given = [1.5, 0.0, 1.2, 0.0, 0.1, 0.0]
    assert camera(mounting=given).mounting == Mounting(*given)
    with pytest.raises(CamsegError, match="front.mounting has 3 numbers; x, y, z in metres"):
        camera(mounting=[1.0, 0.0, 1.0])
    with pytest.raises(CamsegError, match="front.mounting: camera mounting z_m -1.0: must be abo"):
        camera(mounting=[1.0, 0.0, -1.0, 0.0, 0.0, 0.0])


def test_the_grid_is_read() -> None:
    rules = live(grid_free_classes=["road", "terrain"], grid_min_confidence=0.3).output.grid
    assert rules is not None
    assert rules.table[[0, 1, 9, 10, 13, 255]].tolist() == [FREE, OCCUPIED, FREE, -1, UPRIGHT, -1]
    assert (rules.least_confidence, rules.hidden) == (77, UNKNOWN)
    rules = live(grid_hidden="occupied").output.grid
    assert rules is not None
    assert rules.hidden == OCCUPIED
    with pytest.raises(CamsegError, match="grid_hidden has 'free'; it is one of unknown, occupied"):
        live(grid_hidden="free")
    with pytest.raises(CamsegError, match="free class 'lawn'; must be one of road"):
        live(grid_free_classes=["lawn"])


def test_weights_without_a_road_configure_and_nothing_is_free_unless_named() -> None:
    mine = LabelSet("mine", ("drivable", "obstacle"), ((1, 2, 3), (4, 5, 6)))

    def free(**changes: object) -> list[int]:
        rules = live_settings(values(**changes), V_PROFILES, mine).output.grid
        assert rules is not None
        return np.flatnonzero(rules.table == FREE).tolist()

    assert free() == []
    assert free(grid_free_classes=["drivable"]) == [0]
