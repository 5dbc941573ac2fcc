# SPDX-License-Identifier: Apache-2.0
"""Starts the lifecycle node `segment_node`, which configures and activates itself.

    ros2 launch camseg_ros segment.launch.py
    ros2 launch camseg_ros segment.launch.py cameras:=left,right image_topics:=/l/image,/r/image

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

PACKAGE = "camseg_ros"
EXECUTABLE = "segment_node"
RESPAWN_DELAY_S = 1.0
# A lifecycle shutdown, and bad arguments, which another start would not mend.
ENDS_FOR_GOOD = (0, 2)
# Override the params file when they are given: type of the parameter, description.
OVERRIDES: dict[str, tuple[type, str]] = {
    "weights": (str, "demo, a .safetensors file, a folder with weights, or random:PRESET."),
    "device": (str, "Where to compute: cpu, cuda or cuda:N."),
    "profile": (str, "The weights' own settings: accurate, balanced or fast."),
    "steps": (int, "Diffusion steps per frame; 0 is as in the profile."),
    "sampler": (str, "How to sample: ddpm, ddim or dpm-solver++."),
    "latency_budget_ms": (float, "Above 0 the node chooses the steps to keep this latency."),
    "use_sim_time": (bool, "true takes the time from /clock."),
    "autostart": (bool, "false leaves configure and activate to a lifecycle manager."),
}


def camera_parameters(cameras: str, image_topics: str) -> dict[str, object]:
    """Read both comma-separated lists; a list that is empty says nothing."""
    names, topics = (
        [part.strip() for part in text.split(",") if part.strip()]
        for text in (cameras, image_topics)
    )
    owners = names or ["camera"]
    if topics and len(topics) != len(owners):
        raise ValueError(
            f"image_topics has {len(topics)} entries for the cameras {', '.join(owners)}; "
            "one each is needed"
        )
    return {
        **({"cameras": names} if names else {}),
        **{f"{name}.image_topic": topic for name, topic in zip(owners, topics, strict=False)},
    }


def start_node(context: LaunchContext) -> list[object]:
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
        parameters=[{**camera_parameters(given["cameras"], given["image_topics"]), **overrides}],
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
    own_arguments = {
        "params_file": (params_file, "Parameters of the node."),
        "cameras": (
            "",
            "Names of the cameras, separated by commas; outputs are under ~/<camera>/. "
            "Empty: as in params_file.",
        ),
        "image_topics": (
            "",
            "Input topic of each camera, separated by commas. Empty: as in params_file.",
        ),
        "namespace": ("", "Namespace of the node."),
        "respawn": (
            "true",
            "Start the node again when it ends, but for a shutdown or bad arguments.",
        ),
        "log_level": ("info", "debug, info, warn, error or fatal."),
    }
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in own_arguments.items()
            ),
            *(
                DeclareLaunchArgument(
                    name, default_value="", description=f"{description} Empty: as in params_file."
                )
                for name, (_, description) in OVERRIDES.items()
            ),
            OpaqueFunction(function=start_node),
        ]
    )
