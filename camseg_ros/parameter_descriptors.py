# SPDX-License-Identifier: Apache-2.0
"""Parameter descriptors: what ``ros2 param describe`` shows, and the ranges that rclpy keeps."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from camseg_ros.parameters import ParameterSpec


def parameter_descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """Describe a parameter."""
    descriptor = ParameterDescriptor(
        description=spec.description, additional_constraints=spec.constraint
    )
    if spec.lowest is not None and spec.highest is not None:
        if isinstance(spec.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=spec.lowest, to_value=spec.highest)
            ]
        else:
            descriptor.integer_range = [
                IntegerRange(from_value=int(spec.lowest), to_value=int(spec.highest))
            ]
    return descriptor
