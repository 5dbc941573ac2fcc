# SPDX-License-Identifier: Apache-2.0
"""``camseg evaluate`` and ``camseg report``: scores on labelled data, and a page of them."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camseg_core.commands.options import (
    MERGE_HELP,
    WEIGHTS_HELP,
    add_backend_options,
    add_dataset_options,
    add_published_options,
    add_sampling_options,
    add_spread_option,
    add_threads_option,
    backend_options,
    check_count,
    check_threads,
    chosen_label_set,
    given_options,
    list_of,
    open_chosen_dataset,
    variant,
)
from camseg_core.data.class_merges import find_merge
from camseg_core.diffusion.options import (
    DEFAULT_PROFILE,
    V_PROFILES,
    Profiles,
    SamplingOptions,
    find_profile,
)
from camseg_core.errors import CamsegError, message_of

if TYPE_CHECKING:
    from camseg_core.evaluation.evaluate import Candidate, Plan
    from camseg_core.segmenter import Segmenter

PUBLISHED_STEPS = 100
"""Steps of the published protocol."""


def add_commands(commands: Any) -> None:
    """Add ``evaluate`` and ``report`` to the subparsers ``commands``."""
    evaluate = commands.add_parser(
        "evaluate",
        help="score weights on a labelled data set",
        description="Write one JSON line per image, corruption and number of steps. A second call "
        "with the same options goes on where the first one was stopped. Options of sampling take "
        "lists such as 1,4,16: every image is segmented in each way, and `camseg report` compares "
        "them. Several processes: torchrun --nproc-per-node N -m camseg_core.cli evaluate ...",
    )
    evaluate.set_defaults(command=_evaluate)
    evaluate.add_argument(
        "--weights",
        nargs="+",
        required=True,
        metavar="[NAME=]WEIGHTS",
        help=f"one or more; NAME stands in the report, WEIGHTS is {WEIGHTS_HELP}",
    )
    data = evaluate.add_argument_group("data")
    add_dataset_options(data)
    add_spread_option(data)
    data.add_argument(
        "--suite",
        choices=["paper"],
        help="instead of --dataset: the four published data sets below --root, and the eight "
        "corruptions on Cityscapes, by the published protocol",
    )
    data.add_argument(
        "--merge",
        help="score on the data set's own classes, into which predicted ones are merged: "
        f"{MERGE_HELP}",
    )
    how = evaluate.add_argument_group("how")
    how.add_argument("--protocol", choices=["official", "published"], default="official")
    how.add_argument(
        "--steps",
        metavar="STEPS",
        type=list_of(int),
        default=argparse.SUPPRESS,
        help="one or more, e.g. 1,4,16; without, the profile's, or "
        f"{PUBLISHED_STEPS} for published",
    )
    how.add_argument(
        "--corruption",
        default="none",
        help="none, all (the published eight), weather, or a list such as gaussian_noise,fog:3",
    )
    add_sampling_options(how, several=True)
    add_backend_options(how)
    add_threads_option(how)
    add_published_options(how)
    evaluate.add_argument("--out", type=Path, required=True, help="folder of runs")

    report = commands.add_parser(
        "report",
        help="make one self-contained HTML page of evaluations",
    )
    report.set_defaults(command=_report)
    report.add_argument("folder", type=Path, help="what `camseg evaluate --out` got")
    report.add_argument("--out", type=Path, help="the page; FOLDER/report.html without")
    report.add_argument(
        "--budget-ms", type=float, help="time of an image that the best way to sample must keep"
    )


def _evaluate(parsed: argparse.Namespace) -> int:
    import torch

    from camseg_core.evaluation.evaluate import Shard, evaluate
    from camseg_core.evaluation.summary import headline_lines, summarize
    from camseg_core.segmenter import Segmenter
    from camseg_core.system.devices import find_device
    from camseg_core.system.processes import ProcessRank, process_group
    from camseg_core.weights.loading import load_model

    process = ProcessRank.from_environment()
    check_threads(parsed.threads)
    check_count("--spread", parsed.spread)
    device = process.device(parsed.device)
    find_device(device)
    _choices(parsed, V_PROFILES)  # what is wrong is said before weights are loaded
    if _is_published(parsed) and "profile" in parsed:
        raise CamsegError(
            f"--profile {parsed.profile}: the published protocol samples as it was published; "
            "leave --profile out"
        )
    named = [_split_name(text) for text in parsed.weights]
    plans = _plans(parsed)
    torch.set_num_threads(parsed.threads)
    candidates: list[Candidate] = []
    for name, weights in named:
        loaded = load_model(weights, num_heads=parsed.heads, variant=variant(parsed))
        if loaded.is_random and process.is_first:
            print("camseg: the weights are RANDOM, the scores mean nothing", file=sys.stderr)
        for plan in plans if process.is_first else ():
            if plan.merge is not None:
                for note in plan.merge.notes(loaded.label_set, plan.dataset.label_set):
                    print(f"camseg: note: {message_of(note)}", file=sys.stderr)
        candidates += _candidates(
            parsed, name, Segmenter(loaded, device, **backend_options(parsed))
        )
    shard = Shard(process.rank, process.world_size)
    with process_group(process):
        folders = [
            folder for plan in plans for folder in evaluate(candidates, plan, parsed.out, shard)
        ]
    if process.is_first:
        for folder in folders:
            for line in headline_lines(summarize(folder)):
                print(line)
    return 0


def _split_name(text: str) -> tuple[str, str]:
    """Read ``NAME=WEIGHTS``; the name is empty without one. A name has no ``/``."""
    name, separator, weights = text.partition("=")
    if not separator or "/" in name:
        return "", text
    if not (name.strip() and weights):
        raise CamsegError(f"--weights {text!r}: NAME=WEIGHTS is needed, neither part empty")
    return name, weights


def _is_published(parsed: argparse.Namespace) -> bool:
    return parsed.protocol == "published" or parsed.suite is not None


def _choices(parsed: argparse.Namespace, profiles: Profiles) -> list[SamplingOptions]:
    """Return every way to sample that was asked for."""
    from camseg_core.evaluation.grid import combinations

    if _is_published(parsed):
        base = SamplingOptions(steps=PUBLISHED_STEPS, sample_image_latent=True)
    else:
        base = find_profile(profiles, getattr(parsed, "profile", DEFAULT_PROFILE))
    return combinations(base, given_options(parsed))


def _candidates(parsed: argparse.Namespace, name: str, segmenter: Segmenter) -> list[Candidate]:
    """Return the ways to sample with some weights, without those that the model cannot do."""
    from camseg_core.evaluation.evaluate import Candidate
    from camseg_core.evaluation.grid import by_steps, without_repeats

    loaded = segmenter.loaded
    has_mask_decoder = loaded.config.mask_decoder is not None
    choices = _choices(parsed, loaded.profiles)
    possible = [one for one in choices if one.decoder != "mask" or has_mask_decoder]
    distinct = without_repeats(possible or choices, has_mask_decoder=has_mask_decoder)
    return [
        Candidate(segmenter, steps, options, name) for options, steps in by_steps(distinct).items()
    ]


def _plans(parsed: argparse.Namespace) -> list[Plan]:
    """Open the data, and put together what is to be done with it."""
    from camseg_core.data.datasets import NOISE_STUDY_DATASET, PAPER_DATASETS, open_paper_suite
    from camseg_core.evaluation.corruptions import select_corruptions
    from camseg_core.evaluation.evaluate import Plan

    chosen = select_corruptions(parsed.corruption)
    merge = find_merge(parsed.merge) if parsed.merge else None
    if parsed.suite is not None:
        opened = open_paper_suite(parsed.root, chosen_label_set(parsed))
        datasets = dict(zip(PAPER_DATASETS, opened, strict=True))
    elif parsed.dataset is not None:
        datasets = {parsed.dataset: open_chosen_dataset(parsed)}
    else:
        raise CamsegError("--dataset or --suite is needed; `camseg data check --help` names them")
    return [
        Plan(
            dataset=dataset,
            protocol="published" if _is_published(parsed) else "official",
            corruptions=select_corruptions("all")
            if parsed.suite is not None and name == NOISE_STUDY_DATASET
            else chosen,
            max_images=parsed.spread,
            merge=merge,
        )
        for name, dataset in datasets.items()
    ]


def _report(parsed: argparse.Namespace) -> int:
    from camseg_core.evaluation.report.report import write_report

    budget = parsed.budget_ms
    if budget is not None and not (math.isfinite(budget) and budget > 0.0):
        raise CamsegError(f"--budget-ms is {budget}; a number above 0 is needed")
    out = parsed.out or parsed.folder / "report.html"
    print(write_report(parsed.folder, out, budget))
    return 0
