# SPDX-License-Identifier: Apache-2.0
"""The numbers of ``camseg benchmark speed``, their file and their table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from camseg_core.diffusion.options import Precision
from camseg_core.segmentation import STAGES, InferenceStage
from camseg_core.system.files import write_bytes

EXACT = "exact"
"""Name of our way without any approximation."""


@dataclass(frozen=True)
class WaySpeed:
    """How fast one way to run the model is.

    Attributes:
        name: its name.
        settings: what is special about it.
        precision: of the networks.
        image_height, image_width: size of an image, in pixels.
        batch_size: images at once.
        threads: number of torch's threads.
        steps: diffusion steps.
        timed_steps: steps that were timed; where they are fewer, the denoiser's time is scaled.
        seconds: median seconds of a batch per stage.
        flops: floating-point operations of a batch per stage.
        peak_memory_bytes: most memory of a process that does nothing else; None where not known.
        latent_error: root mean square difference of the predicted mask latent from that of
            `EXACT`, over that one's standard deviation, both without the step noise of ddpm; None
            where not known.
    """

    name: str
    settings: str
    precision: Precision
    image_height: int
    image_width: int
    batch_size: int
    threads: int
    steps: int
    timed_steps: int
    seconds: dict[InferenceStage, float]
    flops: dict[InferenceStage, float]
    peak_memory_bytes: int | None
    latent_error: float | None = None

    @property
    def total_seconds(self) -> float:
        """Seconds of a batch, from the images to their masks."""
        return sum(self.seconds.values())

    @property
    def images_per_second(self) -> float:
        """Images a second."""
        return self.batch_size / self.total_seconds


@dataclass(frozen=True)
class SpeedResults:
    """The ways that were timed in turns, in one run.

    Attributes:
        weights: what ``--weights`` was.
        device: name of the device.
        machine: processor, cores and memory.
        repeats: how often each way was timed.
        matmul_flops: operations a second of a large matrix product, by precision, in this run.
        ways: the ways; speed is told relative to the first one.
    """

    weights: str
    device: str
    machine: str
    repeats: int
    matmul_flops: dict[Precision, float]
    ways: tuple[WaySpeed, ...]


def write_speed_results(path: Path, results: SpeedResults) -> None:
    """Write the numbers as JSON.

    Raises:
        CamsegError: the file cannot be written.
    """
    write_bytes(path, json.dumps(asdict(results), indent=1).encode() + b"\n")


def table_lines(results: SpeedResults) -> Iterator[str]:
    """Yield a Markdown table: one row a way, its stages and their sum."""
    first = results.ways[0]
    times = f"times {first.name}"
    header = ["way", "settings", *STAGES, "all, s", "images/s", times, "peak GiB", "latent error"]
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for way in results.ways:
        peak, memory = results.matmul_flops[way.precision], way.peak_memory_bytes
        cells = [
            way.name,
            way.settings,
            *(_cell(way.seconds[stage], way.flops[stage], peak) for stage in STAGES),
            f"{way.total_seconds:.3g}",
            f"{way.images_per_second:.3g}",
            f"{way.images_per_second / first.images_per_second:.1f}",
            "" if memory is None else f"{memory / 2**30:.2f}",
            "" if way.latent_error is None else f"{100 * way.latent_error:.2g} %",
        ]
        yield f"| {' | '.join(cells)} |"


def notes(results: SpeedResults) -> Iterator[str]:
    """Yield what is to be known about the numbers."""
    peaks = ", ".join(f"{name} {f / 1e9:.0f}" for name, f in results.matmul_flops.items())
    yield (
        f"{results.machine}; {results.device}; median of {results.repeats} runs, in turns, short "
        "ones after an untimed run of their own. Per "
        "stage: seconds of a batch, and in percent the share of the speed of a large matrix "
        f"product in this run (GFLOP/s: {peaks})."
    )
    if any(way.latent_error is not None for way in results.ways):
        yield (
            f"Latent error: root mean square difference of the mask's latent from that of {EXACT}, "
            "both without step noise, relative to its standard deviation."
        )
    scaled = [way for way in results.ways if way.timed_steps < way.steps]
    if scaled:
        few = ", ".join(f"{way.name} from {way.timed_steps} to {way.steps} steps" for way in scaled)
        yield f"The denoiser's time is scaled: {few}."


def _cell(seconds: float, flops: float, peak: float) -> str:
    share = f" ({100 * flops / seconds / peak:.0f} %)" if flops and seconds else ""
    return f"{seconds:.3g}{share}"
