# SPDX-License-Identifier: Apache-2.0
"""Starts the lifecycle node `segment_node`, which configures and activates itself.

    ros2 launch camseg_ros segment.launch.py weights:=model.safetensors device:=cuda

Without launch: `segment_node --ros-args --params-file config/segment.yaml`.
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PACKAGE = "camseg_ros"
EXECUTABLE = "segment_node"
# Arguments that override the params file when they are given: type and description.
PARAMETER_ARGUMENTS: dict[str, tuple[type, str]] = {
    "weights": (str, "A .safetensors file, a folder with weights, or random:PRESET."),
    "device": (str, "Where to compute: cpu, cuda or cuda:N."),
    "steps": (int, "Diffusion steps per frame."),
    "sampler": (str, "How to sample: ddpm, ddim or dpm-solver++."),
    "image_topic": (str, "Input topic."),
    "camera": (str, "Name of the camera; outputs are under ~/<camera>/."),
    "use_sim_time": (bool, "true takes the time from /clock."),
    "autostart": (bool, "false waits for a lifecycle manager."),
}


def start_node(context: LaunchContext) -> list[LifecycleNode]:
    given = context.launch_configurations
    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=value_type)
        for name, (value_type, _) in PARAMETER_ARGUMENTS.items()
        if given[name]
    }
    # Not in `parameters`: there launch only warns of a missing file and starts without it.
    ros_arguments = ["--params-file", given["params_file"], "--log-level", given["log_level"]]
    return [
        LifecycleNode(
            package=PACKAGE,
            executable=EXECUTABLE,
            name=EXECUTABLE,
            namespace=given["namespace"],
            parameters=[overrides],
            ros_arguments=ros_arguments,
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    default_file = PathJoinSubstitution([FindPackageShare(PACKAGE), "config", "segment.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file", default_value=default_file, description="Parameters of the node."
            ),
            *(
                DeclareLaunchArgument(
                    name,
                    default_value="",
                    description=f"{description} Empty: as in params_file.",
                )
                for name, (_, description) in PARAMETER_ARGUMENTS.items()
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Of the node."),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="debug, info, warn, error or fatal."
            ),
            OpaqueFunction(function=start_node),
        ]
    )
