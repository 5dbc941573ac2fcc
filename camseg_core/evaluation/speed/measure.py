# SPDX-License-Identifier: Apache-2.0
"""Time ways to run a model against each other, in turns, in one run on one machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from statistics import median

import numpy as np
import torch

from camseg_core.diffusion.options import DEFAULT_PROFILE, Precision, find_profile
from camseg_core.errors import CamsegError
from camseg_core.evaluation.speed.results import EXACT, SpeedResults, WaySpeed
from camseg_core.evaluation.speed.ways import (
    PerStage,
    Way,
    flops_of,
    own_way,
    seconds_of,
    ways_to_run,
)
from camseg_core.images.arrays import UInt8
from camseg_core.segmenter import Segmenter
from camseg_core.system.devices import (
    describe_device,
    describe_machine,
    find_device,
    peak_memory_bytes,
    reset_peak_memory,
)
from camseg_core.system.progress import progress_bar
from camseg_core.weights.loading import LoadedModel, load_model
from camseg_core.weights.variants import with_input_size

SCALED_STEPS = 10
"""Where all steps would take longer than `LONGEST_SECONDS`, this many are timed and scaled."""

LONGEST_SECONDS = 10.0

SHORT_SECONDS = 1.0
"""A way that takes less runs once more before each timed run, as on the frames of a camera."""

PRODUCT_SIDE = 2048
"""Side of the matrices whose product tells the machine's peak."""

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Ladder:
    """The published way and ours, one after the other: `ways_to_run`.

    Attributes:
        weights: what ``--weights`` takes.
        device: name of the device.
        image: RGB image uint8 [H, W, 3]; noise of the model's input size if there is none.
        cameras: images at once, the same image each time.
        names: ways to time; all if there are none.
        providers: of ONNX Runtime, which then runs the graphs beside the weights, too.
    """

    weights: str
    device: str = "cpu"
    image: UInt8 | None = None
    cameras: int = 1
    names: Sequence[str] = ()
    providers: Sequence[str] = ()


@dataclass(frozen=True)
class Sweep:
    """One profile at every combination of sizes, steps, cameras and threads.

    Attributes:
        weights: what ``--weights`` takes.
        device: name of the device.
        profile: name of the profile.
        sizes: (height, width) of the model's input; the weights' own if there are none.
        steps: diffusion steps; the profile's if there are none.
        cameras: numbers of images at once.
        threads: numbers of torch's threads; as they are if there are none.
    """

    weights: str
    device: str = "cpu"
    profile: str = DEFAULT_PROFILE
    sizes: Sequence[tuple[int, int]] = ()
    steps: Sequence[int] = ()
    cameras: Sequence[int] = (1,)
    threads: Sequence[int] = ()


@dataclass(frozen=True)
class _Trial:
    """A way, what it segments, and with how many threads."""

    way: Way
    images: list[UInt8]
    threads: int
    device: torch.device

    def seconds(self, steps: int) -> PerStage:
        torch.set_num_threads(self.threads)
        return seconds_of(self.way, self.images, steps, self.device)


def measure_ladder(ladder: Ladder, repeats: int) -> SpeedResults:
    """Time the ways of a ladder, and how much memory each needs in a process of its own.

    Raises:
        CamsegError: no such weights, device or way.
    """
    if ladder.providers and ladder.names and "onnx" not in ladder.names:
        raise CamsegError("providers are given, but way onnx is not among the ways to time")
    loaded = load_model(ladder.weights)
    trials = _trials(ladder, loaded)
    results = _measure(trials, ladder.weights, repeats)
    # The last layers of random weights are zero: whatever is approximated, their latents agree.
    errors = {} if loaded.is_random else _latent_errors(trials)
    ways = (
        replace(
            way,
            peak_memory_bytes=_peak_memory(replace(ladder, names=[way.name])),
            latent_error=errors.get(way.name),
        )
        for way in results.ways
    )
    return replace(results, ways=tuple(ways))


def measure_sweep(sweep: Sweep, repeats: int) -> SpeedResults:
    """Time every combination of a sweep.

    Raises:
        CamsegError: no such weights, device or profile, or a size is no multiple of the stride.
    """
    loaded = load_model(sweep.weights)
    own = loaded.config.input
    threads_before = torch.get_num_threads()
    trials = []
    for height, width in sweep.sizes or [(own.height, own.width)]:
        segmenter = Segmenter(with_input_size(loaded, height, width), sweep.device)
        options = find_profile(loaded.profiles, sweep.profile)
        for steps, cameras, threads in product(
            sweep.steps or [options.steps], sweep.cameras, sweep.threads or [threads_before]
        ):
            name = f"{width} x {height}, steps {steps}, cameras {cameras}, threads {threads}"
            way = own_way(name, segmenter, replace(options, steps=steps))
            images = [_noise(height, width)] * cameras
            trials.append(_Trial(way, images, threads, segmenter.device))
    try:
        return _measure(trials, sweep.weights, repeats)
    finally:
        torch.set_num_threads(threads_before)


