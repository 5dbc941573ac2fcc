# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from camseg_core.data.class_merges import MERGES
from camseg_core.diffusion.options import (
    DEFAULT_PROFILE,
    MAX_SAMPLES,
    PROFILE_NAMES,
    SAMPLERS,
    V_PROFILES,
    Decoder,
    Precision,
    Profiles,
    SamplingOptions,
    find_profile,
)
from camseg_core.errors import CamsegError

if TYPE_CHECKING:
    from camseg_core.data.sample import Dataset
    from camseg_core.labels import LabelSet
    from camseg_core.weights.published_format import Variant

WEIGHTS_HELP = (
    "demo (bundled with the package), a .safetensors file, a folder with one or with the two "
    "published files, a published transformer file with its autoencoder beside it, or random:PRESET"
)
MERGE_HELP = f"{', '.join(MERGES)}, or a YAML file"
MOST_THREADS = 1024


def add_sampling_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, several: bool = False
) -> None:
    """Add the options of sampling, except the number of steps. The profile has the defaults.

    With ``several`` each option takes a list such as ``1,4``, and its value is a tuple.
    """
    parser.add_argument(
        "--profile",
        default=argparse.SUPPRESS,
        help=f"{_one_of(PROFILE_NAMES)}: the weights' own settings for what follows and for "
        f"--steps; {DEFAULT_PROFILE} if not given",
    )
    noise_scale = "scales the first noise; 0 for weights that were fine-tuned for one step"
    for name, kind, text in (
        ("--sampler", str, _one_of(SAMPLERS)),
        ("--temperature", float, "scales ddpm's step noise"),
        ("--initial-noise-scale", float, noise_scale),
        ("--seed", int, "seed of the noise"),
        ("--rounds", int, "generation rounds"),
        ("--samples", int, f"average probabilities over this many noises, at most {MAX_SAMPLES}"),
        ("--decoder", str, f"{_one_of(get_args(Decoder))}; auto: mask where the model has one"),
        ("--precision", str, _one_of(get_args(Precision))),
    ):
        read = list_of(kind) if several else kind
        parser.add_argument(name, type=read, default=argparse.SUPPRESS, help=text)


