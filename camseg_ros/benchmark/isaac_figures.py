# SPDX-License-Identifier: Apache-2.0
"""A camera's figures under the names that ros2_benchmark gives them, to stand beside Isaac ROS's.

Names, meanings and units are those of ``BasicPerformanceMetrics`` in
https://github.com/NVIDIA-ISAAC-ROS/ros2_benchmark (``basic_performance_calculator.py``), with the
prefix that its result files have. A frame's latency is the one of its own stamp, as there with
``message_key_match``. Ours are of one run; ros2_benchmark leaves the best and the worst of several
out.
"""

from __future__ import annotations

import numpy as np

from camseg_ros.remote.traffic import CameraTraffic

PREFIX = "BasicPerformanceMetrics."


def isaac_figures(traffic: CameraTraffic) -> dict[str, float]:
    """Return the figures of frames that were each published once.

    Rates are in frames per second, numbered frames are counts, all else is in milliseconds. A
    figure that needs more frames than there are is absent: rates need two, jitter three masks.
    """
    sent_ms = np.array([*traffic.sent_ns.values()]) / 1e6  # [frames], in order of publishing
    latency_ms = np.array([*traffic.latency_ns.values()]) / 1e6  # [masks], in order of arrival
    masked_ms = np.array([traffic.sent_ns[stamp] for stamp in traffic.latency_ns]) / 1e6  # [masks]
    arrived_ms = masked_ms + latency_ms  # [masks]
    figures = {
        "NUM_FRAMES_SENT": float(len(sent_ms)),
        "NUM_MISSED_FRAMES": float(len(sent_ms) - len(arrived_ms)),
    }
    if len(sent_ms) > 1:
        # As there, frames are divided by the time from the first to the last: one gap too few.
        figures["MEAN_PLAYBACK_FRAME_RATE"] = 1e3 * len(sent_ms) / (sent_ms[-1] - sent_ms[0])
    if len(arrived_ms):
        in_order_sent = latency_ms[np.argsort(masked_ms)]  # [masks]
        figures |= {
            "RECEIVED_DURATION": arrived_ms[-1] - arrived_ms[0],
            "FIRST_SENT_RECEIVED_LATENCY": arrived_ms[0] - sent_ms[0],
            "LAST_SENT_RECEIVED_LATENCY": arrived_ms[-1] - sent_ms[-1],
            "FIRST_INPUT_LATENCY": in_order_sent[0],
            "LAST_INPUT_LATENCY": in_order_sent[-1],
            "MAX_LATENCY": latency_ms.max(),
            "MIN_LATENCY": latency_ms.min(),
            "MEAN_LATENCY": latency_ms.mean(),
        }
    if len(arrived_ms) > 1:
        figures["MEAN_FRAME_RATE"] = 1e3 * len(arrived_ms) / (arrived_ms[-1] - arrived_ms[0])
    if len(arrived_ms) > 2:
        jitter_ms = np.abs(np.diff(arrived_ms, n=2))  # [masks - 2], between successive intervals
        figures |= {
            "MAX_JITTER": jitter_ms.max(),
            "MIN_JITTER": jitter_ms.min(),
            "MEAN_JITTER": jitter_ms.mean(),
            "STD_DEV_JITTER": jitter_ms.std(),
        }
    return {PREFIX + name: float(value) for name, value in figures.items()}
