# SPDX-License-Identifier: Apache-2.0
"""Live replay: a bag over DDS, in time, through the real node in its own process, scored.

The player and the evaluator are in this process. Latency is from publishing a frame here to the
arrival of its mask here, on the steady clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from camseg_core.system.devices import describe_machine
from camseg_core.system.progress import progress_bar
from camseg_ros.bag.about import AboutDrive, check_classes, read_abouts
from camseg_ros.bag.camera_topics import CameraTopics, cameras_of, loss_line
from camseg_ros.bag.reader import Bag, open_bag
from camseg_ros.messages.images import array_from_image_message, stamp_ns
from camseg_ros.node.diagnostics import MEASURED
from camseg_ros.node.health import PERCENTILES
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.node_client import DISCOVERY_LIMIT_S, NodeClient, frame_counts, ros_context
from camseg_ros.remote.node_process import NodeParameters, node_process
from camseg_ros.replay.bag_frames import BagFrames
from camseg_ros.replay.live.evaluator import Evaluator, output_bag
from camseg_ros.replay.live.node_setup import bag_parameters
from camseg_ros.replay.live.player import BagPlayer, PlaySettings
from camseg_ros.replay.results.drive_result import DriveResult
from camseg_ros.replay.results.gates import Gate, check_class_gates
from camseg_ros.replay.results.live_result import LiveCamera, LiveReplay, LiveResult
from camseg_ros.replay.results.out_folder import check_folder, prepare_folder
from camseg_ros.replay.results.output_bag import BAGS_FOLDER
from camseg_ros.replay.results.snapshots import SNAPSHOTS, Snapshots
from camseg_ros.replay.truth import read_stored_truth

OUTPUTS_HEARD = ("mask", "confidence")
ARRIVAL_LIMIT_S = 10.0


@dataclass(frozen=True)
class LivePlan:
    """How a bag is replayed.

    Attributes:
        parameters: of the node, without cameras and their topics.
        play: how the bag is played.
        image_topics, truth_topics: see `find_cameras`.
        gates: that will be checked; their classes must be the node's.
    """

    parameters: NodeParameters
    play: PlaySettings = field(default_factory=PlaySettings)
    image_topics: tuple[str, ...] = ()
    truth_topics: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()


def replay_live_bag(path: Path, plan: LivePlan, out: Path) -> LiveReplay:
    """Play a bag through a node that is started for it.

    ``out`` is emptied of an earlier replay once nothing can be refused any more. Masks and
    confidence that came are written into a bag below ``out``, pictures of some frames,
    and the drive's result file.

    Raises:
        CamsegError: the bag cannot be read, its truth or a gate is of other classes than the node
            knows, or the node did not start or did not end.
    """
    check_folder(out)
    with ExitStack() as stack:
        bag = stack.enter_context(open_bag(path))
        cameras = cameras_of(bag, plan.image_topics, plan.truth_topics)
        abouts = read_abouts(bag, cameras)
        about = abouts[0]
        # From the bag: it needs no time on the wire, and none of it is lost.
        truth = {camera.name: read_stored_truth(bag, camera, stack) for camera in cameras}
        parameters = {**bag_parameters(bag, cameras), **plan.parameters}
        context = stack.enter_context(ros_context())
        client = NodeClient(context, "camseg_replay", [camera.name for camera in cameras])
        stack.callback(client.close)
        player = BagPlayer(client.node, [replace(camera, truth=None) for camera in cameras])
        evaluator = Evaluator(client.node, truth)
        evaluator.sent_by(player)
        process = stack.enter_context(node_process(parameters))
        client.start()
        client.wait_until_active(process, player.is_heard)
        client.poll(lambda: evaluator.label_set is not None, DISCOVERY_LIMIT_S, "the node's labels")
        label_set = evaluator.label_set
        assert label_set is not None
        for one in abouts:
            check_classes(one, label_set, path)
        check_class_gates(plan.gates, label_set)
        prepare_folder(out)  # only now, as an earlier replay's results go
        client.wait_until_matched(OUTPUTS_HEARD)
        with output_bag(out / BAGS_FOLDER / bag.name, evaluator) as masks:
            evaluator.record(masks)
            count = sum(bag.topics[camera.image].count for camera in cameras)
            with progress_bar(count * plan.play.loops or None, "frame", "play") as bar:
                player.play(bag, plan.play, bar.update)
            _drain(client, evaluator)
            exit_status = client.end_node(process)
        evaluator.finish()
    live = live_result(client, evaluator, player, plan.play.rate)
    if exit_status != 0:
        live.problems.append(f"the node exited with status {exit_status}")
    loss = loss_line(bag, cameras, plan.image_topics)
    drive = _drive_result(bag, about, evaluator, out, path, cameras, loss)
    drive.write(out)
    return LiveReplay(drive, live, label_set, evaluator.weights_sha256)


def _drain(client: NodeClient, evaluator: Evaluator) -> None:
    """Wait until the node has nothing left to do, and a little for its last outputs."""
    # Two diagnostics: the first may have left the node before the last frame reached it.
    client.wait_until_idle()
    client.wait_until_idle()

    def everything_came() -> bool:
        return all(
            frame_counts(values).get("out", 0) <= evaluator.scores[name].masks
            for name, values in client.camera_values.items()
        )

    client.poll(everything_came, ARRIVAL_LIMIT_S, None)


def live_result(
    client: NodeClient,
    evaluator: Evaluator,
    player: BagPlayer | None = None,
    rate: float | None = None,
) -> LiveResult:
    """Put together what was measured.

    Args:
        client: with the node's last diagnostics.
        evaluator: after its last message.
        player: of this process; None where others play.
        rate: of playing; None where others play.
    """
    cameras, problems = {}, []
    for name, scores in evaluator.scores.items():
        counts = frame_counts(client.camera_values[name])
        sent = player.sent_ns[name] if player is not None else {}
        latencies_ms = [latency_ns / 1e6 for latency_ns in evaluator.latency_ns[name].values()]
        cameras[name] = LiveCamera(
            played=player.played[name] if player is not None else 0,
            counts={key: counts.get(key, 0) for key in ("in", "out", "dropped", "refused")},
            masks=scores.masks,
            frames=len(scores.frames),
            latency_ms={
                f"p{percent}": float(np.percentile(latencies_ms, percent))
                for percent in PERCENTILES
                if latencies_ms
            },
            accuracy=scores.accuracy(),
        )
        problems += [f"{name}: {text}" for text in _broken_promises(cameras[name], counts)]
        if sent and not evaluator.stamps[name] <= sent.keys():
            problems.append(f"{name}: a mask carries a stamp that no frame had")
    values = client.node_values
    return LiveResult(
        cameras=cameras,
        node_ms=node_percentiles_ms(values),
        steps=int(values.get("steps", 0)),
        rate=rate,
        machine=describe_machine(),
        problems=problems,
    )


def node_percentiles_ms(values: dict[str, str]) -> dict[str, dict[str, float]]:
    """Read the percentiles of latency, age and stages from the node's diagnostics."""
    found: dict[str, dict[str, float]] = {}
    for name in ("latency", "age", *MEASURED):
        for percent in PERCENTILES:
            text = values.get(f"{name}_p{percent}_ms")
            if text:
                found.setdefault(name, {})[f"p{percent}"] = float(text)
    return found


