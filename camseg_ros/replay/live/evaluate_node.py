# SPDX-License-Identifier: Apache-2.0
"""``ros2 run camseg_ros evaluate_node``: scores a node that somebody else plays a bag to.

    evaluate_node --ros-args -p cameras:=[camera_color_left] \\
        -p truth_topics:=[/kitti/camera_color_left/semantic_gt/image] -p out:=output/live

It ends on Ctrl-C, or ``idle_limit_s`` after the last mask, and writes the page then.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rclpy.context import Context
from rclpy.qos import ReliabilityPolicy

from camseg_core.errors import CamsegError
from camseg_ros.bag.camera_topics import KITTI_CAMERA, TRUTH
from camseg_ros.remote.node_client import NodeClient
from camseg_ros.remote.program import declared, run_program
from camseg_ros.replay.live.evaluator import Evaluator, output_bag
from camseg_ros.replay.live.live import counts_of, live_result
from camseg_ros.replay.results.conclude import conclude_live
from camseg_ros.replay.results.drive_result import DriveResult
from camseg_ros.replay.results.gates import check_class_gates, read_gates
from camseg_ros.replay.results.live_result import LiveReplay
from camseg_ros.replay.results.out_folder import check_folder, prepare_folder
from camseg_ros.replay.results.output_bag import BAGS_FOLDER

PROGRAM = "evaluate_node"
PERIOD_S = 0.05
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
"""``truth_topics``: one for each camera, empty for none; ``best_effort_truth`` where the player
offers no more. ``idle_limit_s`` 0: until Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; gives the exit status: 0, 1 if a gate fails or the node breaks a promise, 2."""
    return run_program(PROGRAM, _evaluate, arguments)


def _evaluate(context: Context, stop: threading.Event) -> int:
    client = NodeClient(context, PROGRAM, use_global_arguments=True)
    try:
        values = declared(client.node, DEFAULTS)
        cameras, truth = list(values["cameras"]), list(values["truth_topics"])
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
        client.camera_values = {name: {} for name in cameras}
        topics = dict(zip(cameras, (topic or None for topic in truth), strict=True))
        reliability = (
            ReliabilityPolicy.BEST_EFFORT
            if values["best_effort_truth"]
            else (ReliabilityPolicy.RELIABLE)
        )
        evaluator = Evaluator(client.node, topics, reliability)
        client.start()
        log = client.node.get_logger()
        log.info(f"waiting for the node; the report goes to {out}")
        while evaluator.label_set is None:
            if stop.wait(PERIOD_S):
                raise CamsegError("stopped before the node was heard: nothing was scored")
        check_class_gates(gates, evaluator.label_set)
        prepare_folder(out)  # only now, as an earlier replay's results go
        with output_bag(out / BAGS_FOLDER / values["name"], evaluator) as masks:
            evaluator.record(masks)
            log.info(f"listening to {', '.join(cameras)}")
            _listen(evaluator, float(values["idle_limit_s"]), stop)
            about = evaluator.check_truth()
            client.close()  # nothing is written into a bag that is closed
        evaluator.finish()
    finally:
        client.close()
    found = LiveReplay(
        drive=DriveResult(
            name=values["name"],
            dataset=about.dataset,
            split=about.split,
            part=about.part,
            condition=about.condition,
            sequence=about.sequence,
            run="",
            loss="",
            counts=counts_of(evaluator),
            frames=[frame for scores in evaluator.scores.values() for frame in scores.frames],
        ),
        live=live_result(client, evaluator),
        label_set=evaluator.label_set,
        weights_sha256=evaluator.weights_sha256,
    )
    found.drive.write(out)
    return conclude_live(out, found, "as the node was started", "as the node was started", gates)


def _listen(evaluator: Evaluator, idle_limit_s: float, stop: threading.Event) -> None:
    """Wait until Ctrl-C, or until no mask has come for a while.

    Raises:
        CamsegError: the truth is of other classes than the node's.
    """
    while not stop.wait(PERIOD_S):
        evaluator.check_truth()
        idle_s = (time.monotonic_ns() - evaluator.last_ns) / 1e9
        if idle_limit_s > 0 and evaluator.last_ns and idle_s > idle_limit_s:
            return


if __name__ == "__main__":
    sys.exit(main())
