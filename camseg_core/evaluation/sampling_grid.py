# SPDX-License-Identifier: Apache-2.0
"""Which ways to sample a benchmark tries: a grid, without those that only repeat another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from camseg_core.diffusion.options import (
    DEFAULT_PROFILE,
    SAMPLERS,
    V_PROFILES,
    Decoder,
    Precision,
    SamplingOptions,
    find_profile,
)
from camseg_core.errors import CamsegError
from camseg_core.weights.loading import LoadedModel

DECODERS: tuple[Decoder, ...] = ("mask", "palette")


@dataclass(frozen=True)
class Sweep:
    """The values to try. Of each tuple the first one is the plain case.

    Attributes:
        steps: numbers of diffusion steps; all samplers, temperatures and decoders take them.
        samplers: names of samplers.
        decoders: ``mask``, ``palette``; what a model lacks is left out.
        temperatures: of ddpm's step noise.
        initial_noise_scales: those after the first are tried with ``noise_scale_steps`` only.
        noise_scale_steps: see there.
        samples: those after the first are tried with ``samples_steps`` and one decoder only.
        samples_steps: see there.
        precision: of all but the weights' own default.
        profile: the weights' profile that counts as their default; it is always tried.
    """

    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 100)
    samplers: tuple[str, ...] = SAMPLERS
    decoders: tuple[Decoder, ...] = DECODERS
    temperatures: tuple[float, ...] = (1.0, 0.0)
    initial_noise_scales: tuple[float, ...] = (1.0, 0.0)
    noise_scale_steps: tuple[int, ...] = (1,)
    samples: tuple[int, ...] = (1, 4, 8)
    samples_steps: tuple[int, ...] = (1, 4)
    precision: Precision = "float32"
    profile: str = DEFAULT_PROFILE

    def __post_init__(self) -> None:
        """Check every value, so that a bad one is refused before any work."""
        for name, values in vars(self).items():
            if isinstance(values, tuple) and not values:
                raise CamsegError(f"{name} of a benchmark is empty; one or more are needed")
        for decoder in self.decoders:
            if decoder not in DECODERS:
                raise CamsegError(f"unknown decoder {decoder!r}; one of {', '.join(DECODERS)}")
        find_profile(V_PROFILES, self.profile)  # all models have profiles of the same names
        for _ in self._options(self.decoders):
            pass  # made, and so checked

    def line(self, sampler: str, temperature: float, decoder: Decoder) -> list[SamplingOptions]:
        """Return one line of the table of steps: the plain case with each number of steps."""
        base = SamplingOptions(
            sampler=sampler,
            temperature=temperature,
            decoder=decoder,
            precision=self.precision,
            initial_noise_scale=self.initial_noise_scales[0],
            samples=self.samples[0],
        )
        return [replace(base, steps=steps) for steps in self.steps]

    def lines(self) -> list[tuple[str, float]]:
        """List samplers with their temperatures; only ddpm has several."""
        return [
            (name, temperature)
            for name in self.samplers
            for temperature in (self.temperatures if name == "ddpm" else (1.0,))
        ]

    def _options(self, decoders: tuple[Decoder, ...]) -> Iterator[SamplingOptions]:
        for decoder, (sampler, temperature) in product(decoders, self.lines()):
            line = self.line(sampler, temperature, decoder)
            yield from line
            for scale, steps in product(self.initial_noise_scales[1:], self.noise_scale_steps):
                yield replace(line[0], steps=steps, initial_noise_scale=scale)
            # Averaging says how sure a model is, whatever reads its latents: one decoder will do,
            # and with the slow one it would take hours.
            if decoder == decoders[0] and len(self.samples) > 1:
                for samples, steps in product(self.samples, self.samples_steps):
                    yield replace(line[0], steps=steps, samples=samples)

    def choices(self, loaded: LoadedModel) -> list[SamplingOptions]:
        """List what to try with a model, each once, its default among them; see `simplest`.

        Raises:
            CamsegError: the model has none of the decoders.
        """
        decoders = self.possible_decoders(loaded)
        if not decoders:
            raise CamsegError(
                f"{loaded.source} has no mask decoder and no other one is asked for; add palette "
                "to the decoders"
            )
        everything = [*self._options(decoders), self.default(loaded)]
        return list(dict.fromkeys(simplest(options) for options in everything))

    def possible_decoders(self, loaded: LoadedModel) -> tuple[Decoder, ...]:
        """List those of the decoders that a model has."""
        has_mask_decoder = loaded.config.mask_decoder is not None
        return tuple(name for name in self.decoders if name != "mask" or has_mask_decoder)

    def default(self, loaded: LoadedModel) -> SamplingOptions:
        """Return the options of a model's default profile, ``auto`` replaced by what it means.

        Raises:
            CamsegError: there is no such profile.
        """
        options = find_profile(loaded.profiles, self.profile)
        if options.decoder == "auto":
            decoder: Decoder = "palette" if loaded.config.mask_decoder is None else "mask"
            options = replace(options, decoder=decoder)
        return simplest(options)


def simplest(options: SamplingOptions) -> SamplingOptions:
    """Return the one representative of all options that compute the same.

    - One step is the network's guess of x0 in every sampler: the mean of ddpm's last step is x0
      itself, DDIM has no noise left to add, DPM-Solver++ ends with it.
    - DPM-Solver++ is of first order, which is DDIM (Lu et al. 2022, section 4), but for the steps
      between its first and its last two: it has none below four.
    - Only ddpm reads the temperature.
    - Without noise all samples are alike.
    """
    if options.steps == 1 or (options.sampler == "dpm-solver++" and options.steps < 4):
        options = replace(options, sampler="ddim")
    if options.sampler != "ddpm":
        options = replace(options, temperature=1.0)
    adds_noise = options.sampler == "ddpm" and options.temperature > 0.0
    if options.initial_noise_scale == 0.0 and not adds_noise:
        options = replace(options, samples=1)
    return options
