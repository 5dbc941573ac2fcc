# SPDX-License-Identifier: Apache-2.0
"""The drivable grid: camera geometry and projection to the ground; no rclpy."""
