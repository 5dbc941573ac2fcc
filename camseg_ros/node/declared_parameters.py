# SPDX-License-Identifier: Apache-2.0
"""The parameters as rclpy has them: declared, read, and what becomes of a value that is given.

rclpy takes a whole number for no float, tells of no name that it does not know, and refuses a
read-only parameter also its present value: all three is mended here, before it sees the values.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from camseg_core.errors import CamsegError, did_you_mean, shown
from camseg_core.labels import LabelSet
from camseg_core.system.files import parse_yaml
from camseg_ros.node.parameters import (
    CAMERA_PARAMETERS,
    INFORMATION,
    PARAMETERS,
    STRICT,
    ParameterSpec,
)
from camseg_ros.node.settings import camera_names

ROS_PREFIX = "qos_overrides."
"""What the names of parameters begin with that rclpy declares with a topic, if it is told to."""


class NodeParameters:
    """Declares the parameters on a node and reads them.

    Attributes:
        specs: What is known of each declared parameter, by name; rclpy's own, such as
            use_sim_time, are not among them.

    Raises:
        CamsegError: at a declaration, if a value from the command line or the params file breaks
            its rule, or if a name is unknown and ``strict_parameters`` is true.
    """

    def __init__(self, node: Node) -> None:
        """Declare all parameters, those of the cameras that ``cameras`` names too."""
        self._node = node
        self.specs: dict[str, ParameterSpec] = {}
        # What the command line and the params file give, which no method of the node tells.
        self._given: dict[str, Parameter] = node.handle.get_parameters(Parameter)
        for spec in (*PARAMETERS, *INFORMATION):
            self._declare(spec.name, spec)
        values = self.values()
        self.declare_cameras(camera_names(values))
        unknown = [name for name in self._given if not self._is_known(name)]
        if unknown:
            text = ", ".join(self.about_unknown(name) for name in unknown)
            if values[STRICT]:
                raise CamsegError(f"unknown parameters: {text}; {STRICT} is true")
            node.get_logger().warning(f"unknown parameters are ignored: {text}")

    def declare_cameras(self, names: Sequence[str]) -> None:
        """Declare the parameters of cameras that have none yet."""
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
        return {name: self._node.get_parameter(name).value for name in self.specs}

    def changes(self, given: Iterable[Parameter]) -> list[Parameter]:
        """Return those that have another value than now, each of its parameter's type.

        Raises:
            CamsegError: there is no parameter of a name.
        """
        changed = []
        for parameter in given:
            name = parameter.name
            if not self._node.has_parameter(name):
                raise CamsegError(f"unknown parameter {self.about_unknown(name)}")
            fitting = _fitting(parameter, self.specs[name]) if name in self.specs else parameter
            present = self._node.get_parameter(name)
            if fitting.type_ != present.type_ or _plain(fitting.value) != _plain(present.value):
                changed.append(fitting)
        return changed

    def about_unknown(self, name: str) -> str:
        """Return an unknown name with the nearest one that is known, if there is a near one."""
        camera, dot, of_camera = name.partition(".")
        is_of_other = any(dot and spec.name == of_camera for spec in CAMERA_PARAMETERS)
        why = f"cameras does not list {camera}" if is_of_other else ""
        near = did_you_mean(name, self._node.get_parameters_by_prefix(""))  # rclpy's own, too
        reasons = "; ".join(filter(None, (why, near)))
        return f"{name} ({reasons})" if reasons else name

    def _is_known(self, name: str) -> bool:
        return self._node.has_parameter(name) or name.startswith(ROS_PREFIX)

    def _declare(self, name: str, spec: ParameterSpec) -> None:
        """Declare a parameter, statically typed by its default, and give it its value."""
        self._node.declare_parameter(
            name, spec.default, parameter_descriptor(spec), ignore_override=True
        )
        if name in self._given:
            given = self._given[name]
            if given.value is None and isinstance(spec.default, list):
                given = Parameter(name, value=[])  # to rcl, an empty list has no type
            (result,) = self._node.set_parameters([_fitting(given, spec)])
            if not result.successful:
                self._node.undeclare_parameter(name)
                raise CamsegError(f"parameter {name} is {shown(given.value)}: {result.reason}")
        self._node.describe_parameter(name).read_only = spec.at_start or spec in INFORMATION
        self.specs[name] = spec


def _fitting(parameter: Parameter, spec: ParameterSpec) -> Parameter:
    """Return a parameter with whole numbers as floats, where its specification has floats.

    A list without entries gets the specification's type, too.
    """
    value = _plain(parameter.value)
    if isinstance(spec.default, float) and type(value) is int:
        return Parameter(parameter.name, value=float(value))
    if isinstance(spec.default, list):
        is_of_floats = isinstance(spec.default[0], float)
        if is_of_floats and isinstance(value, str):  # as `ros2 param set` sends [1, 0.5]
            with suppress(CamsegError):
                value = parse_yaml(value, parameter.name)
        if value == []:
            kinds = Parameter.Type.DOUBLE_ARRAY, Parameter.Type.STRING_ARRAY
            return Parameter(parameter.name, kinds[not is_of_floats], [])
        if is_of_floats and isinstance(value, list) and {*map(type, value)} <= {int, float}:
            return Parameter(parameter.name, value=[*map(float, value)])
    return parameter


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (array, tuple)) else value


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
