# SPDX-License-Identifier: Apache-2.0
"""Which ways to sample an evaluation tries: all combinations but those that repeat another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from camseg_core.diffusion.options import Decoder, SamplingOptions


def combinations(
    base: SamplingOptions, values: Mapping[str, Sequence[Any]]
) -> list[SamplingOptions]:
    """Combine the values of some options, the first one most slowly.

    Args:
        base: options whose other values hold for all.
        values: name of an option -> its values.

    Raises:
        CamsegError: a value out of its range.
    """
    return [
        replace(base, **dict(zip(values, chosen, strict=True)))
        for chosen in product(*values.values())
    ]


def without_repeats(
    choices: Iterable[SamplingOptions], *, has_mask_decoder: bool
) -> list[SamplingOptions]:
    """Keep the first of all options that compute the same with a model; see `simplest`."""
    first: dict[SamplingOptions, SamplingOptions] = {}
    for options in choices:
        first.setdefault(simplest(options, has_mask_decoder=has_mask_decoder), options)
    return list(first.values())


def by_steps(choices: Iterable[SamplingOptions]) -> dict[SamplingOptions, tuple[int, ...]]:
    """Sort options into runs: options with their first number of steps -> all numbers of steps."""
    steps: dict[SamplingOptions, list[int]] = {}
    for options in choices:
        steps.setdefault(replace(options, steps=1), []).append(options.steps)
    return {replace(options, steps=counts[0]): tuple(counts) for options, counts in steps.items()}


def simplest(options: SamplingOptions, *, has_mask_decoder: bool) -> SamplingOptions:
    """Return the one representative of all options that compute the same with a model.

    - One step is the network's guess of x0 in every sampler: the mean of ddpm's last step is x0
      itself, DDIM has no noise left to add, DPM-Solver++ ends with it.
    - DPM-Solver++ is of first order, which is DDIM (Lu et al. 2022, section 4), but for the steps
      between its first and its last two: it has none below four.
    - Only ddpm reads the temperature.
    - Without noise all samples are alike.
    - The decoder ``auto`` is the mask decoder where the model has one.
    """
    if options.steps == 1 or (options.sampler == "dpm-solver++" and options.steps < 4):
        options = replace(options, sampler="ddim")
    if options.sampler != "ddpm":
        options = replace(options, temperature=1.0)
    adds_noise = options.sampler == "ddpm" and options.temperature > 0.0
    if options.initial_noise_scale == 0.0 and not adds_noise:
        options = replace(options, samples=1)
    if options.decoder == "auto":
        decoder: Decoder = "mask" if has_mask_decoder else "palette"
        options = replace(options, decoder=decoder)
    return options
