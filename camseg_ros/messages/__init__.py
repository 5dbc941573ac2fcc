# SPDX-License-Identifier: Apache-2.0
"""Conversion between messages and arrays; no rclpy."""
