# SPDX-License-Identifier: Apache-2.0
"""Live replay: a bag over DDS, in time, through the real node in its own process, scored.

The player and the evaluator are in this process. Latency is the time from publishing a frame here
to the arrival of its mask here, on the steady clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from camseg_core.evaluation.metrics.registry import measure
from camseg_core.system.devices import describe_machine
from camseg_core.system.progress import progress_bar
from camseg_ros.bag.about import AboutDrive, check_classes, read_abouts
from camseg_ros.bag.camera_topics import CameraTopics, cameras_of, loss_line
from camseg_ros.bag.dataset import read_images
from camseg_ros.bag.ground_truth import read_stored_truth
from camseg_ros.bag.params import node_parameters
from camseg_ros.bag.reader import Bag, open_bag
from camseg_ros.messages.images import array_from_image_message
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.node_client import (
    DISCOVERY_LIMIT_S,
    NodeClient,
    NodeParameters,
    node_process,
    ros_context,
)
from camseg_ros.remote.traffic import budget_shortfall, frame_counts, node_percentiles_ms
from camseg_ros.replay.live.bag_player import BagPlayer, PlaySettings
from camseg_ros.replay.live.evaluator import OUTPUTS_HEARD, Evaluator
from camseg_ros.replay.results.accuracy import class_iou
from camseg_ros.replay.results.drives import DriveResult
from camseg_ros.replay.results.folder import BAGS_FOLDER, check_folder, prepare_folder
from camseg_ros.replay.results.gates import Gate, check_class_gates
from camseg_ros.replay.results.kept_frames import spread, strip, write_picture
from camseg_ros.replay.results.live_result import LiveCamera, LiveResult
from camseg_ros.replay.results.page import ReplayFacts

RANDOM = "random:"


@dataclass(frozen=True)
class LivePlan:
    """How a bag is replayed.

    Attributes:
        parameters: parameters of the node, without cameras and their topics.
        play: how the bag is played.
        image_topics, truth_topics: topics as `find_cameras` takes them.
        gates: gates that will be checked; their classes must be the node's.
    """

    parameters: NodeParameters
    play: PlaySettings = field(default_factory=PlaySettings)
    image_topics: tuple[str, ...] = ()
    truth_topics: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()


def replay_live_bag(path: Path, plan: LivePlan, out: Path) -> tuple[ReplayFacts, LiveResult]:
    """Play a bag through a node that is started for it; return what `conclude` needs.

    ``out`` is emptied of an earlier replay once nothing can be refused any more. Masks and
    confidence that came are written into a bag below ``out``, and so are pictures of some frames
    and the bag's result file.

    Raises:
        CamsegError: the bag cannot be read, its ground truth or a gate is of other classes than the
            node knows, or the node did not start or did not end.
    """
    check_folder(out)
    with ExitStack() as stack:
        bag = stack.enter_context(open_bag(path))
        cameras = cameras_of(bag, plan.image_topics, plan.truth_topics)
        abouts = read_abouts(bag, cameras)
        # From the bag: it needs no time on the wire, and none of it is lost.
        truth = {camera.name: read_stored_truth(bag, camera, stack) for camera in cameras}
        parameters = {**node_parameters(bag, cameras), **plan.parameters}
        context = stack.enter_context(ros_context())
        names = [camera.name for camera in cameras]
        client = stack.enter_context(closing(NodeClient(context, "camseg_replay", names)))
        player = BagPlayer(client.node, [replace(camera, truth=None) for camera in cameras])
        evaluator = Evaluator(client.node, truth, player.traffic)
        process = stack.enter_context(node_process(parameters))
        client.start()
        client.wait_until_active(process, player.is_heard)
        client.wait(lambda: evaluator.label_set is not None, DISCOVERY_LIMIT_S, "the node's labels")
        label_set = evaluator.label_set
        assert label_set is not None
        for about in abouts:
            check_classes(about, label_set, path)
        check_class_gates(plan.gates, label_set)
        prepare_folder(out)  # only now, as an earlier replay's results go
        client.wait_until_matched(OUTPUTS_HEARD)
        with evaluator.recording(out / BAGS_FOLDER / bag.name):
            count = sum(bag.topics[camera.image].count for camera in cameras)
            with progress_bar(count * plan.play.loops or None, "frame", "play") as bar:
                player.play_bag(bag, plan.play, bar.update)
            client.wait_for_last_masks(player.traffic)
            exit_status = client.end_node(process)
        for camera in cameras:
            evaluator.scores[camera.name].counts.images = bag.topics[camera.image].count
        loss = loss_line(bag, cameras, plan.image_topics)
        pictures = _take_snapshots(bag, cameras[0], out, evaluator)
    given = dict(plan.parameters)
    weights = str(given.pop("weights"))
    facts, live = live_results(
        out, bag.name, client, evaluator, abouts[0],
        weights=weights if weights.startswith(RANDOM) else Path(weights).name,
        sampling=", ".join(f"{name} {value}" for name, value in sorted(given.items())),
        rate=plan.play.speed, loss=loss, pictures=pictures,
    )  # fmt: skip
    if exit_status != 0:
        live.problems.append(f"the node exited with status {exit_status}")
    return facts, live


def live_results(
    out: Path,
    name: str,
    client: NodeClient,
    evaluator: Evaluator,
    about: AboutDrive,
    *,
    weights: str,
    sampling: str,
    rate: float | None = None,
    loss: str = "",
    pictures: Sequence[str] = (),
) -> tuple[ReplayFacts, LiveResult]:
    """Write the result of a bag that was heard; return what `conclude` needs.

    Args:
        out: folder of the replay.
        name: name of the bag.
        client: the client, with the node's last diagnostics.
        evaluator: the evaluator, after its last message.
        about: what the bag says about itself.
        weights: the weights, in words.
        sampling: parameters of the node, in words.
        rate: speed of playing; None where others play.
        loss: what of the bag is damaged.
        pictures: file names of the pictures of some frames.
    """
    cameras, problems = {}, []
    for camera, scores in evaluator.scores.items():
        traffic, counts = evaluator.traffic[camera], frame_counts(client.camera_values[camera])
        measured = scores.measured()
        cameras[camera] = LiveCamera(
            played=traffic.played,
            counts={key: counts.get(key, 0) for key in ("in", "out", "dropped", "refused")},
            masks=len(traffic.masks),
            frames=len(scores.frames),
            latency_ms=traffic.latency_ms(),
            accuracy={
                **measure(measured),
                "frames": scores.counts.with_truth,
                "class_iou": class_iou(measured, scores.label_set),
            },
        )
        problems += [f"{camera}: {text}" for text in traffic.problems(counts)]
    DriveResult(
        name, about.dataset, about.split, about.part, about.condition, about.sequence,
        run="", loss=loss, pictures=list(pictures),
        counts={camera: scores.counts for camera, scores in evaluator.scores.items()},
        frames=[
            frame
            for scores in evaluator.scores.values()
            for frame in sorted(scores.frames, key=lambda frame: frame.stamp_ns)
        ],
    ).write(out)  # fmt: skip
    live = LiveResult(
        cameras=cameras,
        node_ms=node_percentiles_ms(client.node_values),
        steps=int(client.node_values.get("steps", 0)),
        rate=rate,
        machine=describe_machine(),
        problems=problems,
        shortfall=budget_shortfall(client.node_values),
    )
    assert evaluator.label_set is not None
    facts = ReplayFacts(
        mode="live",
        weights=weights,
        weights_sha256=evaluator.weights_sha256 or None,
        is_random=not evaluator.weights_sha256,
        label_set=evaluator.label_set,
        sampling=sampling,
        steps=live.steps,
    )
    return facts, live


def _take_snapshots(bag: Bag, camera: CameraTopics, out: Path, evaluator: Evaluator) -> list[str]:
    """Write pictures of some of a camera's frames, from the bag and what was recorded."""
    stamps = sorted(frame.stamp_ns for frame in evaluator.scores[camera.name].frames)
    if not stamps or evaluator.label_set is None:
        return []
    wanted = {stamps[place]: index for index, place in enumerate(spread(len(stamps)))}
    with open_bag(out / BAGS_FOLDER / bag.name) as recorded:
        masks, confidence = (
            {
                message.log_ns: array_from_image_message(message.decode())
                for message in recorded.messages([f"/{NODE_NAME}/{camera.name}/{output}"])
                if message.log_ns in wanted
            }
            for output in OUTPUTS_HEARD
        )
    names = []
    for stamp, image in read_images(bag, camera):
        if stamp in masks and stamp in confidence:
            picture = strip(image, masks.pop(stamp), confidence[stamp], evaluator.label_set)
            names.append(write_picture(out, bag.name, wanted[stamp], picture))
    return sorted(names)
