# SPDX-License-Identifier: Apache-2.0
"""``ros2 run camseg_ros play_node``: play a bag's cameras with ``/clock``.

    play_node --ros-args -p bag:=bags/0002 -p speed:=0.5

It stands in where there is no ``ros2 bag play``, and waits for a listener before it begins. The
service ``~/pause`` (std_srvs/SetBool) stops time and lets it go on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rclpy.context import Context
from rclpy.duration import Duration
from std_srvs.srv import SetBool

from camseg_core.errors import CamsegError
from camseg_ros.bag.camera_topics import cameras_of, loss_line
from camseg_ros.bag.reader import open_bag
from camseg_ros.remote.node_client import NodeClient
from camseg_ros.remote.program import declared, default_help, run_program
from camseg_ros.replay.live.bag_player import BagPlayer, PlaySettings

PROGRAM = "play_node"
PERIOD_S = 0.05

DEFAULTS = {
    "bag": "",
    "speed": 1.0,
    "loops": 1,
    "start_offset_s": 0.0,
    "start_paused": False,
    "wait_for_truth": False,
    "image_topics": [""],
}
"""The program's parameters. With ``loops`` 0 it plays until Ctrl-C; with ``wait_for_truth`` it
begins when somebody listens to the ground truth, too; without ``image_topics`` it plays all cameras
that are found."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 0, or 2 for a bag that is not readable or damaged."""
    about = "Play the cameras of a bag, with /clock. docs/bags.md"
    return run_program(PROGRAM, _play, arguments, about=about, parameters=default_help(DEFAULTS))


def _play(context: Context, stop: threading.Event) -> int:
    with closing(NodeClient(context, PROGRAM)) as client:
        values = declared(client.node, DEFAULTS)
        if not values["bag"]:
            raise CamsegError("no bag; -p bag:=FOLDER is needed")
        settings = PlaySettings(values["speed"], values["loops"], values["start_offset_s"])
        topics = [topic for topic in values["image_topics"] if topic]
        log = client.node.get_logger()
        with open_bag(Path(values["bag"])) as bag:
            cameras = cameras_of(bag, topics)
            player = BagPlayer(client.node, cameras)
            if values["start_paused"]:
                player.running.clear()

            def on_pause(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
                (player.running.clear if request.data else player.running.set)()
                response.success, response.message = True, "paused" if request.data else "playing"
                return response

            client.node.create_service(SetBool, "~/pause", on_pause)
            client.start()
            watcher = threading.Thread(target=lambda: (stop.wait(), player.stop()), daemon=True)
            watcher.start()
            log.info(f"waiting for a listener of {bag.path}")
            while not player.is_heard(player.truth_topics if values["wait_for_truth"] else ()):
                if stop.wait(PERIOD_S):
                    return 0
            log.info(f"playing {bag.path}")
            player.play_bag(bag, settings)
            player.wait_until_sent(Duration(seconds=5.0))
            if bag.loss is not None:
                raise CamsegError(f"{bag.path} is {loss_line(bag, cameras, topics)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
