# SPDX-License-Identifier: Apache-2.0
"""The node's parameters in rclpy: their declaration, and the values that are set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_ros.node.parameters import CAMERA_PARAMETERS, INFORMATION, PARAMETERS, ParameterSpec
from camseg_ros.node.settings import camera_names


class NodeParameters:
    """Declares the parameters on a node and reads them.

    Attributes:
        specs: What is known of each declared parameter, by name; rclpy's own, such as
            use_sim_time, are not among them.
    """

    def __init__(self, node: Node) -> None:
        """Declare all parameters, those of the cameras that ``cameras`` names too.

        Raises:
            CamsegError: a value from the command line or the params file breaks its rule.
        """
        self._node = node
        self.specs: dict[str, ParameterSpec] = {}
        for spec in (*PARAMETERS, *INFORMATION):
            self._declare(spec.name, spec)
        self.declare_cameras(camera_names(self.values()))

    def declare_cameras(self, names: Sequence[str]) -> None:
        """Declare the parameters of cameras that have none yet.

        Raises:
            CamsegError: a value from the command line or the params file breaks its rule.
        """
        for camera in names:
            for spec in CAMERA_PARAMETERS:
                if f"{camera}.{spec.name}" not in self.specs:
                    self._declare(f"{camera}.{spec.name}", spec)

    def inform(self, label_set: LabelSet, weights_sha256: str) -> None:
        """Set the read-only parameters, which tell what the class ids mean."""
        information = {
            "label_set": label_set.name,
            "class_names": list(label_set.names),
            "class_colors": ["#{:02x}{:02x}{:02x}".format(*color) for color in label_set.palette],
            "weights_sha256": weights_sha256,
        }
        for name, value in information.items():
            descriptor = self._node.describe_parameter(name)
            descriptor.read_only = False
            self._node.set_parameters([Parameter(name, value=value)])
            descriptor.read_only = True

    def values(self) -> dict[str, Any]:
        """Return all values by name."""
        return {name: self._value(name) for name in self.specs}

    def _value(self, name: str) -> Any:
        try:
            return self._node.get_parameter(name).value
        except ParameterUninitializedException:  # an empty list in a params file has no type
            return []

    def _declare(self, name: str, spec: ParameterSpec) -> None:
        descriptor = parameter_descriptor(spec)
        descriptor.read_only = spec in INFORMATION
        try:
            self._node.declare_parameter(name, spec.default, descriptor)
        except (InvalidParameterValueException, InvalidParameterTypeException) as error:
            raise CamsegError(f"parameter {name}: {error}") from error
        self.specs[name] = spec


def parameter_descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """Describe a parameter as rclpy wants it."""
    descriptor = ParameterDescriptor(description=spec.description, additional_constraints=spec.rule)
    if spec.lowest is not None and spec.highest is not None:
        ends = {"from_value": spec.lowest, "to_value": spec.highest}
        if isinstance(spec.default, float):
            descriptor.floating_point_range = [FloatingPointRange(**ends)]
        else:
            descriptor.integer_range = [IntegerRange(**ends)]
    return descriptor
