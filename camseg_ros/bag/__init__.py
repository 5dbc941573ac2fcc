# SPDX-License-Identifier: Apache-2.0
"""Bags: read, written and made through the rosbags library; no rclpy."""