def _broken_promises(camera: LiveCamera, counts: dict[str, int]) -> list[str]:
    if not counts:
        return ["the node sent no diagnostics"]
    problems = []
    if camera.played and counts["in"] != counts["out"] + counts["dropped"] + counts["refused"]:
        problems.append(f"in is not out + dropped + refused: {camera.counts}")
    if counts["out"] < camera.masks:
        problems.append(f"the node counts {counts['out']} out, {camera.masks} masks arrived")
    if camera.masks == 0:
        problems.append("no mask came back")
    return problems


def _drive_result(
    bag: Bag,
    about: AboutDrive,
    evaluator: Evaluator,
    out: Path,
    path: Path,
    cameras: Sequence[CameraTopics],
    loss: str,
) -> DriveResult:
    frames = [
        frame
        for scores in evaluator.scores.values()
        for frame in sorted(scores.frames, key=lambda frame: frame.stamp_ns)
    ]
    for name, scores in evaluator.scores.items():
        scores.counts.images = bag.topics[_image_topic(cameras, name)].count
    return DriveResult(
        name=bag.name,
        dataset=about.dataset,
        split=about.split,
        part=about.part,
        condition=about.condition,
        sequence=about.sequence,
        run="",
        loss=loss,
        counts=counts_of(evaluator),
        frames=frames,
        pictures=_take_snapshots(path, bag.name, cameras, out, evaluator),
    )


def counts_of(evaluator: Evaluator) -> dict[str, dict[str, Any]]:
    """Return each camera's counts as plain data."""
    return {name: asdict(scores.counts) for name, scores in evaluator.scores.items()}


def _image_topic(cameras: Sequence[CameraTopics], name: str) -> str:
    return next(camera.image for camera in cameras if camera.name == name)


def _take_snapshots(
    path: Path, name: str, cameras: Sequence[CameraTopics], out: Path, evaluator: Evaluator
) -> list[str]:
    """Draw some of the first camera's frames, from the bag and what was recorded of the node."""
    camera = cameras[0]
    stamps = sorted(frame.stamp_ns for frame in evaluator.scores[camera.name].frames)
    if not stamps or evaluator.label_set is None:
        return []
    places = np.linspace(0, len(stamps) - 1, min(SNAPSHOTS, len(stamps)))
    wanted = {stamps[round(place)]: index for index, place in enumerate(places)}
    with open_bag(out / BAGS_FOLDER / name) as recorded:
        pictures: dict[str, dict[int, np.ndarray]] = {output: {} for output in OUTPUTS_HEARD}
        for output in OUTPUTS_HEARD:
            for message in recorded.messages([f"/{NODE_NAME}/{camera.name}/{output}"]):
                decoded = message.decode()
                if stamp_ns(decoded.header) in wanted:
                    pictures[output][stamp_ns(decoded.header)] = array_from_image_message(decoded)
    snapshots = Snapshots(out, name, len(wanted), evaluator.label_set)
    with open_bag(path) as bag:
        for frame in BagFrames(bag, [replace(camera, truth=None)]):
            mask = pictures["mask"].get(frame.stamp_ns)
            confidence = pictures["confidence"].get(frame.stamp_ns)
            if mask is not None and confidence is not None:
                snapshots.offer(wanted[frame.stamp_ns], frame.image, mask, confidence)
    return sorted(snapshots.names)
