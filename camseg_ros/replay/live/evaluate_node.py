# SPDX-License-Identifier: Apache-2.0
"""``ros2 run camseg_ros evaluate_node``: score a node that somebody else plays a bag to.

    evaluate_node --ros-args -p cameras:=[camera_color_left] \\
        -p truth_topics:=[/kitti/camera_color_left/semantic_gt/image] -p out:=output/live

It ends on Ctrl-C, or ``idle_limit_s`` after the last mask, and then writes the page.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rclpy.context import Context

from camseg_core.errors import CamsegError
from camseg_ros.bag.camera_topics import KITTI_CAMERA, TRUTH
from camseg_ros.programs import NOTHING_SCORED
from camseg_ros.remote.node_client import NodeClient
from camseg_ros.remote.program import declared, default_help, run_program
from camseg_ros.remote.traffic import frame_counts
from camseg_ros.replay.live.evaluator import OUTPUTS_HEARD, Evaluator
from camseg_ros.replay.live.live import live_results
from camseg_ros.replay.results.conclude import conclude
from camseg_ros.replay.results.folder import BAGS_FOLDER, check_folder, prepare_folder
from camseg_ros.replay.results.gates import check_class_gates, read_gates

PROGRAM = "evaluate_node"
PERIOD_S = 0.05
LAST_COUNTS_LIMIT_S = 2.0
CAMERA = KITTI_CAMERA.rpartition("/")[2]

DEFAULTS = {
    "cameras": [CAMERA],
    "truth_topics": [f"{KITTI_CAMERA}/{TRUTH}"],
    "out": "output/live",
    "name": "live",
    "gates": "",
    "best_effort_truth": False,
    "idle_limit_s": 10.0,
}
"""The program's parameters. ``truth_topics`` has one for each camera, empty for none;
``best_effort_truth`` is for players that offer no more; with ``idle_limit_s`` 0 it listens until
Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 0, 1 if a gate fails or the node breaks a promise, or 2."""
    about = "Score a segment_node that somebody plays a bag to. docs/bags.md"
    return run_program(
        PROGRAM, _evaluate, arguments, about=about, parameters=default_help(DEFAULTS)
    )


def _evaluate(context: Context, stop: threading.Event) -> int:
    with closing(NodeClient(context, PROGRAM)) as client:
        values = declared(client.node, DEFAULTS)
        cameras, truth = values["cameras"], values["truth_topics"]
        if not cameras or len(cameras) != len(truth):
            raise CamsegError(
                f"cameras has {len(cameras)} entries and truth_topics {len(truth)}; one truth "
                "topic for each camera is needed, '' for none"
            )
        if Path(values["name"]).name != values["name"] or values["name"] in ("", ".."):
            raise CamsegError(f"name is {values['name']!r}; a name of a folder is needed")
        gates = read_gates(Path(values["gates"])) if values["gates"] else []
        out = Path(values["out"])
        check_folder(out)
        client.camera_values = {camera: {} for camera in cameras}
        topics = {name: topic or None for name, topic in zip(cameras, truth, strict=True)}
        evaluator = Evaluator(client.node, topics, is_best_effort=values["best_effort_truth"])
        client.start()
        log = client.node.get_logger()
        log.info(f"waiting for the node; the report goes to {out}")
        while evaluator.label_set is None or not client.is_matched(OUTPUTS_HEARD):
            if stop.wait(PERIOD_S):
                raise CamsegError(NOTHING_SCORED)
        check_class_gates(gates, evaluator.label_set)
        prepare_folder(out)  # only now, as an earlier replay's results go
        with evaluator.recording(out / BAGS_FOLDER / values["name"]):
            evaluator.listen_to_truth()
            log.info(f"listening to {', '.join(cameras)}")
            limit_s, idle_s = values["idle_limit_s"], 0.0
            while not (stop.wait(PERIOD_S) or 0 < limit_s < idle_s):
                evaluator.check_truth()
                last_ns = max(traffic.last_ns for traffic in evaluator.traffic.values())
                idle_s = (time.monotonic_ns() - last_ns) / 1e9 if last_ns else 0.0
            about = evaluator.check_truth()
            # After Ctrl-C the node's last counts are still on their way.
            client.wait(lambda: _is_counted(client, evaluator), LAST_COUNTS_LIMIT_S)
            client.close()  # nothing is written into a bag that is closed
    how = dict.fromkeys(("weights", "sampling"), "as the node was started")
    facts, live = live_results(out, values["name"], client, evaluator, about, **how)
    return conclude(out, facts, gates, live)


def _is_counted(client: NodeClient, evaluator: Evaluator) -> bool:
    """Return whether the node has told of every mask that arrived."""
    return all(
        frame_counts(client.camera_values[name]).get("out", 0) >= len(traffic.masks)
        for name, traffic in evaluator.traffic.items()
    )


if __name__ == "__main__":
    sys.exit(main())
