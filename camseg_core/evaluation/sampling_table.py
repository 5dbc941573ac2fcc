# SPDX-License-Identifier: Apache-2.0
"""The results of a sampling benchmark as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from camseg_core.diffusion.options import Decoder, SamplingOptions
from camseg_core.evaluation.report.page import moment, number, percent
from camseg_core.evaluation.sampling_grid import simplest
from camseg_core.evaluation.sampling_results import (
    TOLERANCE_POINTS,
    Entry,
    SamplingResults,
    WeightsFacts,
)


def markdown(results: SamplingResults, figure: str) -> str:
    """Write the page.

    Args:
        results: what was measured.
        figure: the figure's file name, relative to the page.
    """
    blocks = [
        ["# Accuracy against steps, samplers, decoders and samples"],
        _conditions(results),
        ["## What to choose"],
        answer_lines(results),
        _defaults(results),
        ["## Mean IoU against steps"],
        *_steps_tables(results),
        [f"![Mean IoU against time]({figure})"],
        *_samples_table(results),
        ["## All entries"],
        _all_entries(results),
        ["## Notes"],
        list(_notes(results)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def describe(options: SamplingOptions) -> str:
    """Say how is sampled, e.g. ``mask decoder, ddim, 1 step, zero noise``."""
    words = [
        f"{options.decoder} decoder",
        sampler_name(options),
        f"{options.steps} {'step' if options.steps == 1 else 'steps'}",
        *([_noise(options.initial_noise_scale)] if options.initial_noise_scale != 1.0 else []),
        *([f"{options.samples} samples"] if options.samples > 1 else []),
        options.precision,
    ]
    return ", ".join(words)


def sampler_name(options: SamplingOptions) -> str:
    """Name the sampler, with its temperature where that is not 1; with one step it is any."""
    if options.steps == 1:
        return "any sampler"
    if options.sampler == "ddpm" and options.temperature != 1.0:
        return f"ddpm at temperature {options.temperature:g}"
    return options.sampler


def _conditions(results: SamplingResults) -> list[str]:
    started = " to ".join(moment(text) for text in results.started)
    lines = [
        f"`{results.command}`",
        "",
        f"{results.dataset} {results.split}, {results.images} images, official protocol. "
        f"{'; '.join(results.machines)}. {', '.join(results.libraries)}. {started}.",
        "",
        *_table(
            ("weights", "file", "sha256", "model", "image features in the decoder", "predicts"),
            (
                (
                    facts.name,
                    facts.file,
                    "random" if facts.sha256 is None else facts.sha256[:12],
                    facts.model,
                    _features(facts),
                    facts.prediction,
                )
                for facts in results.weights
            ),
        ),
    ]
    if any(facts.is_random for facts in results.weights):
        lines += ["", "Some weights are RANDOM: their scores mean nothing."]
    return lines


def answer_lines(results: SamplingResults) -> list[str]:
    """Say which entry is the best in time."""
    best = results.best()
    if best is None:
        return [
            f"No entry with all {results.images} images takes {results.budget_ms:g} ms or less."
        ]
    return [
        f"Best within {results.budget_ms:g} ms an image: `{best.weights}`, "
        f"{describe(best.options)}: mIoU {percent(best.mean_iou)} %, {best.milliseconds:.1f} ms."
    ]


def _defaults(results: SamplingResults) -> list[str]:
    def row(facts: WeightsFacts) -> tuple[str, ...]:
        default, own_best = results.default(facts.name), results.best(facts.name)
        behind = results.points_behind(default, results.best())
        return (
            facts.name,
            describe(default.options),
            percent(default.mean_iou) if default.row.images == results.images else "–",
            f"{default.milliseconds:.1f}",
            "yes" if default.milliseconds <= results.budget_ms else "NO",
            number(behind, 2),
            number(results.points_behind(default, own_best), 2),
            # As it is printed: 0.50 is within.
            "–" if behind is None else ("yes" if round(behind, 2) <= TOLERANCE_POINTS else "NO"),
        )

    return list(
        _table(
            (
                "weights", "default", "mIoU %", "ms", "in time", "points behind the best",
                "behind the best of the same weights", f"within {TOLERANCE_POINTS:g} points",
            ),
            map(row, results.weights),
        )
    )  # fmt: skip


def _steps_tables(results: SamplingResults) -> Iterator[list[str]]:
    """Return one table on all images, and one on those of the palette where these are fewer."""
    all_images = results.common_images == results.images
    if not all_images:
        yield [f"On all {results.images} images:", "", *_steps_table(results, False)]
    which = "all" if all_images else "the palette's"
    yield [f"On {which} {results.common_images} images:", "", *_steps_table(results, True)]


def _steps_table(results: SamplingResults, common: bool) -> Iterator[str]:
    """Draw the table; ``common``: on the images that every entry has."""

    def cell(entry: Entry | None) -> str:
        if entry is None:
            return ""
        return percent(entry.common_mean_iou if common else entry.mean_iou)

    rows = [
        (facts.name, _features(facts), decoder, label, *map(cell, cells))
        for facts in results.weights
        for label, decoder, cells in steps_lines(results, facts)
        if common or all(one is None or one.row.images == results.images for one in cells)
    ]
    steps = [f"{count} steps" if count > 1 else "1 step" for count in results.sweep.steps]
    yield from _table(("weights", "image features", "decoder", "sampler", *steps), rows)


def steps_lines(
    results: SamplingResults, facts: WeightsFacts
) -> Iterator[tuple[str, Decoder, list[Entry | None]]]:
    """Return label, decoder and one entry per number of steps of each line of the table.

    Ways to sample that compute the same share their entry.
    """
    sweep = results.sweep
    for decoder in sweep.decoders:
        if decoder in facts.left_out:
            continue
        shown: list[set[Entry]] = []
        for scale in sweep.initial_noise_scales:
            for sampler, temperature in sweep.lines():
                line = [
                    replace(options, initial_noise_scale=scale)
                    for options in sweep.line(sampler, temperature, decoder)
                ]
                cells = [results.find(facts.name, simplest(options)) for options in line]
                found = {entry for entry in cells if entry is not None}
                if any(found <= other for other in shown) or not found:
                    continue
                shown.append(found)
                # Named by its largest number of steps: with one all samplers are the same.
                options = line[max(place for place, one in enumerate(cells) if one is not None)]
                words = [sampler_name(options), *([_noise(scale)] if scale != 1.0 else [])]
                yield ", ".join(words), decoder, cells


def _samples_table(results: SamplingResults) -> Iterator[list[str]]:
    """Compare numbers of samples, where several were tried."""
    tried = {_alone(entry) for entry in results.entries if entry.options.samples > 1}
    entries = sorted(
        (entry for entry in results.entries if _alone(entry) in tried),
        key=lambda entry: entry.options.samples,
    )
    groups: dict[tuple[str, SamplingOptions], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_alone(entry), []).append(entry)
    if not groups:
        return
    yield ["## Several samples: calibration and risk against coverage"]
    yield list(
        _table(
            ("weights", "decoder", "sampler", "steps", "samples", *_FIGURES),
            (
                (
                    entry.weights,
                    entry.options.decoder,
                    sampler_name(entry.options),
                    str(entry.options.steps),
                    str(entry.options.samples),
                    *_figures(entry),
                )
                for group in groups.values()
                for entry in group
            ),
        )
    )


def _alone(entry: Entry) -> tuple[str, SamplingOptions]:
    return entry.weights, replace(entry.options, samples=1)


_FIGURES = (
    "images", "mIoU %", "pixel accuracy %", "ECE", "ECE, temperature fitted", "temperature",
    "AURC", "ms",
)  # fmt: skip


def _figures(entry: Entry) -> tuple[str, ...]:
    row = entry.row
    return (
        str(row.images),
        percent(entry.mean_iou),
        percent(row.pixel_accuracy),
        number(row.expected_calibration_error),
        number(row.scaled_calibration_error),
        number(row.scaled_temperature, 2),
        number(row.risk_coverage_area, 4),
        f"{entry.milliseconds:.1f}",
    )


def _all_entries(results: SamplingResults) -> list[str]:
    several = results.common_images != results.images
    shared = (f"mIoU %, {results.common_images} images",) if several else ()

    def row(entry: Entry) -> Sequence[str]:
        options = entry.options
        return (
            entry.weights,
            options.decoder,
            sampler_name(options),
            str(options.steps),
            f"{options.initial_noise_scale:g}",
            str(options.samples),
            options.precision,
            *_figures(entry),
            *((percent(entry.common_mean_iou),) if several else ()),
            "default" if entry.is_default else "",
        )

    header = (
        "weights", "decoder", "sampler", "steps", "noise", "samples", "precision", *_FIGURES,
        *shared, "",
    )  # fmt: skip
    return list(_table(header, map(row, results.entries)))


def _notes(results: SamplingResults) -> Iterator[str]:
    yield (
        "- ms: median over the images of the wall time of all stages of one image, in the run "
        "that gave the scores; the first call of each kind is not counted."
    )
    yield (
        "- ECE: expected calibration error of the largest probability, 15 bins; the temperature is "
        "fitted on half of the sequences, and the error after it is that of the other half. "
        "AURC: area under the risk-coverage curve. Less is better."
    )
    yield (
        "- What computes the same is run once: with one step all samplers; DPM-Solver++ below "
        "four steps and DDIM."
    )
    if results.common_images != results.images:
        yield (
            f"- Palette entries have {results.common_images} of the {results.images} images; they "
            "do not compete for the best entry, and their scores are comparable with those of "
            "the same images only."
        )
    if len(results.machines) > 1:
        yield "- Times are of different machines or settings: compare them with care."
    if not all(entry.row.scaled_temperature for entry in results.entries):
        yield "- Where no temperature stands, nothing can be held out of a single sequence."
    for facts in results.weights:
        for decoder in facts.left_out:
            yield f"- `{facts.name}` has no {decoder} decoder: left out."
        if facts.prediction == "epsilon" and 1 in results.sweep.steps:
            yield (
                f"- `{facts.name}` predicts epsilon: at the noisiest step an error of it grows "
                "20000 times in x0, so that one step is bad by construction."
            )


def _features(facts: WeightsFacts) -> str:
    return {None: "–", True: "yes", False: "no"}[facts.image_features]


def _noise(scale: float) -> str:
    return "zero noise" if scale == 0.0 else f"noise x {scale:g}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Draw a table; a bar in a cell would end it."""
    for cells in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
