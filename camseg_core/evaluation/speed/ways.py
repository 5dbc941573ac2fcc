# SPDX-License-Identifier: Apache-2.0
"""The ways to run a model that are timed against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from camseg_core.diffusion.options import (
    DEFAULT_PROFILE,
    PROFILE_NAMES,
    Precision,
    SamplingOptions,
)
from camseg_core.evaluation.speed.published_path import PUBLISHED_STEPS, PublishedPath
from camseg_core.evaluation.speed.results import EXACT
from camseg_core.images.arrays import UInt8
from camseg_core.inference.stage_clock import StageClock
from camseg_core.segmentation import STAGES, InferenceStage
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import LoadedModel
from camseg_core.weights.variants import with_mask_decoder

PerStage = dict[InferenceStage, float]


@dataclass(frozen=True)
class Way:
    """One way to segment images.

    Attributes:
        name: its name in tables.
        settings: what is special about it, in words.
        precision: of the networks.
        steps: diffusion steps.
        run: segments a batch with another number of steps, by a clock.
        latent: predicts the mask tokens [1, L, Z] of an image without the step noise of ddpm; None
            for a way that keeps them to itself.
    """

    name: str
    settings: str
    precision: Precision
    steps: int
    run: Callable[[list[UInt8], int, StageClock], object]
    latent: Callable[[UInt8], Tensor] | None = None


def ways_to_run(
    loaded: LoadedModel, device: torch.device, providers: Sequence[str] = ()
) -> dict[str, Callable[[], Way]]:
    """Return how to make each way, by its name, in the order of a table.

    First the published implementation's, then ours without any approximation, then the profiles
    that differ from it. Where the weights decode colours, ``fast`` with a mask decoder follows,
    untrained; with ``providers``, ``balanced`` by ONNX Runtime.
    """

    @cache
    def segmenter() -> Segmenter:
        return Segmenter(loaded, str(device))

    def with_decoder() -> Way:
        decoding = Segmenter(with_mask_decoder(loaded), str(device))
        return own_way("mask decoder", decoding, loaded.profiles["fast"])

    def by_graphs() -> Way:
        graphs = Segmenter(loaded, backend="onnx", providers=providers)
        options = loaded.profiles[DEFAULT_PROFILE]
        if "openvino" not in providers:  # the others have a precision of their own
            options = replace(options, precision="float32")
        way = own_way("onnx", graphs, options)
        return replace(way, settings=f"{graphs.networks.device_name}, {way.settings}")

    def by_options(name: str, options: SamplingOptions) -> Callable[[], Way]:
        return lambda: own_way(name, segmenter(), options)

    exact = SamplingOptions(steps=PUBLISHED_STEPS)
    profiles = {name: loaded.profiles[name] for name in PROFILE_NAMES}
    ways = {
        "published": lambda: _published_way(loaded, device),
        EXACT: by_options(EXACT, exact),
        **{name: by_options(name, one) for name, one in profiles.items() if one != exact},
    }
    if loaded.config.mask_decoder is None:
        ways["mask decoder"] = with_decoder
    if providers:
        ways["onnx"] = by_graphs
    return ways


def own_way(name: str, segmenter: Segmenter, options: SamplingOptions) -> Way:
    """Return the segmenter's way with ``options``."""

    def run(images: list[UInt8], steps: int, clock: StageClock) -> None:
        segmenter.segment_by_clock(images, replace(options, steps=steps), clock)

    def latent(image: UInt8) -> Tensor:
        return segmenter.predict_latent(image, replace(options, temperature=0.0))

    steps = f"{options.steps} {options.sampler} step{'s' if options.steps > 1 else ''}"
    settings = [options.precision, steps]
    if options.samples > 1:
        settings.append(f"{options.samples} samples")
    return Way(name, ", ".join(settings), options.precision, options.steps, run, latent)


def seconds_of(way: Way, images: list[UInt8], steps: int, device: torch.device) -> PerStage:
    """Return the seconds of each stage of a batch."""
    clock = StageClock(device)
    way.run(images, steps, clock)
    return clock.seconds


def flops_of(way: Way, images: list[UInt8], steps: int, device: torch.device) -> PerStage:
    """Return the floating-point operations of each stage of a batch, of its large products."""
    clock = _FlopClock(device)
    way.run(images, steps, clock)
    return clock.flops


def _published_way(loaded: LoadedModel, device: torch.device) -> Way:
    path = PublishedPath(loaded, device)

    def run(images: list[UInt8], steps: int, clock: StageClock) -> None:
        for image in images:
            path.segment(image, steps, clock)

    settings = f"float32, {PUBLISHED_STEPS} ddpm steps over all tokens, numpy"
    return Way("published", settings, "float32", PUBLISHED_STEPS, run)


class _FlopClock(StageClock):
    """Counts floating-point operations where `StageClock` takes the time."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.flops: PerStage = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: InferenceStage, *, on_host: bool = False) -> Iterator[None]:
        with FlopCounterMode(display=False) as counter, super().stage(name, on_host=on_host):
            yield
        self.flops[name] += counter.get_total_flops()