def _trials(ladder: Ladder, loaded: LoadedModel) -> list[_Trial]:
    size = loaded.config.input
    image = _noise(size.height, size.width) if ladder.image is None else ladder.image
    device = find_device(ladder.device)
    ways = ways_to_run(loaded, device, ladder.providers)
    for name in ladder.names:
        if name not in ways:
            raise CamsegError(f"unknown way {name!r}; these weights have {', '.join(ways)}")
    images, threads = [image] * ladder.cameras, torch.get_num_threads()
    return [_Trial(ways[name](), images, threads, device) for name in ladder.names or ways]


def _latent_errors(trials: Sequence[_Trial]) -> dict[str, float]:
    """Return `WaySpeed.latent_error` by the way's name; nothing if none of them is `EXACT`."""
    latents = {
        trial.way.name: trial.way.latent(trial.images[0])
        for trial in trials
        if trial.way.latent is not None
    }
    if EXACT not in latents:
        return {}
    exact = latents[EXACT]
    return {
        name: float((latent - exact).square().mean().sqrt() / exact.std())
        for name, latent in latents.items()
    }


def _noise(height: int, width: int) -> UInt8:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _measure(trials: Sequence[_Trial], weights: str, repeats: int) -> SpeedResults:
    device = trials[0].device
    peaks = {precision: _matmul_flops(device, dtype) for precision, dtype in DTYPES.items()}
    steps, are_short, flops = [], [], []
    runs: list[list[PerStage]] = [[] for _ in trials]
    with progress_bar(len(trials) * (repeats + 1), "run", "speed") as bar:
        for trial in trials:  # counting warms up
            timed, is_short = _steps_to_time(trial)
            steps.append(timed)
            are_short.append(is_short)
            counted = flops_of(trial.way, trial.images, steps[-1], device)
            flops.append(_scaled(trial, counted, steps[-1]))
            bar.update()
        for _ in range(repeats):
            for trial, timed, is_short, run in zip(trials, steps, are_short, runs, strict=True):
                if is_short:  # the way before it has left the caches to other weights
                    trial.seconds(timed)
                run.append(_scaled(trial, trial.seconds(timed), timed))
                bar.update()
    return SpeedResults(
        weights=weights,
        device=describe_device(device),
        machine=describe_machine(),
        repeats=repeats,
        matmul_flops=peaks,
        ways=tuple(map(_speed, trials, steps, runs, flops)),
    )


def _speed(trial: _Trial, timed_steps: int, runs: Iterable[PerStage], flops: PerStage) -> WaySpeed:
    kept, way = list(runs), trial.way
    height, width = trial.images[0].shape[:2]
    return WaySpeed(
        name=way.name,
        settings=way.settings,
        precision=way.precision,
        image_height=height,
        image_width=width,
        batch_size=len(trial.images),
        threads=trial.threads,
        steps=way.steps,
        timed_steps=timed_steps,
        seconds={stage: median(run[stage] for run in kept) for stage in flops},
        flops=flops,
        peak_memory_bytes=None,
    )


def _steps_to_time(trial: _Trial) -> tuple[int, bool]:
    """Return how many steps to time, and whether they take less than `SHORT_SECONDS`.

    All steps are timed, or `SCALED_STEPS` where all would take too long.
    """
    steps = trial.way.steps
    once = trial.seconds(1)
    takes_too_long = steps > SCALED_STEPS and once["denoiser"] * steps > LONGEST_SECONDS
    timed = SCALED_STEPS if takes_too_long else steps
    return timed, sum(once.values()) + once["denoiser"] * (timed - 1) < SHORT_SECONDS


def _scaled(trial: _Trial, values: PerStage, timed_steps: int) -> PerStage:
    return {**values, "denoiser": values["denoiser"] * trial.way.steps / timed_steps}


def _matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second of a product of two large matrices, the best of five."""
    left, right = (
        torch.ones(PRODUCT_SIDE, PRODUCT_SIDE, dtype=dtype, device=device) for _ in range(2)
    )
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        float((left @ right)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * PRODUCT_SIDE**3 / best


def _peak_memory(ladder: Ladder) -> int | None:
    """Return the most memory of a process that segments in the one way of ``ladder`` alone."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_of_this_process, ladder, torch.get_num_threads()).result()


def _peak_of_this_process(ladder: Ladder, threads: int) -> int | None:
    torch.set_num_threads(threads)
    (trial,) = _trials(ladder, load_model(ladder.weights))
    reset_peak_memory(trial.device)  # loading needs more than running
    trial.seconds(min(trial.way.steps, 2))
    return peak_memory_bytes(trial.device)
