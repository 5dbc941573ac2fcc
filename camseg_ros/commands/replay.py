# SPDX-License-Identifier: Apache-2.0
"""``camseg replay``: bags through the model or the real node, scored."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camseg_core.commands.options import (
    DEFAULT_PROFILE,
    MERGE_HELP,
    WEIGHTS_HELP,
    add_device_option,
    add_frames_option,
    add_published_options,
    add_sampling_options,
    add_threads_option,
    check_count,
    check_sampling_options,
    check_threads,
    list_of,
    profile_options,
    variant,
)
from camseg_core.data.class_merges import find_merge
from camseg_core.errors import CamsegError
from camseg_ros.commands import ros_needed
from camseg_ros.commands.benchmark import add_set_option, node_parameters

if TYPE_CHECKING:
    from camseg_ros.replay.results.gates import Gate

OFFLINE, LIVE = "offline", "live"
LIVE_OPTIONS = (
    ("--speed", float, "2 plays twice as fast as recorded; 1 if not given"),
    ("--loops", int, "how often, each stamp is scored once; 1 if not given"),
    ("--start-offset", float, "seconds to leave out; none if not given"),
)
NODE_OPTIONS = ("profile", "steps", "sampler", "samples", "precision", "seed")
"""Options of sampling that the node knows, too."""


def add_commands(commands: Any) -> None:
    """Add ``replay`` to the subparsers ``commands``."""
    replay = commands.add_parser(
        "replay",
        help="replay bags through the model or the node, and score what comes out",
        description="Offline: every frame, exactly; several processes share many bags: torchrun "
        "--nproc-per-node N -m camseg_core.cli replay ... Live: over DDS, in time, through the "
        "real node in its own process. Writes OUT/replay.html. Exit status 1 if a gate fails, 2 "
        "if a bag is damaged (what can be read of it is scored). See docs/bags.md.",
    )
    replay.set_defaults(command=_replay)
    replay.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="folder or file")
    replay.add_argument("--mode", choices=[OFFLINE, LIVE], default=OFFLINE)
    replay.add_argument("--weights", default="demo", help=WEIGHTS_HELP)
    replay.add_argument("--out", type=Path, default=Path("output/replay"), help="folder")
    data = replay.add_argument_group("which frames")
    topics: dict[str, Any] = {
        "type": list_of(str),
        "default": (),
        "metavar": "TOPIC[,TOPIC...]",
    }
    data.add_argument(
        "--image-topic", **topics, help="topics of the camera images; found by type if not given"
    )
    data.add_argument(
        "--truth-topic",
        **topics,
        help="ground truth of each image topic; semantic_gt/image beside the images if not given",
    )
    add_frames_option(data, "the first N of each bag; all without; only with --mode offline")
    data.add_argument(
        "--merge",
        help="score on the bags' own classes, into which predicted ones are merged: "
        f"{MERGE_HELP}; only with --mode offline",
    )
    how = replay.add_argument_group("how")
    how.add_argument(
        "--steps",
        type=int,
        default=argparse.SUPPRESS,
        help="diffusion steps; the profile's if not given",
    )
    add_sampling_options(how)
    add_device_option(how)
    add_threads_option(how)
    add_published_options(replay)
    live = replay.add_argument_group("only with --mode live")
    for name, kind, text in LIVE_OPTIONS:
        live.add_argument(name, type=kind, default=argparse.SUPPRESS, help=text)
    add_set_option(live)
    results = replay.add_argument_group("results")
    results.add_argument("--gates", type=Path, help="YAML file of thresholds; see docs/bags.md")
    results.add_argument(
        "--write-bag",
        action="store_true",
        help="offline: a bag of masks and confidence for each bag; live, there always is one",
    )


@ros_needed
def _replay(parsed: argparse.Namespace) -> int:
    from camseg_core.system.devices import find_device
    from camseg_ros.replay.results.folder import check_inputs
    from camseg_ros.replay.results.gates import read_gates

    check_inputs(parsed.out, parsed.bags)
    check_threads(parsed.threads)
    check_count("--frames", parsed.frames)
    find_device(parsed.device)
    check_sampling_options(parsed)  # what is wrong is said before weights are loaded
    gates = read_gates(parsed.gates) if parsed.gates else []
    for path in parsed.bags:
        if not path.exists():
            raise CamsegError(f"no such bag: {path}")
    if parsed.mode == LIVE:
        return _live(parsed, gates)
    for name, _kind, _text in LIVE_OPTIONS:
        if name[2:].replace("-", "_") in parsed:
            raise CamsegError(f"{name} is for --mode live; offline, every frame is taken")
    if parsed.set:
        raise CamsegError(
            f"--set {parsed.set[0]} is for --mode live: it sets a parameter of the node"
        )
    return _offline(parsed, gates)


def _offline(parsed: argparse.Namespace, gates: Sequence[Gate]) -> int:
    import torch

    from camseg_core.evaluation.evaluate import Shard
    from camseg_core.segmenter import Segmenter
    from camseg_core.system.processes import ProcessRank, agreed, process_group
    from camseg_core.weights.loading import load_model
    from camseg_ros.replay.offline import look_at_bags, replay_offline
    from camseg_ros.replay.results.conclude import conclude
    from camseg_ros.replay.results.folder import prepare_folder
    from camseg_ros.replay.results.gates import check_class_gates
    from camseg_ros.replay.results.page import ReplayFacts

    loaded = load_model(parsed.weights, num_heads=parsed.heads, variant=variant(parsed))
    options = profile_options(parsed, loaded.profiles)
    process = ProcessRank.from_environment()
    if loaded.is_random and process.is_first:
        print("camseg: the weights are RANDOM, the scores mean nothing", file=sys.stderr)
    torch.set_num_threads(parsed.threads)
    segmenter = Segmenter(loaded, process.device(parsed.device))
    merge = find_merge(parsed.merge) if parsed.merge else None
    bags = look_at_bags(
        parsed.bags,
        None if merge else loaded.label_set,
        image_topics=parsed.image_topic,
        truth_topics=parsed.truth_topic,
        most_frames=parsed.frames,
    )
    label_set = bags[0].label_set if merge else loaded.label_set
    check_class_gates(gates, label_set)
    if merge:
        merge.between(loaded.label_set, label_set)  # what does not fit is said before any work
    with process_group(process):
        if process.is_first:
            prepare_folder(parsed.out)
        agreed(True, process)  # nobody writes before the folder is ready
        shard = Shard(process.rank, process.world_size)
        replay_offline(
            segmenter, bags, options, parsed.out, shard, write_bags=parsed.write_bag, merge=merge
        )
    facts = ReplayFacts(
        mode=OFFLINE,
        weights=" + ".join(Path(part).name for part in loaded.source.split(" + ")),
        weights_sha256=loaded.weights_sha256,
        is_random=loaded.is_random,
        label_set=label_set,
        sampling=", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in sorted(asdict(options).items())
        ),
        steps=options.steps,
    )
    return conclude(parsed.out, facts, gates) if process.is_first else 0


def _live(parsed: argparse.Namespace, gates: Sequence[Gate]) -> int:
    from camseg_core.diffusion.options import SamplingOptions
    from camseg_ros.node.dds_environment import use_free_domain, use_large_images
    from camseg_ros.replay.live.bag_player import PlaySettings
    from camseg_ros.replay.live.live import LivePlan, replay_live_bag
    from camseg_ros.replay.results.conclude import conclude

    if len(parsed.bags) != 1:
        raise CamsegError(f"{len(parsed.bags)} bags; --mode live plays one")
    given = {field.name for field in fields(SamplingOptions)} & set(vars(parsed))
    unknown = sorted(given - set(NODE_OPTIONS))
    if unknown:
        raise CamsegError(
            f"--{unknown[0].replace('_', '-')} is for --mode offline; the node takes "
            + ", ".join(NODE_OPTIONS)
        )
    if parsed.heads or parsed.ema or parsed.frames or parsed.merge:
        raise CamsegError("--heads, --ema, --frames and --merge are for --mode offline")
    parameters = {
        "weights": parsed.weights,
        "device": parsed.device,
        "torch_threads": parsed.threads,
        "profile": DEFAULT_PROFILE,
        **{name: getattr(parsed, name) for name in NODE_OPTIONS if name in parsed},
        **node_parameters(parsed.set),
    }
    plan = LivePlan(
        parameters=parameters,
        play=PlaySettings(
            getattr(parsed, "speed", 1.0),
            getattr(parsed, "loops", 1),
            getattr(parsed, "start_offset", 0.0),
        ),
        image_topics=tuple(parsed.image_topic),
        truth_topics=tuple(parsed.truth_topic),
        gates=tuple(gates),
    )
    if plan.play.loops == 0:
        raise CamsegError("--loops is 0; 1 or more is needed")
    use_free_domain()
    use_large_images()
    facts, live = replay_live_bag(parsed.bags[0], plan, parsed.out)
    return conclude(parsed.out, facts, gates, live)
