# SPDX-License-Identifier: Apache-2.0
"""``make demo``: a drive becomes a bag, which is replayed live through the real node and scored.

The drive is synthetic, so that there is ground truth; a video or folder is shown without scores.
Libraries are imported where they are used, so that Ctrl-C meets what ends the program well.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from camseg_core.errors import FAILED_CHECK, CamsegError, exit_status
from camseg_core.system.command_parser import CommandParser

if TYPE_CHECKING:
    from camseg_core.images.arrays import UInt8
    from camseg_ros.bag.making.drives import Drive

SYNTHETIC_FRAMES = 100
SYNTHETIC_SIZE = (960, 540)
SYNTHETIC_SEED = 9200
"""Seed of a drive that the bundled weights were neither trained nor scored on, see
benchmarks/train_demo.sh."""

RANDOM_MARK = "RANDOM WEIGHTS, NOT A RESULT"
BAG_FOLDER, REPLAY_FOLDER, STRIP = "bag", "replay", "strip.jpg"


def demo_drive(clip: Path | None, most_frames: int | None) -> Drive:
    """Return the drive to show: of a video, picture or folder, or synthetic.

    Raises:
        CamsegError: the clip cannot be read.
    """
    from camseg_core.synthetic.drive import SyntheticDrive
    from camseg_ros.bag.making.drives import input_drives, shortened, synthetic_drives

    if clip is not None:
        return shortened(input_drives(clip)[0], most_frames)
    frames = min(SYNTHETIC_FRAMES, most_frames or SYNTHETIC_FRAMES)
    width, height = SYNTHETIC_SIZE
    drive = SyntheticDrive(SYNTHETIC_SEED, width, height, frames_per_sequence=SYNTHETIC_FRAMES)
    return synthetic_drives(frames, drive)[0]


def stamp_random(picture: UInt8) -> UInt8:
    """Write across a picture that nothing was trained, so that nobody takes it for a result."""
    import cv2

    marked = picture.copy()
    scale = picture.shape[1] / 700
    place, font = (int(20 * scale), int(40 * scale)), cv2.FONT_HERSHEY_SIMPLEX
    for color, width in (((0, 0, 0), 6), ((255, 255, 0), 2)):
        thickness = max(1, round(width * scale))
        cv2.putText(marked, RANDOM_MARK, place, font, scale, color, thickness, cv2.LINE_AA)
    return marked


def write_strip(pictures: Sequence[Path], out: Path, *, is_random: bool) -> Path:
    """Put pictures of one width below each other, and return ``out``.

    Raises:
        CamsegError: there is no picture, or one cannot be read.
    """
    import numpy as np

    from camseg_core.images.drawing import encode_jpeg
    from camseg_core.images.reading import read_image
    from camseg_core.system.files import write_bytes

    if not pictures:
        raise CamsegError("no frame came back to show")
    strip = np.vstack([read_image(path) for path in pictures])
    write_bytes(out, encode_jpeg(stamp_random(strip) if is_random else strip))
    return out


def run_demo(given: argparse.Namespace) -> int:
    """Make the bag, replay it live, write page and pictures, and return the exit status.

    Raises:
        CamsegError: the drive cannot be read, the node does not start, nothing can be written.
    """
    from camseg_core.commands.options import check_count
    from camseg_core.diffusion.options import DEFAULT_PROFILE
    from camseg_ros.bag.making.make import BagForm, write_drive
    from camseg_ros.node.dds_environment import use_free_domain, use_large_images
    from camseg_ros.replay.live.bag_player import PlaySettings
    from camseg_ros.replay.live.live import RANDOM, LivePlan, replay_live_bag
    from camseg_ros.replay.results.conclude import conclude
    from camseg_ros.replay.results.folder import MARKER, PICTURES_FOLDER, prepare_folder

    use_free_domain()
    use_large_images()
    check_count("--frames", given.frames)
    drive, play = demo_drive(given.clip, given.frames), PlaySettings(given.speed)
    bags, replay_out = given.out / BAG_FOLDER, given.out / REPLAY_FOLDER
    if bags.exists() and not (replay_out / MARKER).is_file():
        raise CamsegError(f"{bags} is not of an earlier demo; give another --out")
    prepare_folder(replay_out)
    shutil.rmtree(bags, ignore_errors=True)
    bag = write_drive(drive, bags / drive.name, BagForm())
    print(f"bag: {bag}")
    is_random = given.weights.startswith(RANDOM)
    if is_random:
        print("the weights are RANDOM: the masks mean nothing")
    chosen = {"steps": given.steps} if given.steps else {"profile": DEFAULT_PROFILE}
    plan = LivePlan({"weights": given.weights, **chosen}, play)
    facts, live = replay_live_bag(bag, plan, replay_out)
    status = conclude(replay_out, facts, live=live)
    pictures = sorted((replay_out / PICTURES_FOLDER).iterdir())
    print(write_strip(pictures, given.out / STRIP, is_random=is_random))
    return FAILED_CHECK if status else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the demo, and return the exit status."""
    parser = CommandParser(prog="python -m camseg_ros.demo")
    parser.add_argument("--clip", type=Path, help="video or folder; a synthetic drive without it")
    parser.add_argument("--weights", default="demo", help="as camseg segment takes them")
    parser.add_argument("--steps", type=int, help="diffusion steps; the profile's if not given")
    parser.add_argument("--speed", type=float, default=1.0, help="2 plays twice as fast")
    parser.add_argument("--frames", type=int, metavar="N", help="the first N; all without")
    parser.add_argument("--out", type=Path, default=Path("output/demo"), help="folder")
    parsed = parser.parse_args(arguments)
    return exit_status("camseg-demo", lambda: run_demo(parsed))


if __name__ == "__main__":
    sys.exit(main())
