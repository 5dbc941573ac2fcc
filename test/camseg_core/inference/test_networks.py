# SPDX-License-Identifier: Apache-2.0
"""The stages leave the device alone: no wait for a number, no tensor from elsewhere."""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.diffusion.samplers import TokenNoise
from camseg_core.inference.decoding import DecodedMasks, Decoder
from camseg_core.inference.networks import Networks
from camseg_core.inference.sampling import LatentSampler
from camseg_core.inference.stage_clock import StageClock
from camseg_core.weights.loading import LoadedModel

WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique")
"""Operators whose result the host needs: on a GPU it waits for all work before them."""

MOVES = {"randn", "to"}

ONE_ROUND = [
    SamplingOptions(steps=3),
    SamplingOptions(steps=2, sampler="dpm-solver++", samples=2),
    SamplingOptions(steps=2, sampler="ddim", initial_noise_scale=0.0, precision="bfloat16"),
]


class Operators(TorchDispatchMode):
    """Notes each operator that runs, and the device that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, torch.device | None]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.calls.append((func.overloadpacket.__name__, kwargs.get("device")))
        return func(*args, **kwargs)


class Stages:
    """All stages from a batch on the device to its masks on the device."""

    def __init__(self, loaded: LoadedModel, device: torch.device) -> None:
        self.networks = Networks(loaded.model, device)
        self.sampler = LatentSampler(self.networks)
        self.decoder = Decoder(self.networks, loaded.label_set)

    def run(self, image: Tensor, options: SamplingOptions) -> DecodedMasks:
        clock = StageClock(self.networks.device)
        encoded = self.networks.encode(image, options.precision)
        samples = self.sampler.samples(encoded, options, clock)
        return self.decoder.decode(samples, encoded.grid, options, clock)


@pytest.fixture(params=["tiny", "parity"])
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    """A light encoder with a mask decoder, and the published parts."""
    found: LoadedModel = request.getfixturevalue(f"{request.param}_model")
    return found


def image_of(loaded: LoadedModel, device: str) -> Tensor:
    size = loaded.config.input
    return torch.zeros(2, 3, size.height, size.width, device=device)


@pytest.mark.parametrize("options", ONE_ROUND)
def test_the_host_reads_no_number(loaded: LoadedModel, options: SamplingOptions) -> None:
    stages = Stages(loaded, torch.device("cpu"))
    with torch.inference_mode(), Operators() as operators:
        stages.run(image_of(loaded, "cpu"), options)
    names = [name for name, _ in operators.calls]
    assert len(names) > 100
    assert [name for name in names if name in WAITS] == []


@pytest.mark.parametrize("options", [o for o in ONE_ROUND if o.precision == "float32"])
def test_after_the_first_frame_nothing_is_copied_to_the_device(
    loaded: LoadedModel, options: SamplingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the device without data, which has no autocast, a tensor of the host is an error."""
    monkeypatch.setattr(Networks, "autocast", lambda *_: nullcontext())
    stages = Stages(replace(loaded, model=deepcopy(loaded.model)), torch.device("meta"))
    calls = []
    for _ in range(2):
        with torch.inference_mode(), Operators() as operators:
            decoded = stages.run(image_of(loaded, "meta"), options)
        assert decoded.class_ids.device.type == decoded.confidence.device.type == "meta"
        calls.append([name for name, device in operators.calls if device and name in MOVES])
    first, second = calls
    assert set(first) == MOVES  # noise is drawn by the host and moved
    assert second == []


def test_frames_share_the_noise_that_was_drawn_once(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = []
    real = TokenNoise.__call__

    def counted(noise: TokenNoise, draw: int) -> Tensor:
        draws.append((noise.seed, noise.sample, draw))
        return real(noise, draw)

    monkeypatch.setattr(TokenNoise, "__call__", counted)
    stages = Stages(tiny_model, torch.device("cpu"))
    options = SamplingOptions(steps=2, samples=2)
    with torch.inference_mode():
        for _ in range(2):
            stages.run(image_of(tiny_model, "cpu"), options)
        assert draws == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
        stages.run(image_of(tiny_model, "cpu"), replace(options, seed=1, samples=1))
    assert draws[4:] == [(1, 0, 0), (1, 0, 1)]
