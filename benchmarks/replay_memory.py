# SPDX-License-Identifier: Apache-2.0
"""Measure how much memory the replay of a large bag takes, beyond the model.

    python benchmarks/replay_memory.py --gigabytes 2 --folder output/replay_memory

Writes a bag of raw noise images (and of a few frames, for comparison), replays both offline and
live in processes of their own, and prints the peak resident memory of each, the node's apart.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from std_msgs.msg import Header
from tqdm import tqdm

from camseg_core.errors import CamsegError
from camseg_core.system.devices import describe_machine
from camseg_ros.bag.camera_topics import KITTI_CAMERA, CameraTopics
from camseg_ros.bag.writer import BagWriter
from camseg_ros.messages.images import image_message

SIZE = (540, 960)
NODE = "camseg_ros.node.segment_node"


def write_bag(path: Path, frames: int) -> Path:
    """Write raw noise at 10 Hz, uncompressed, with ground truth."""
    topics = CameraTopics.below(KITTI_CAMERA)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    truth = rng.integers(0, 19, SIZE, np.uint8)
    with BagWriter(path, "mcap", "none") as writer:
        for index in tqdm(range(frames), unit="frame", desc=path.name):
            stamp_ns = 10**9 + index * 10**8
            header = Header(frame_id=topics.name)
            header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
            image = image_message(np.roll(noise, index, axis=0), "rgb8", header)
            writer.write(topics.image, image, stamp_ns)
            writer.write(str(topics.truth), image_message(truth, "mono8", header), stamp_ns)
    return path


def peak_of(arguments: list[str]) -> tuple[float, float]:
    """Run a command; return the peak resident MiB of its largest process, and of its node."""
    process = psutil.Popen([sys.executable, "-m", "camseg_core.cli", *arguments])
    command = node = 0.0
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            for one in [process, *process.children(recursive=True)]:
                mib = one.memory_info().rss / 2**20
                if NODE in " ".join(one.cmdline()):
                    node = max(node, mib)
                else:
                    command = max(command, mib)
        time.sleep(0.2)
    if process.returncode != 0:
        raise CamsegError(f"camseg {' '.join(arguments)} ended with status {process.returncode}")
    return command, node


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=2.0, help="speed of playing live")
    parsed = parser.parse_args()
    frames = round(parsed.gigabytes * 1e9 / (SIZE[0] * SIZE[1] * 4))
    shutil.rmtree(parsed.folder, ignore_errors=True)
    print(describe_machine())
    for name, count in (("few", 10), ("large", frames)):
        bag = write_bag(parsed.folder / name, count)
        size = sum(file.stat().st_size for file in bag.iterdir())
        offline, _ = peak_of(["replay", str(bag), "--out", str(parsed.folder / "offline")])
        live, node = peak_of(
            ["replay", str(bag), "--mode", "live", "--rate", f"{parsed.rate}",
             "--out", str(parsed.folder / "live")]
        )  # fmt: skip
        print(
            f"{name}: {count} frames, {size / 1e9:.2f} GB; peak MiB: offline {offline:.0f}; "
            f"live, player and evaluator {live:.0f}, node {node:.0f}"
        )


if __name__ == "__main__":
    main()
