# SPDX-License-Identifier: Apache-2.0
"""Starts the lifecycle node `segment_node`, which configures and activates itself.

    ros2 launch camseg_ros segment.launch.py
    ros2 launch camseg_ros segment.launch.py cameras:=left,right image_topics:=/l/image,/r/image
    ros2 launch camseg_ros segment.launch.py image_topics:=/image_rect mountings:=1.5,0,1.2,0,0.05,0

Without launch: `segment_node --ros-args --params-file config/segment.yaml`.
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, RegisterEventHandler, TimerAction
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from camseg_ros.node.parameters import (
    CAMERA_ARGUMENTS,
    LAUNCH_ARGUMENTS,
    NODE_NAME,
    camera_overrides,
)

PACKAGE = "camseg_ros"
OTHERWISE = "Not given: as in params_file."
RESPAWN_DELAY_S = 1.0
# A lifecycle shutdown, and bad arguments, which another start would not mend.
ENDS_FOR_GOOD = (0, 2)


def start_node(context: LaunchContext) -> list[object]:
    given = context.launch_configurations
    overrides = {
        spec.name: ParameterValue(LaunchConfiguration(spec.name), value_type=type(spec.default))
        for spec in LAUNCH_ARGUMENTS
        if given[spec.name]
    }
    node = LifecycleNode(
        package=PACKAGE,
        executable=NODE_NAME,
        name=NODE_NAME,
        namespace=given["namespace"],
        # Of a params file named in `parameters` that is missing, launch only warns.
        ros_arguments=["--params-file", given["params_file"], "--log-level", given["log_level"]],
        parameters=[{**camera_overrides(given["cameras"], given), **overrides}],
        output="screen",
    )

    def start_again(event: ProcessExited, context: LaunchContext) -> list[object]:
        if context.is_shutdown or event.returncode in ENDS_FOR_GOOD:
            return []
        return [TimerAction(period=RESPAWN_DELAY_S, actions=[OpaqueFunction(function=start_node)])]

    if given["respawn"].lower() not in ("true", "1"):
        return [node]
    # launch's own respawn would also start a node again that was told to end.
    return [RegisterEventHandler(OnProcessExit(target_action=node, on_exit=start_again)), node]


def generate_launch_description() -> LaunchDescription:
    params_file = PathJoinSubstitution([FindPackageShare(PACKAGE), "config", "segment.yaml"])
    arguments = {
        "params_file": (params_file, "Parameters of the node."),
        "cameras": ("", f"Names of the cameras, separated by commas. {OTHERWISE}"),
        **{
            name: ("", f"{parameter} of each camera, separated by {separator}. {OTHERWISE}")
            for name, parameter in CAMERA_ARGUMENTS.items()
            for separator in ["semicolons" if name == "mountings" else "commas"]
        },
        "namespace": ("", "Namespace of the node."),
        "respawn": ("true", "Start the node again, unless it was shut down or had bad arguments."),
        "log_level": ("info", "Log level: debug, info, warn, error or fatal."),
        **{spec.name: ("", f"{spec.help} {OTHERWISE}") for spec in LAUNCH_ARGUMENTS},
    }
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in arguments.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start_node)])
