# SPDX-License-Identifier: Apache-2.0
"""Play frames at full speed to the real node, and see whether anything grows or is not counted.

Several cameras publish the next frame when all masks of the last ones have come, or a short time
has passed. Of a hundred frames one cannot be read. The exit status is 1 if, after a warm-up,
memory grows by more than 1 MiB in 10 000 frames, threads or open files become more, frames in are
not out + dropped + refused, or the node does not end as it should.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from camseg_core.errors import CamsegError
from camseg_core.system.files import write_bytes
from camseg_core.system.progress import progress_bar
from camseg_ros.messages.images import image_message
from camseg_ros.node.dds_environment import use_free_domain, use_large_images
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.remote.node_client import NodeClient, node_process, ros_context
from camseg_ros.remote.traffic import frame_counts

CAMERAS = ("front", "left", "right", "rear")
PATIENCE_S = 0.1
"""Longest time between two frames; a slower node drops frames, which is a part of the test."""
LEAST_FRAMES = 10_000
"""A slope of fewer frames says nothing."""
SAMPLE_FRAMES = 100  # a multiple of the number of cameras
WARM_UP_FRAMES = 5000
MOST_MIB_PER_10000 = 1.0
MIB = 2**20


class Sample(NamedTuple):
    """What the node's process had after so many frames."""

    frames: int
    memory_mib: float
    threads: int
    files: int


@dataclass
class Soak:
    """What happened.

    Attributes:
        frames: number of frames that were published.
        bad: how many of them cannot be read.
        masks: number of masks that arrived.
        seconds: duration of playing.
        counts: what the node counted of each camera: frames in, out, dropped, refused, lost.
        memory_mib: memory of the node's process after the warm-up and at the end.
        growth_mib: slope of that memory per 10 000 frames after the warm-up.
        threads, files: most threads and open files in the warm-up, and after it.
        exit_status: exit status of the node.
        samples: all that was measured, one in a hundred frames.
    """

    frames: int
    bad: int
    masks: int
    seconds: float
    counts: dict[str, dict[str, int]]
    memory_mib: tuple[float, float]
    growth_mib: float
    threads: tuple[int, int]
    files: tuple[int, int]
    exit_status: int
    samples: list[Sample]

    def total(self, name: str) -> int:
        """Return a count of all cameras together."""
        return sum(counts[name] for counts in self.counts.values())

    def problems(self) -> list[str]:
        """List the limits that are broken; empty if all held."""
        problems = []
        if self.growth_mib > MOST_MIB_PER_10000:
            problems.append(f"memory grows by {self.growth_mib:.2f} MiB in 10 000 frames")
        for name, (warm, most) in {"threads": self.threads, "open files": self.files}.items():
            if most > warm:
                problems.append(f"{most} {name} after {warm} in the warm-up")
        for name, counts in self.counts.items():
            if counts["in"] != counts["out"] + counts["dropped"] + counts["refused"]:
                problems.append(f"{name}: in is not out + dropped + refused: {counts}")
        if not 0 < self.masks <= self.total("out"):
            problems.append(f"{self.masks} masks arrived, {self.total('out')} are counted out")
        if not 0 < self.total("refused") <= self.bad or self.total("in") > self.frames:
            problems.append(f"of {self.frames} frames, {self.bad} bad ones, came {self.counts}")
        if self.exit_status != 0:
            problems.append(f"the node ended with status {self.exit_status}")
        return problems

    def table(self) -> str:
        """Return the figures as a table of one line."""
        counts = " | ".join(str(self.total(name)) for name in ("in", "out", "dropped", "refused"))
        memory = "{:.1f} to {:.1f}".format(*self.memory_mib)
        threads, files = ("{} to {}".format(*pair) for pair in (self.threads, self.files))
        return (
            "| frames | time, s | frames/s | in | out | dropped | refused | memory, MiB | "
            "MiB in 10 000 frames | threads | open files |\n|" + 11 * "---|" + "\n"
            f"| {self.frames} | {self.seconds:.0f} | {self.frames / self.seconds:.0f} | {counts} | "
            f"{memory} | {self.growth_mib:.2f} | {threads} | {files} |"
        )


