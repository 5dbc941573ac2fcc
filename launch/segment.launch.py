# SPDX-License-Identifier: Apache-2.0
"""Starts the lifecycle node `segment_node`, which configures and activates itself.

    ros2 launch camseg_ros segment.launch.py weights:=/path/model.safetensors profile:=fast

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
# Override the params file when they are given: type of the parameter, description.
OVERRIDES: dict[str, tuple[type, str]] = {
    "weights": (str, "demo, a .safetensors file, a folder with weights, or random:PRESET."),
    "device": (str, "Where to compute: cpu, cuda or cuda:N."),
    "profile": (str, "The weights' own settings: accurate, balanced or fast."),
    "steps": (int, "Diffusion steps per frame; 0 is as in the profile."),
    "sampler": (str, "How to sample: ddpm, ddim or dpm-solver++."),
    "image_topic": (str, "Input topic."),
    "camera": (str, "Name of the camera; outputs are under ~/<camera>/."),
    "use_sim_time": (bool, "true takes the time from /clock."),
    "autostart": (bool, "false leaves configure and activate to a lifecycle manager."),
}


def start_node(context: LaunchContext) -> list[LifecycleNode]:
    given = context.launch_configurations
    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=value_type)
        for name, (value_type, _) in OVERRIDES.items()
        if given[name]
    }
    node = LifecycleNode(
        package=PACKAGE,
        executable=EXECUTABLE,
        name=EXECUTABLE,
        namespace=given["namespace"],
        # Of a params file named in `parameters` that is missing, launch only warns.
        ros_arguments=["--params-file", given["params_file"], "--log-level", given["log_level"]],
        parameters=[overrides],
        output="screen",
    )
    return [node]


def generate_launch_description() -> LaunchDescription:
    params_file = PathJoinSubstitution([FindPackageShare(PACKAGE), "config", "segment.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file", default_value=params_file, description="Parameters of the node."
            ),
            *(
                DeclareLaunchArgument(
                    name, default_value="", description=f"{description} Empty: as in params_file."
                )
                for name, (_, description) in OVERRIDES.items()
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the node."
            ),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="debug, info, warn, error or fatal."
            ),
            OpaqueFunction(function=start_node),
        ]
    )
