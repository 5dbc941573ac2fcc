# SPDX-License-Identifier: Apache-2.0
"""The frames that wait, the worker that infers them, and how many steps each is given; no rclpy."""
