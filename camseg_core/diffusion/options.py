# SPDX-License-Identifier: Apache-2.0
"""How to sample: what a caller chooses per image.

Importing it imports nothing but the standard library, which ROS' own Python reads launch
files with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from camseg_core.errors import CamsegError
from camseg_core.models.configs import TRAIN_TIMESTEPS, Prediction

SamplerName = Literal["ddpm", "ddim", "dpm-solver++"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
"""Names of samplers; `camseg_core.diffusion.samplers` has the function of each."""

Decoder = Literal["auto", "mask", "palette"]
Precision = Literal["float32", "bfloat16"]
MAX_SAMPLES = 64


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample, per call.

    Attributes:
        steps: diffusion steps, 1 to 1000.
        sampler: one of `SAMPLERS`.
        temperature: scales ddpm's step noise; 0 follows the means.
        seed: seed of the noise, 0 or more; the noise is a function of seed and token.
        rounds: generation rounds of the transformer; 1 is the published path.
        initial_noise_scale: scales x at the noisiest step; 0 starts from zero noise.
        samples: class probabilities are the mean over this many noises.
        decoder: ``mask`` reads classes from the mask decoder, ``palette`` from the decoded colours;
            ``auto`` takes the mask decoder where the model has one.
        precision: precision of the networks; the sampler's arithmetic is always float32, and so is
            epsilon at the noisiest timesteps.
        sample_image_latent: draw the image's latent from its posterior, as the published protocol
            does, instead of taking the mean.

    Raises:
        CamsegError: a value out of its range.
    """

    steps: int = 10
    sampler: str = "ddpm"
    temperature: float = 1.0
    seed: int = 0
    rounds: int = 1
    initial_noise_scale: float = 1.0
    sample_image_latent: bool = False
    samples: int = 1
    decoder: Decoder = "auto"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        """Check every range, so that a bad value is refused before any work."""
        check_sampler(self.sampler)
        for name, lowest, highest in (("steps", 1, TRAIN_TIMESTEPS), ("seed", 0, 2**63 - 1)):
            _require_whole(name, getattr(self, name), lowest, highest)
        _require_whole("rounds", self.rounds, 1, 2**31)
        _require_whole("samples", self.samples, 1, MAX_SAMPLES)
        for name, choices in (("decoder", get_args(Decoder)), ("precision", get_args(Precision))):
            if getattr(self, name) not in choices:
                raise CamsegError(
                    f"unknown {name} {getattr(self, name)!r}; one of {', '.join(choices)}"
                )
        for name in ("temperature", "initial_noise_scale"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise CamsegError(f"{name} is {value!r}; a finite number of at least 0 is needed")


def check_sampler(name: str) -> None:
    """Raise an error that lists the samplers if none is called ``name``.

    Raises:
        CamsegError: there is no such sampler.
    """
    if name not in SAMPLERS:
        raise CamsegError(f"unknown sampler {name!r}; the samplers are {', '.join(SAMPLERS)}")


def _require_whole(name: str, value: object, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise CamsegError(
            f"{name} is {value!r}; a whole number from {lowest} to {highest} is needed"
        )


PROFILE_NAMES = ("accurate", "balanced", "fast")
DEFAULT_PROFILE = "balanced"

Profiles = Mapping[str, SamplingOptions]
"""Options by profile name; all of `PROFILE_NAMES`."""

EPSILON_PROFILES: Profiles = {
    "accurate": SamplingOptions(steps=100, sampler="ddpm"),
    "balanced": SamplingOptions(steps=10, sampler="ddpm", precision="bfloat16"),
    "fast": SamplingOptions(steps=4, sampler="ddpm", precision="bfloat16"),
}
"""Profiles of the published weights: ``accurate`` is as published; no other was measured."""

V_PROFILES: Profiles = {
    "accurate": SamplingOptions(steps=16, sampler="ddim"),
    "balanced": SamplingOptions(steps=4, sampler="ddim", precision="bfloat16"),
    "fast": SamplingOptions(steps=1, sampler="ddim", precision="bfloat16"),
}
"""Profiles of weights that predict v and were trained on the diffusion loss."""

ONE_STEP = SamplingOptions(steps=1, sampler="ddim", initial_noise_scale=0.0, precision="bfloat16")
ONE_STEP_PROFILES: Profiles = {
    "accurate": replace(ONE_STEP, initial_noise_scale=1.0, samples=8),
    "balanced": ONE_STEP,
    "fast": ONE_STEP,
}
"""Profiles of weights that were fine-tuned for one step from zero noise. ``accurate`` is better
calibrated, and in nothing else better, at three times the price (docs/sampling.md)."""


def default_profiles(prediction: Prediction) -> Profiles:
    """Return the profiles of weights that state none."""
    return EPSILON_PROFILES if prediction == "epsilon" else V_PROFILES


def find_profile(profiles: Profiles, name: str) -> SamplingOptions:
    """Return the options of the profile called ``name``.

    Raises:
        CamsegError: there is no such profile.
    """
    if name not in profiles:
        raise CamsegError(f"unknown profile {name!r}; one of {', '.join(profiles)}")
    return profiles[name]


def profiles_to_dict(profiles: Profiles) -> dict[str, dict[str, Any]]:
    """Return plain data for a file; `profiles_from_dict` reads it back."""
    return {name: asdict(options) for name, options in profiles.items()}


def profiles_from_dict(content: object, source: str) -> Profiles:
    """Read profiles from plain data; what a profile leaves out has its default.

    Args:
        content: Options by profile name, as in a weights file or a training recipe.
        source: Where it comes from, for messages.

    Raises:
        CamsegError: A profile is missing or unknown, or an option is unknown or out of its range.
    """
    from camseg_core.system.validation import parse  # it needs pydantic, see above

    profiles = parse(dict[str, SamplingOptions], content, source)
    if sorted(profiles) != sorted(PROFILE_NAMES):
        raise CamsegError(
            f"{source}: profiles are {', '.join(profiles) or 'none'}; "
            f"{', '.join(PROFILE_NAMES)} are needed"
        )
    return {name: profiles[name] for name in PROFILE_NAMES}
