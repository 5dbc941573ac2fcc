# SPDX-License-Identifier: Apache-2.0
"""``camseg evaluate`` and ``camseg report``: scores on labelled data, and a page of them."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camseg_core.commands.options import (
    WEIGHTS_HELP,
    add_dataset_options,
    add_published_options,
    add_sampling_options,
    check_sampling_options,
    check_threads,
    chosen_label_set,
    open_chosen_dataset,
    profile_options,
    sampling_options,
    variant,
)
from camseg_core.errors import CamsegError

if TYPE_CHECKING:
    from camseg_core.data.sample import Dataset
    from camseg_core.diffusion.options import Profiles
    from camseg_core.evaluation.evaluate import Plan

PUBLISHED_STEPS = 100
"""Of the published protocol."""


def add_commands(commands: Any) -> None:
    """Add ``evaluate`` and ``report`` to the subparsers ``commands``."""
    evaluate = commands.add_parser(
        "evaluate",
        help="score weights on a labelled data set",
        description="Write one JSON line per image, corruption and number of steps. A second call "
        "with the same options goes on where the first one was stopped. Several processes: "
        "torchrun --nproc-per-node N -m camseg_core.cli evaluate ...",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    evaluate.set_defaults(command=_evaluate)
    evaluate.add_argument("--weights", required=True, help=WEIGHTS_HELP)
    data = evaluate.add_argument_group("data")
    add_dataset_options(data)
    data.add_argument(
        "--suite",
        choices=["paper"],
        help="instead of --dataset: the four published data sets below --root, and the eight "
        "corruptions on Cityscapes, by the published protocol",
    )
    how = evaluate.add_argument_group("how")
    how.add_argument("--protocol", choices=["official", "published"], default="official")
    how.add_argument(
        "--steps",
        dest="step_counts",
        metavar="STEPS",
        type=_numbers,
        help="one or more, e.g. 1,4,16; without, the profile's, or "
        f"{PUBLISHED_STEPS} for published",
    )
    how.add_argument(
        "--corruption",
        default="none",
        help="none, all (the published eight), weather, or a list such as gaussian_noise,fog:3",
    )
    add_sampling_options(how)
    how.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    how.add_argument(
        "--threads",
        type=int,
        default=1,
        help="of torch in each process, on the CPU; equal numbers give equal bytes",
    )
    add_published_options(how)
    evaluate.add_argument("--out", type=Path, required=True, help="folder of runs")

    report = commands.add_parser(
        "report",
        help="make one self-contained HTML page of evaluations",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    report.set_defaults(command=_report)
    report.add_argument("folder", type=Path, help="what `camseg evaluate --out` got")
    report.add_argument("--out", type=Path, help="the page; FOLDER/report.html without")


def _numbers(text: str) -> tuple[int, ...]:
    """Read ``1,4,16``."""
    try:
        return tuple(int(entry) for entry in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of whole numbers such as 1,4,16"
        ) from error


def _evaluate(parsed: argparse.Namespace) -> int:
    import torch

    from camseg_core.evaluation.evaluate import Shard, evaluate
    from camseg_core.evaluation.summary import headline_lines, summarize
    from camseg_core.segmenter import Segmenter
    from camseg_core.system.devices import find_device
    from camseg_core.system.processes import ProcessRank, process_group
    from camseg_core.weights.loading import load_model

    place = ProcessRank.from_environment()
    check_threads(parsed.threads)
    device = place.device(parsed.device)
    find_device(device)
    check_sampling_options(parsed)  # what is wrong is said before weights are loaded
    if _is_published(parsed) and "profile" in parsed:
        raise CamsegError(
            f"--profile {parsed.profile}: the published protocol samples as it was published; "
            "leave --profile out"
        )
    datasets = _open_data(parsed)
    torch.set_num_threads(parsed.threads)
    loaded = load_model(parsed.weights, num_heads=parsed.heads, variant=variant(parsed))
    if loaded.is_random and place.is_first:
        print("camseg: the weights are RANDOM, the scores mean nothing", file=sys.stderr)
    segmenter = Segmenter(loaded, device)
    plans = _plans(parsed, datasets, loaded.profiles)
    with process_group(place):
        folders = [
            evaluate(segmenter, plan, parsed.out, Shard(place.rank, place.world_size))
            for plan in plans
        ]
    if place.is_first:
        for folder in folders:
            for line in headline_lines(summarize(folder)):
                print(line)
    return 0


def _is_published(parsed: argparse.Namespace) -> bool:
    return parsed.protocol == "published" or parsed.suite is not None


def _open_data(parsed: argparse.Namespace) -> list[Dataset]:
    """Open the data sets that are to be scored on."""
    from camseg_core.evaluation.evaluate import open_paper_suite

    if parsed.suite is not None:
        return open_paper_suite(parsed.root, chosen_label_set(parsed))
    if parsed.dataset is None:
        raise CamsegError("--dataset or --suite is needed; `camseg data check --help` names them")
    return [open_chosen_dataset(parsed)]


def _plans(parsed: argparse.Namespace, datasets: list[Dataset], profiles: Profiles) -> list[Plan]:
    """Put together what is to be done with the data."""
    from camseg_core.diffusion.options import SamplingOptions
    from camseg_core.evaluation.corruptions import select_corruptions
    from camseg_core.evaluation.evaluate import NOISE_STUDY_DATASET, Plan

    published = _is_published(parsed)
    if published:
        base = SamplingOptions(steps=PUBLISHED_STEPS, sample_image_latent=True)
        options = sampling_options(parsed, base)
    else:
        options = profile_options(parsed, profiles)
    steps = parsed.step_counts or (options.steps,)
    corruptions = {"": select_corruptions(parsed.corruption)}
    if parsed.suite is not None:
        corruptions[NOISE_STUDY_DATASET] = select_corruptions("all")
    return [
        Plan(
            dataset=dataset,
            protocol="published" if published else "official",
            steps=steps,
            corruptions=corruptions.get(dataset.name, corruptions[""]),
            sampling=replace(options, steps=steps[0]),
            max_images=parsed.max_images,
        )
        for dataset in datasets
    ]


def _report(parsed: argparse.Namespace) -> int:
    from camseg_core.evaluation.report.report import write_report

    print(write_report(parsed.folder, parsed.out or parsed.folder / "report.html"))
    return 0
