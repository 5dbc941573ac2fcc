# SPDX-License-Identifier: Apache-2.0
"""Play a bag to `segment_node` and score what comes out: player, node and evaluator.

    ros2 launch camseg_ros replay.launch.py bag:=bags/0002 out:=output/live

Without launch: `camseg replay bags/0002 --mode live`.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import FindPackageShare

from camseg_ros.bag.camera_topics import cameras_of
from camseg_ros.bag.reader import open_bag
from camseg_ros.node.parameters import PARAMETERS
from camseg_ros.replay.live.live import bag_parameters

PACKAGE = "camseg_ros"
OF_THE_NODE = [spec for spec in PARAMETERS if spec.name in ("weights", "device", "profile")]
ARGUMENTS = {
    "bag": (None, "Folder or file of the bag."),
    "out": ("output/live", "Folder of the report."),
    **{
        spec.name: (spec.default, f"{spec.description} {spec.rule}".strip()) for spec in OF_THE_NODE
    },
    "rate": ("1.0", "Speed of playing; 2 is twice as fast as recorded."),
    "loops": ("1", "How often to play the bag; 0: until Ctrl-C."),
    "start_offset_s": ("0.0", "Seconds of the bag to leave out at its beginning."),
    "start_paused": ("false", "Wait for a call of /play_node/pause with data: false."),
    "gates": ("", "YAML file of thresholds for the evaluator's exit status."),
    "idle_limit_s": ("10.0", "Seconds after the last mask at which the evaluator ends."),
}


def program(name: str, **parameters: object) -> Node:
    return Node(
        package=PACKAGE, executable=name, name=name, parameters=[parameters], output="screen"
    )


def start(context: LaunchContext) -> list[object]:
    given = context.launch_configurations
    with open_bag(Path(given["bag"])) as bag:
        cameras = cameras_of(bag)
        of_bag = bag_parameters(bag, cameras)
    node = LifecycleNode(
        package=PACKAGE,
        executable="segment_node",
        name="segment_node",
        namespace="",
        ros_arguments=["--params-file", given["params_file"]],
        parameters=[{**of_bag, **{spec.name: given[spec.name] for spec in OF_THE_NODE}}],
        output="screen",
    )
    player = program(
        "play_node",
        bag=given["bag"],
        rate=float(given["rate"]),
        loops=int(given["loops"]),
        start_offset_s=float(given["start_offset_s"]),
        start_paused=given["start_paused"].lower() in ("true", "1"),
        wait_for_truth=True,
    )
    evaluator = program(
        "evaluate_node",
        cameras=[camera.name for camera in cameras],
        truth_topics=[camera.truth or "" for camera in cameras],
        out=given["out"],
        gates=given["gates"],
        idle_limit_s=float(given["idle_limit_s"]),
    )
    over = OnProcessExit(
        target_action=evaluator, on_exit=[Shutdown(reason="the evaluator has its report")]
    )
    return [RegisterEventHandler(over), node, evaluator, player]


def generate_launch_description() -> LaunchDescription:
    params_file = PathJoinSubstitution([FindPackageShare(PACKAGE), "config", "segment.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file", default_value=params_file, description="Parameters of the node."
            ),
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=start),
        ]
    )
