# SPDX-License-Identifier: Apache-2.0
"""Play a bag to `segment_node` and score what comes out: player, node and evaluator.

    ros2 launch camseg_ros replay.launch.py bag:=bags/0002 out:=output/live

Without launch: `camseg replay bags/0002 --mode live`. What the bag holds is asked of the installed
`camseg`, as ROS' own Python need not have the libraries that read it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from camseg_ros.node.parameters import NODE_NAME, PARAMETERS

PACKAGE = "camseg_ros"
REPORT_LIMIT_S = "120"
PATIENCE_S = 5.0
OF_THE_NODE = [spec for spec in PARAMETERS if spec.name in ("weights", "device", "profile")]
ARGUMENTS = {
    "bag": (None, "Folder or file of the bag."),
    "out": ("output/live", "Folder of the report."),
    **{spec.name: ("", f"{spec.help} Not given: as in params_file.") for spec in OF_THE_NODE},
    "speed": ("1.0", "Speed of playing; 2 is twice as fast as recorded."),
    "loops": ("1", "How often to play the bag; 0: until Ctrl-C."),
    "start_offset_s": ("0.0", "Seconds of the bag to leave out at its beginning."),
    "start_paused": ("false", "Wait for a call of /play_node/pause with data: false."),
    "gates": ("", "YAML file of thresholds for the exit status."),
    "idle_limit_s": ("10.0", "Seconds after the last mask at which the evaluator ends."),
}


def program(name: str, **parameters: object) -> Node:
    return Node(
        package=PACKAGE,
        executable=name,
        name=name,
        parameters=[parameters],
        output="screen",
        sigterm_timeout=REPORT_LIMIT_S,  # the report is written after Ctrl-C, too
    )


def end_with(status: int, context: LaunchContext) -> None:
    """Make `ros2 launch` end with a program's exit status: launch itself knows 0 and 1 alone."""
    for task in asyncio.all_tasks(context.asyncio_loop):
        if getattr(task.get_coro(), "__qualname__", "") == "LaunchService.run_async":
            task.add_done_callback(lambda _: sys.exit(status))


def start(context: LaunchContext) -> list[object]:
    given = context.launch_configurations
    camseg = ExecutableInPackage("camseg", PACKAGE).perform(context)
    asked = subprocess.run(
        [camseg, "bag", "params", given["bag"]], stdout=subprocess.PIPE, check=False
    )
    if asked.returncode:
        end_with(asked.returncode, context)
        return [] if context.is_shutdown else [Shutdown(reason="the bag cannot be played")]
    of_bag = {
        name.strip("/"): content["ros__parameters"]
        for name, content in yaml.safe_load(asked.stdout).items()
    }
    node = LifecycleNode(
        package=PACKAGE,
        executable=NODE_NAME,
        name=NODE_NAME,
        namespace="",
        ros_arguments=["--params-file", given["params_file"]],
        parameters=[
            of_bag[NODE_NAME],
            {spec.name: given[spec.name] for spec in OF_THE_NODE if given[spec.name]},
        ],
        output="screen",
    )
    player = program(
        "play_node",
        **of_bag["play_node"],
        speed=float(given["speed"]),
        loops=int(given["loops"]),
        start_offset_s=float(given["start_offset_s"]),
        start_paused=given["start_paused"].lower() in ("true", "1"),
        wait_for_truth=True,
    )
    idle_limit_s = float(given["idle_limit_s"])
    evaluator = program(
        "evaluate_node",
        **of_bag["evaluate_node"],
        out=given["out"],
        gates=given["gates"],
        idle_limit_s=idle_limit_s,
    )

    def on_exit(event: ProcessExited, context: LaunchContext) -> list[object]:
        status = event.returncode
        if event.action is evaluator and status:
            end_with(status if status > 0 else 128 - status, context)
        if context.is_shutdown or (event.action is player and not idle_limit_s):
            return []
        over = [Shutdown(reason=f"{event.process_name} ended")]
        if event.action is player:
            # The evaluator ends by itself after the last mask, but there may have been none.
            return [TimerAction(period=idle_limit_s + PATIENCE_S, actions=over)]
        return over

    actions = [node, evaluator, player]
    handlers = [OnProcessExit(target_action=action, on_exit=on_exit) for action in actions]
    return [*map(RegisterEventHandler, handlers), *actions]


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
