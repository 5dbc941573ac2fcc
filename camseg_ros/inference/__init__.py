# SPDX-License-Identifier: Apache-2.0
"""The waiting frames, the worker that infers them, and the choice of their steps; no rclpy."""
