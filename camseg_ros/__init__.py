# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 side of camseg: conversions, the lifecycle node, replay."""
