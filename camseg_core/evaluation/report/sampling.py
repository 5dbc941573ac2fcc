# SPDX-License-Identifier: Apache-2.0
"""The report's comparison of ways to sample, and all of the report's numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from camseg_core.evaluation.latent_scores import LatentScores
from camseg_core.evaluation.metrics.published import Protocol
from camseg_core.evaluation.report.numbers import Row, RunNumbers


@dataclass(frozen=True)
class SamplingChoice:
    """Weights with one way to sample: ``settings`` are the options in which the choices differ."""

    weights: str
    settings: str
    row: Row


@dataclass(frozen=True)
class SamplingTable:
    """The ways to sample that were tried on one part of a data set.

    Attributes:
        title, dataset, split, protocol, part: what was scored.
        score_name: name of the protocol's one number.
        budget_ms: median time of an image that the best choice must keep; None for any.
        choices: every choice.
        default: index of the weights' default sampling; None if it was not tried, or by several
            weights.
        best: index of the choice with the best score within the budget; None if there is none.
        fastest: index of the fastest choice.
    """

    title: str
    dataset: str
    split: str
    protocol: Protocol
    part: str
    score_name: str
    budget_ms: float | None
    choices: tuple[SamplingChoice, ...]
    default: int | None
    best: int | None
    fastest: int


def sampling_tables(
    runs: Sequence[RunNumbers], budget_ms: float | None = None
) -> tuple[SamplingTable, ...]:
    """Compare the ways to sample that were tried on the same data by the same protocol.

    Only choices with all images compete for the best and the fastest. Of equal scores the faster
    one wins. A table has two choices or more.
    """
    found: dict[tuple[str, str, Protocol, str], list[tuple[RunNumbers, Row]]] = {}
    for run in runs:
        whole: dict[tuple[str, int], Row] = {}
        for row in run.rows:  # the first of a part and number of steps is that of all conditions
            whole.setdefault((row.part, row.steps), row)
        for row in whole.values():
            key = (run.title, run.images_sha256, run.protocol, row.part)
            found.setdefault(key, []).append((run, row))
    return tuple(_sampling_table(tried, budget_ms) for tried in found.values() if tried[1:])


def _sampling_table(
    tried: Sequence[tuple[RunNumbers, Row]], budget_ms: float | None
) -> SamplingTable:
    first, row = tried[0]
    options = {name: None for run, _ in tried for name in run.sampling}
    differing = [name for name in options if len({str(r.sampling.get(name)) for r, _ in tried}) > 1]
    choices = tuple(
        SamplingChoice(
            weights=", ".join(run.weights) or run.model,
            settings=", ".join(
                f"{name.replace('_', ' ')} {run.sampling.get(name)}" for name in differing
            ),
            row=row,
        )
        for run, row in tried
    )
    images = max(row.images for _, row in tried)
    times = {
        index: row.median_milliseconds_per_image
        for index, (_, row) in enumerate(tried)
        if row.images == images
    }
    in_time = [
        (score, -time, -index)
        for index, time in times.items()
        if (score := tried[index][1].score) is not None and (budget_ms is None or time <= budget_ms)
    ]
    defaults = [n for n, (run, row) in enumerate(tried) if row.steps == run.default_steps]
    return SamplingTable(
        title=first.title,
        dataset=first.dataset,
        split=first.split,
        protocol=first.protocol,
        part=row.part,
        score_name=first.score_name,
        budget_ms=budget_ms,
        choices=choices,
        default=defaults[0] if len(defaults) == 1 else None,
        best=-max(in_time)[-1] if in_time else None,
        fastest=min(times, key=times.__getitem__),
    )


def numbers_to_json(
    runs: Sequence[RunNumbers],
    tables: Sequence[SamplingTable],
    latents: Sequence[LatentScores] = (),
) -> bytes:
    """Return numbers as JSON, undefined values as null.

    ``{"runs": [...], "sampling": [...], "latent": [...]}``.
    """
    content = {
        name: [asdict(one) for one in entries]
        for name, entries in (("runs", runs), ("sampling", tables), ("latent", latents))
    }
    return json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"