def _one_of(choices: Sequence[str]) -> str:
    """Return choices for a help text: ``a, b or c``."""
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def list_of(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Return a reader of lists such as ``1,4``, whose values are different ones of a ``kind``."""

    def read(text: str) -> tuple[Any, ...]:
        try:
            values = tuple(kind(part) for part in text.split(","))
        except (ValueError, argparse.ArgumentTypeError):
            values = ()
        if not values or "" in values or len(set(values)) < len(values):
            examples: dict[Any, str] = {int: "1,4,16", float: "1,0.5", str: "ddpm,ddim"}
            example = examples.get(kind, "512x256,960x544")
            raise argparse.ArgumentTypeError(
                f"{text!r} is no list of different values such as {example}"
            )
        return values

    return read


def check_count(option: str, value: int | None) -> None:
    """Refuse a count below 1; None stands for one that was not given.

    Raises:
        CamsegError: out of range.
    """
    if value is not None and value < 1:
        raise CamsegError(f"{option} is {value}; at least 1 is needed")


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that torch crashes with; None leaves torch's choice.

    Raises:
        CamsegError: out of range.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise CamsegError(f"--threads is {threads}; 1 to {MOST_THREADS} are possible")


def check_sampling_options(parsed: argparse.Namespace) -> None:
    """Refuse what is wrong whatever the weights are, before they are loaded.

    Raises:
        CamsegError: a value out of its range, or an unknown profile.
    """
    profile_options(parsed, V_PROFILES)


def profile_options(parsed: argparse.Namespace, profiles: Profiles) -> SamplingOptions:
    """Return the options of the chosen profile with what was given on the command line.

    Raises:
        CamsegError: a value out of its range, or an unknown profile.
    """
    base = find_profile(profiles, getattr(parsed, "profile", DEFAULT_PROFILE))
    return replace(base, **given_options(parsed))


def given_options(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return what `add_sampling_options` and ``--steps`` read, by field of `SamplingOptions`."""
    names = [entry.name for entry in fields(SamplingOptions)]
    return {name: getattr(parsed, name) for name in names if name in parsed}


def add_dataset_options(
    parser: argparse._ArgumentGroup, *, others: str = "", default: str | None = None
) -> None:
    """Add the options that choose labelled images; ``others`` are further names for --dataset."""
    names = "see `camseg data check --help`"
    parser.add_argument("--dataset", default=default, help=f"{others}{names}")
    parser.add_argument("--root", type=Path, required=not others, help="folder of the data set")
    parser.add_argument(
        "--split", help="split, or a list file; val without, all of a folder pair or a bag"
    )
    parser.add_argument("--part", default="", help="ACDC: adverse (default), reference or both")
    parser.add_argument(
        "--condition", type=list_of(str), default=(), help="ACDC: e.g. fog,rain,snow,night"
    )
    parser.add_argument("--label-set", help="name or YAML file; the data set's own without")


def add_spread_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--spread``, of commands that look at a part of a data set."""
    parser.add_argument(
        "--spread", type=int, metavar="N", help="only N images, at equal distances; all without"
    )


def add_frames_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup, text: str) -> None:
    """Add ``--frames``, of commands that take or make the first frames of something."""
    parser.add_argument("--frames", type=int, metavar="N", help=text)


def add_threads_option(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, default: int | None = 1
) -> None:
    """Add ``--threads``; None as the default leaves torch's choice."""
    choice = "; one per core if not given" if default is None else ", in each process"
    parser.add_argument(
        "--threads",
        type=int,
        default=default,
        help=f"torch's on the CPU{choice}; equal numbers give equal bytes",
    )


def image_size(text: str) -> tuple[int, int]:
    """Read a size such as ``512x256``, width first."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 512x256, width first")
    return int(match[1]), int(match[2])


def chosen_label_set(parsed: argparse.Namespace) -> LabelSet | None:
    """Return the label set that `add_dataset_options` read; None for the data set's own.

    Raises:
        CamsegError: there is none of that name, or its file is unreadable.
    """
    from camseg_core.data.label_set_files import find_label_set

    return find_label_set(parsed.label_set) if parsed.label_set else None


def open_chosen_dataset(parsed: argparse.Namespace) -> Dataset:
    """Open the data set that `add_dataset_options` read.

    Raises:
        CamsegError: none was named, or it cannot be opened.
    """
    from camseg_core.data.datasets import default_split, open_dataset

    if parsed.dataset is None:
        raise CamsegError("--dataset is needed; `camseg data check --help` names them")
    return open_dataset(
        parsed.dataset,
        parsed.root,
        parsed.split or default_split(parsed.dataset),
        part=parsed.part,
        conditions=list(parsed.condition),
        label_set=chosen_label_set(parsed),
    )


def add_device_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")


def add_backend_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--device``, ``--backend`` and ``--providers``; `backend_options` reads the last two."""
    add_device_option(parser)
    parser.add_argument(
        "--backend",
        default="torch",
        help="torch, or onnx for the graphs of a folder that camseg export made",
    )
    add_providers_option(parser, "with --backend onnx")


def add_providers_option(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, when: str
) -> None:
    """Add ``--providers``, whose help begins with ``when`` they are used."""
    parser.add_argument(
        "--providers",
        type=list_of(str),
        default=(),
        metavar="NAME[,NAME...]",
        help=f"{when}: cpu, openvino, cuda, tensorrt, the preferred one first",
    )


def backend_options(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of `Segmenter` that `add_backend_options` read."""
    return {"backend": parsed.backend, "providers": parsed.providers}


def add_published_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell how to read a published file."""
    parser.add_argument(
        "--heads", type=int, help="attention heads of a published file of an unpublished width"
    )
    parser.add_argument(
        "--ema", action="store_true", help="the averaged weights (model_ema) of a published file"
    )


def variant(parsed: argparse.Namespace) -> Variant:
    """Return the table of a published file that `add_published_options` chose."""
    return "model_ema" if parsed.ema else "model"
