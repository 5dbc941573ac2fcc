# SPDX-License-Identifier: Apache-2.0
"""Figures under ros2_benchmark's names, against values worked out by hand from its definitions."""

from __future__ import annotations

import pytest

from camseg_ros.benchmark.isaac_figures import PREFIX, isaac_figures
from camseg_ros.remote.traffic import CameraTraffic

MS = 10**6


def test_five_frames_of_which_one_is_missed() -> None:
    sent_ms = {1: 0, 2: 100, 3: 200, 4: 300, 5: 400}  # by stamp
    latency_ms = {1: 50, 2: 60, 4: 40, 5: 80}  # masks at 50, 160, 340 and 480 ms
    traffic = CameraTraffic(
        sent_ns={stamp: 10**12 + ms * MS for stamp, ms in sent_ms.items()},
        latency_ns={stamp: ms * MS for stamp, ms in latency_ms.items()},
    )
    jitter = (180 - 110, 180 - 140)  # of the intervals 110, 180, 140 ms
    assert isaac_figures(traffic) == pytest.approx(
        {
            PREFIX + "NUM_FRAMES_SENT": 5,
            PREFIX + "NUM_MISSED_FRAMES": 1,
            PREFIX + "MEAN_PLAYBACK_FRAME_RATE": 5 / 0.4,
            PREFIX + "RECEIVED_DURATION": 430,
            PREFIX + "MEAN_FRAME_RATE": 4 / 0.43,
            PREFIX + "FIRST_SENT_RECEIVED_LATENCY": 50,
            PREFIX + "LAST_SENT_RECEIVED_LATENCY": 80,
            PREFIX + "FIRST_INPUT_LATENCY": 50,
            PREFIX + "LAST_INPUT_LATENCY": 80,
            PREFIX + "MAX_LATENCY": 80,
            PREFIX + "MIN_LATENCY": 40,
            PREFIX + "MEAN_LATENCY": 57.5,
            PREFIX + "MAX_JITTER": jitter[0],
            PREFIX + "MIN_JITTER": jitter[1],
            PREFIX + "MEAN_JITTER": 55,
            PREFIX + "STD_DEV_JITTER": 15,
        }
    )


def test_without_masks_nothing_is_invented() -> None:
    assert isaac_figures(CameraTraffic(sent_ns={1: MS})) == {
        PREFIX + "NUM_FRAMES_SENT": 1,
        PREFIX + "NUM_MISSED_FRAMES": 1,
    }