def soak(frames: int | None, seconds: float | None, weights: str, progress: Any) -> Soak:
    """Play so many frames, or for so long, and return what happened.

    Raises:
        CamsegError: the node did not start, ended before it was told to, or was too slow.
    """
    use_large_images()
    use_free_domain()
    parameters = {
        "cameras": [*CAMERAS],
        "weights": weights,
        "steps": 1,
        "warmup_height": 48,
        "warmup_width": 64,
    }
    changed, masks = threading.Condition(), 0
    samples: list[Sample] = []

    def on_mask(_: Image) -> None:
        nonlocal masks
        with changed:
            masks += 1
            changed.notify_all()

    with (
        ros_context() as context,
        node_process(parameters) as process,
        closing(NodeClient(context, "soak", CAMERAS)) as client,
    ):
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        cameras = [
            client.node.create_publisher(Image, f"{name}/image_raw", newest) for name in CAMERAS
        ]
        for name in CAMERAS:
            client.node.create_subscription(Image, f"{NODE_NAME}/{name}/mask", on_mask, 10)
        client.start()
        client.wait_until_active(
            process, lambda: all(camera.get_subscription_count() for camera in cameras)
        )
        client.wait_until_matched(["mask"])
        observed, (*kinds, short) = psutil.Process(process.pid), frame_kinds()
        started, published, bad = time.monotonic(), 0, 0
        while not is_over(published, time.monotonic() - started, frames, seconds):
            kind = kinds[published // len(CAMERAS) % len(kinds)]  # of one size: one batch
            seconds_now, nanoseconds = divmod(time.time_ns(), 10**9)
            expected = masks
            for camera in cameras:
                is_bad = published % SAMPLE_FRAMES == SAMPLE_FRAMES // 2
                frame = short if is_bad else kind
                frame.header.stamp.sec, frame.header.stamp.nanosec = seconds_now, nanoseconds
                camera.publish(frame)
                published, bad, expected = published + 1, bad + is_bad, expected + (not is_bad)
            with changed:
                changed.wait_for(lambda expected=expected: masks >= expected, PATIENCE_S)
            if published % SAMPLE_FRAMES == 0:
                if process.poll() is not None:
                    raise CamsegError(f"the node ended with status {process.returncode}")
                memory_mib = observed.memory_info().rss / MIB
                sizes = observed.num_threads(), observed.num_fds()
                samples.append(Sample(published, memory_mib, *sizes))
                progress(SAMPLE_FRAMES)
        duration_s = time.monotonic() - started
        client.wait_until_idle()
        client.wait_until_idle()  # the first diagnostics may be older than the last frame
        counts = {name: frame_counts(values) for name, values in client.camera_values.items()}
        exit_status = client.end_node(process)
    if published < LEAST_FRAMES:
        raise CamsegError(f"{published} frames in that time; at least {LEAST_FRAMES} are needed")
    warm = min(WARM_UP_FRAMES, published // 4)
    before = [sample for sample in samples if sample.frames <= warm]
    after = [sample for sample in samples if sample.frames > warm]
    slope, _ = np.polyfit(*zip(*[sample[:2] for sample in after], strict=True), 1)
    return Soak(
        frames=published,
        bad=bad,
        masks=masks,
        seconds=duration_s,
        counts=counts,
        memory_mib=(after[0].memory_mib, after[-1].memory_mib),
        growth_mib=1e4 * float(slope),
        threads=(max(one.threads for one in before), max(one.threads for one in after)),
        files=(max(one.files for one in before), max(one.files for one in after)),
        exit_status=exit_status,
        samples=samples,
    )


def is_over(published: int, passed_s: float, frames: int | None, seconds: float | None) -> bool:
    """Return whether enough was played: so many frames, or for so long if that is given."""
    return passed_s >= seconds if seconds is not None else published >= (frames or 0)


def frame_kinds() -> list[Image]:
    """Return frames of several sizes and encodings; the last one has too little data."""
    random = np.random.default_rng(1)
    kinds = []
    for height, width, encoding in ((24, 40, "rgb8"), (48, 64, "mono8"), (30, 32, "rgb8")):
        shape = (height, width, 3) if encoding == "rgb8" else (height, width)
        pixels = random.integers(0, 256, shape, np.uint8)
        kinds.append(image_message(pixels, encoding, Header(frame_id=f"lens_{width}")))
    short = Image(height=24, width=40, step=120, encoding="rgb8", data=bytes(7))
    return [*kinds, short]


def main() -> int:
    """Parse the command line, play, tell, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=20_000, help="number of frames to play")
    parser.add_argument("--hours", type=float, help="play for so long instead")
    parser.add_argument("--weights", default="random:tiny", help="weights of the node")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    given = parser.parse_args()
    if given.hours is None and given.frames < LEAST_FRAMES:
        parser.error(f"--frames is {given.frames}; at least {LEAST_FRAMES} are needed")
    seconds = None if given.hours is None else 3600.0 * given.hours
    with progress_bar(given.frames if seconds is None else None, "frame", "soak") as bar:
        update: Callable[[int], Any] = bar.update
        result = soak(given.frames, seconds, given.weights, update)
    problems = result.problems()
    print(result.table())
    for problem in problems:
        print(problem, file=sys.stderr)
    if given.json:
        content = {**asdict(result), "problems": problems}
        write_bytes(given.json, json.dumps(content, indent=1).encode())
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CamsegError as error:
        sys.exit(f"soak: {error}")
