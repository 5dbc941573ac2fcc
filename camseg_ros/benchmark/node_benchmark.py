# SPDX-License-Identifier: Apache-2.0
"""The node measured as its users meet it: in its own process, over DDS.

Two latencies: ``latency_ms``, from publishing a frame to the arrival of its mask here, on one
steady clock; and ``node_ms``, by the node's own diagnostics, from the entry of a frame.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from camseg_core.images.arrays import UInt8
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.system.progress import progress_bar
from camseg_ros.benchmark.live_frames import (
    CAMERA,
    ReplayResult,
    latency_percentile_ms,
    replay_live,
)
from camseg_ros.node.diagnostics import MEASURED
from camseg_ros.node.health import PERCENTILES
from camseg_ros.remote.node_process import NodeParameters

DRAWN_FRAMES = 24
DRAWN_SEED = 9200
SAMPLE_PERIOD_S = 0.5
CALIBRATION_SECONDS = 8.0
CALIBRATION_RATE_HZ = 4.0
MIB = 2**20
FIGURES = ("cpu_percent_mean", "memory_mib_first", "memory_mib_last", "memory_mib_most")


@dataclass(frozen=True)
class NodeBenchmark:
    """What to play, and how the node is set.

    Attributes:
        cameras: how many; each gets every frame.
        rate_hz: frames per second of each camera.
        seconds: how long to play.
        height, width: of the frames, pixels.
        parameters: of the node.
    """

    cameras: int
    rate_hz: float
    seconds: float
    height: int
    width: int
    parameters: NodeParameters


def run_node_benchmark(benchmark: NodeBenchmark, overload: float | None = None) -> dict[str, Any]:
    """Play and measure; gives plain data.

    With ``overload`` a short run measures how long the node takes for a batch, and the rate becomes
    ``overload`` frames in that time.

    Raises:
        CamsegError: the node did not start or did not end, or a parameter is none of its.
    """
    frames = _frames(benchmark)
    if overload is not None:
        calibration = replace(benchmark, rate_hz=CALIBRATION_RATE_HZ, seconds=CALIBRATION_SECONDS)
        values = _play(calibration, frames)[0].values
        rate_hz = overload * 1000.0 / float(values["processing_p50_ms"])
        benchmark = replace(benchmark, rate_hz=rate_hz)
    result, usage = _play(benchmark, frames)
    return {
        "settings": {
            "cameras": benchmark.cameras,
            "rate_hz": round(benchmark.rate_hz, 3),
            "seconds": benchmark.seconds,
            "height": benchmark.height,
            "width": benchmark.width,
            "parameters": dict(benchmark.parameters),
        },
        "cameras": {
            name: {
                "played": len(camera.published),
                **{
                    key: int(camera.values[f"frames_{key}"])
                    for key in ("in", "out", "dropped", "refused")
                },
                "masks_received": len(camera.masks),
                "rate_out_hz": _rate_hz(camera.masks),
                "latency_ms": _percentiles(camera.latencies_ms()),
            }
            for name, camera in result.cameras.items()
        },
        "node_ms": {
            name: {
                f"p{percent}": float(result.values[f"{name}_p{percent}_ms"] or "nan")
                for percent in PERCENTILES
            }
            for name in ("latency", "age", *MEASURED)
        },
        "steps": int(result.values["steps"]),
        "weights_sha256": result.values["weights_sha256"],
        "process": usage,
        "problems": result.problems(),
    }


def summary_lines(result: dict[str, Any]) -> Iterator[str]:
    """Say the main figures in a few lines."""
    for name, camera in result["cameras"].items():
        latency = camera["latency_ms"]
        yield (
            f"{name}: played {camera['played']} at {result['settings']['rate_hz']:g} Hz, "
            f"in {camera['in']} = out {camera['out']} + dropped {camera['dropped']} + refused "
            f"{camera['refused']}; {camera['rate_out_hz']:.2f} Hz out; end to end p50 "
            f"{latency['p50']:.0f}, p95 {latency['p95']:.0f}, p99 {latency['p99']:.0f} ms"
        )
    node, usage = result["node_ms"], result["process"]
    yield (
        f"node: age at output p99 {node['age']['p99']:.0f} ms, processing p50 "
        f"{node['processing']['p50']:.0f}, p99 {node['processing']['p99']:.0f} ms; "
        f"steps {result['steps']}; CPU {usage['cpu_percent_mean']:.0f} % of one core; memory "
        f"{usage['memory_mib_first']:.0f} MiB at first, {usage['memory_mib_last']:.0f} at last"
    )


def _frames(benchmark: NodeBenchmark) -> list[UInt8]:
    drive = SyntheticDrive(
        DRAWN_SEED, benchmark.width, benchmark.height, frames_per_sequence=DRAWN_FRAMES
    )
    return [drive.frame(index).image for index in range(DRAWN_FRAMES)]


def _play(
    benchmark: NodeBenchmark, frames: Sequence[UInt8]
) -> tuple[ReplayResult, dict[str, float]]:
    count = max(2, round(benchmark.rate_hz * benchmark.seconds))
    names = (
        [CAMERA] if benchmark.cameras == 1 else [f"{CAMERA}_{n}" for n in range(benchmark.cameras)]
    )
    warm_up = {"warmup_height": benchmark.height, "warmup_width": benchmark.width}
    with progress_bar(count, "frame", "play") as bar, _usage() as usage:

        def played_one() -> None:
            bar.update()
            if bar.n >= count:  # what the node does at its end is not its work
                usage.stop()

        result = replay_live(
            itertools.islice(itertools.cycle(frames), count),
            rate_hz=benchmark.rate_hz,
            parameters={**warm_up, **benchmark.parameters},
            cameras=names,
            keep=("mask",),
            progress=played_one,
            observe=usage.observe,
        )
    return result, usage.figures()


class _Usage:
    """CPU time and resident memory of a process, sampled in a thread while it lives."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float]] = []  # CPU percent since the last one, MiB
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def observe(self, process_id: int) -> None:
        self._thread = threading.Thread(target=self._sample, args=(process_id,))
        self._thread.start()

    def stop(self) -> None:
        self._over.set()

    def close(self) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def figures(self) -> dict[str, float]:
        if not self._samples:
            return dict.fromkeys(FIGURES, float("nan"))
        percent, memory = (list(column) for column in zip(*self._samples, strict=True))
        values = (float(np.mean(percent)), memory[0], memory[-1], max(memory))
        return dict(zip(FIGURES, values, strict=True))

    def _sample(self, process_id: int) -> None:
        try:
            process = psutil.Process(process_id)
            process.cpu_percent()
            while not self._over.wait(SAMPLE_PERIOD_S):
                self._samples.append((process.cpu_percent(), process.memory_info().rss / MIB))
        except psutil.NoSuchProcess:  # it has ended, as it should in the end
            return


@contextmanager
def _usage() -> Iterator[_Usage]:
    usage = _Usage()
    try:
        yield usage
    finally:
        usage.close()


def _percentiles(latencies_ms: NDArray[np.float64]) -> dict[str, float]:
    return {f"p{percent}": latency_percentile_ms(latencies_ms, percent) for percent in PERCENTILES}


def _rate_hz(stamps_ns: Sequence[int]) -> float:
    """Masks per second, by the stamps of the first and the last one."""
    if len(stamps_ns) < 2:
        return 0.0
    return 1e9 * (len(stamps_ns) - 1) / (max(stamps_ns) - min(stamps_ns))
