# SPDX-License-Identifier: Apache-2.0
"""Quality of service of the node's topics."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data

from camseg_ros.camera_port import Qualities

QUALITIES = Qualities(
    input=QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability),
    output=QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE),
    latched=QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    ),
)
"""The newest message counts; latched ones wait for late subscribers."""
