# SPDX-License-Identifier: Apache-2.0
"""``camseg bag``: make bags, and look into them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from camseg_core.commands.options import (
    add_dataset_options,
    add_frames_option,
    check_count,
    image_size,
    open_chosen_dataset,
)
from camseg_core.data.sample import CONDITIONS
from camseg_core.data.synthetic_manifest import SYNTHETIC
from camseg_core.errors import BAD_INPUT, CamsegError
from camseg_ros.commands import ros_needed

SYNTHETIC_FRAMES = 60
FILES = "files"


def add_commands(commands: Any) -> None:
    """Add ``bag`` to the subparsers ``commands``."""
    bag = commands.add_parser("bag", help="make ROS 2 bags of data sets, and look into bags")
    actions = bag.add_subparsers(required=True, metavar="ACTION")
    _add_make(actions)
    info = actions.add_parser(
        "info",
        help="say what a bag holds",
        description="Any rosbag2 (mcap, sqlite3, split, compressed, cut off) or ROS 1 bag. Exit "
        f"status {BAD_INPUT} if a part of it cannot be read.",
    )
    info.set_defaults(command=_info)
    info.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="folder or file")
    info.add_argument("--json", action="store_true", help="one JSON object for each bag")
    params = actions.add_parser(
        "params",
        help="print a params file for segment_node, play_node and evaluate_node",
        description="Cameras, topics, warm-up size and time of a bag as ROS parameters: "
        "camseg bag params BAG > bag.yaml; segment_node --ros-args --params-file bag.yaml",
    )
    params.set_defaults(command=_params)
    params.add_argument("bag", type=Path, metavar="BAG", help="folder or file")


def _add_make(actions: Any) -> None:
    make = actions.add_parser(
        "make",
        help="make bags of a data set, a video, a folder of images or a synthetic drive",
        description="One bag per sequence, with images, calibration where the data has it, and "
        "ground truth beside the images. See docs/bags.md.",
    )
    make.set_defaults(command=_make)
    make.add_argument("--out", type=Path, required=True, help="folder of bags")
    make.add_argument(
        "--skip-existing", action="store_true", help="make only the bags that are not there yet"
    )
    data = make.add_argument_group("from what")
    others = f"{FILES} (a video, image or folder at --root), {SYNTHETIC}, or a data set: "
    add_dataset_options(data, others=others, default=FILES)
    add_frames_option(
        data, f"the first N of each drive; all without, {SYNTHETIC_FRAMES} of {SYNTHETIC}"
    )
    synthetic = make.add_argument_group(f"the synthetic drive (--dataset {SYNTHETIC})")
    synthetic.add_argument("--seed", type=int, default=9000, help="9000 and above are held out")
    synthetic.add_argument(
        "--size", type=image_size, default="512x256", help="WIDTHxHEIGHT in pixels"
    )
    form = make.add_argument_group("how")
    form.add_argument("--rate", type=float, default=10.0, help="Hz, where the data has no times")
    form.add_argument(
        "--images", choices=["raw", "png", "jpeg"], default="raw", help="jpeg loses detail"
    )
    form.add_argument("--storage", choices=["mcap", "sqlite3"], default="mcap")
    form.add_argument("--compression", choices=["zstd", "none"], default="zstd")
    form.add_argument(
        "--camera", default="/kitti/camera_color_left", help="what its topics begin with"
    )


@ros_needed
def _make(parsed: argparse.Namespace) -> int:
    from camseg_ros.bag.making.drives import Drive, dataset_drives, input_drives, shortened
    from camseg_ros.bag.making.make import BagForm, make_bags

    form = BagForm(
        rate_hz=parsed.rate,
        images=parsed.images,
        storage=parsed.storage,
        compression=parsed.compression,
        camera=parsed.camera,
    )
    check_count("--frames", parsed.frames)
    drives: list[Drive]
    if parsed.dataset == SYNTHETIC:
        drives = _synthetic(parsed)
    elif parsed.root is None:
        raise CamsegError(
            f"--root is needed: what is to be made a bag of, or --dataset {SYNTHETIC}"
        )
    elif parsed.dataset == FILES:
        drives = input_drives(parsed.root)
    else:
        drives = dataset_drives(open_chosen_dataset(parsed))
    drives = [shortened(drive, parsed.frames) for drive in drives]
    made = 0
    for path in make_bags(drives, parsed.out, form, skips_existing=parsed.skip_existing):
        print(path)
        made += 1
    if made < len(drives):
        print(f"{len(drives) - made} that exist already were skipped")
    return 0


def _synthetic(parsed: argparse.Namespace) -> list[Any]:
    from camseg_core.synthetic.drive import MAX_FRAMES_PER_SEQUENCE, SyntheticDrive
    from camseg_ros.bag.making.drives import synthetic_drives

    frames = parsed.frames or SYNTHETIC_FRAMES
    if len(parsed.condition) > 1 or not set(parsed.condition) <= set(CONDITIONS):
        raise CamsegError(
            f"--condition {','.join(parsed.condition)}: one of {', '.join(CONDITIONS)} is needed"
        )
    drive = SyntheticDrive(
        parsed.seed,
        *parsed.size,
        condition=parsed.condition[0] if parsed.condition else "clear",
        frames_per_sequence=min(frames, MAX_FRAMES_PER_SEQUENCE),
    )
    return synthetic_drives(frames, drive)


@ros_needed
def _params(parsed: argparse.Namespace) -> int:
    import yaml

    from camseg_ros.bag.params import params_file
    from camseg_ros.bag.reader import open_bag

    with open_bag(parsed.bag) as bag:
        print(yaml.safe_dump(params_file(bag), sort_keys=False, width=1000), end="")
    return 0


@ros_needed
def _info(parsed: argparse.Namespace) -> int:
    from camseg_ros.bag.info import describe_bag, info_lines
    from camseg_ros.bag.reader import open_bag

    status = 0
    for path in parsed.bags:
        try:
            with open_bag(path) as bag:
                content = describe_bag(bag)
        except CamsegError as error:
            print(f"camseg: {error}", file=sys.stderr)
            status = BAD_INPUT
            continue
        lines = [json.dumps(content, indent=1)] if parsed.json else info_lines(content)
        print(*lines, sep="\n")
        status = BAD_INPUT if content["damage"] else status
    return status
