# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

from made_replay import LIVE

from camseg_ros.replay.results.gates import known_figures

(CAMERA,) = LIVE.cameras.values()


def test_drops_are_of_what_entered_the_node_and_losses_of_what_was_played() -> None:
    assert (CAMERA.drop_rate, CAMERA.lost_in_dds) == (27 / 90, 10)
    assert replace(CAMERA, counts={**CAMERA.counts, "in": 0}).drop_rate is None
    assert replace(CAMERA, played=80).lost_in_dds == 0  # others played, too


def test_figures_for_gates() -> None:
    figures = LIVE.figures()
    assert figures == {
        "left": {
            "mean_iou": 0.5432,
            "pixel_accuracy": 0.9,
            "calibration_error": 0.02,
            "drop_rate": 0.3,
            "latency_p50_ms": 61.5,
            "latency_p95_ms": 71.5,
            "latency_p99_ms": 81.5,
            "age_p99_ms": 70.5,
            "class_iou.road": 0.9,
        }
    }
    assert {name.partition(".")[0] for name in figures["left"]} <= set(known_figures())


def test_where_another_player_plays_latency_is_the_node_s() -> None:
    camera = replace(CAMERA, latency_ms={})
    live = replace(LIVE, cameras={"a": camera, "b": CAMERA}, node_ms={"latency": {"p95": 44.0}})
    figures = live.figures()
    assert figures["a"]["latency_p95_ms"] == 44.0
    assert "latency_p99_ms" not in figures["a"]
    assert figures["a"]["age_p99_ms"] is None
    assert figures["b"]["latency_p95_ms"] == 71.5
