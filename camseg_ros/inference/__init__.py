# SPDX-License-Identifier: Apache-2.0
"""Frames waiting, frames in work, and the number of steps each is given; no rclpy."""
