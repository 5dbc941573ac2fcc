# SPDX-License-Identifier: Apache-2.0
"""``camseg train``: fine-tune weights on one's own data. docs/own-data.md goes through it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from camseg_core.commands.options import (
    MERGE_HELP,
    WEIGHTS_HELP,
    add_device_option,
    add_threads_option,
    check_count,
    check_threads,
    image_size,
)
from camseg_core.data.known_layouts import LAYOUTS
from camseg_core.errors import FAILED_CHECK, INTERRUPTED


def add_commands(commands: Any) -> None:
    """Add ``train`` to the subparsers ``commands``."""
    train = commands.add_parser(
        "train",
        help="fine-tune weights on your own data and classes",
        description="Writes OUT/weights.safetensors, which every command and the node take. The "
        "same command goes on where it was stopped. Stages, recipes and every setting: python -m "
        "camseg_core.training, docs/training.md. Several processes: torchrun --nproc-per-node N "
        "-m camseg_core.cli train ...",
    )
    train.set_defaults(command=_train)
    train.add_argument("--weights", default="demo", help=f"what to start from: {WEIGHTS_HELP}")
    train.add_argument("--out", type=Path, required=True, help="folder for weights and runs")
    data = train.add_argument_group("data")
    data.add_argument("--dataset", default="folder", help=f"one of {', '.join(LAYOUTS)}")
    data.add_argument("--root", type=Path, required=True, help="folder of the data set")
    data.add_argument(
        "--split",
        default="",
        help="images to train on; if not given, train where there is such a split, else all",
    )
    data.add_argument(
        "--label-set", default="", help="name or YAML file; if not given, the data set's own"
    )
    data.add_argument(
        "--merge",
        default="",
        help="for other classes than the weights': which of these they come from; "
        f"{MERGE_HELP}; if not given, those of equal names",
    )
    how = train.add_argument_group("how")
    how.add_argument("--steps", type=int, default=200, help="optimizer steps")
    how.add_argument(
        "--minutes", type=float, help="save and stop after this long; the same command goes on"
    )
    how.add_argument(
        "--size", type=image_size, metavar="WIDTHxHEIGHT",
        help="of the model's input, in multiples of its stride; if not given, of the images' shape "
        "with as many pixels as the weights' input",
    )  # fmt: skip
    add_device_option(how)
    add_threads_option(how, default=None)
    how.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="NAME=VALUE",
        help="any other setting, e.g. optimizer.learning_rate=2e-4",
    )  # fmt: skip


def _train(parsed: argparse.Namespace) -> int:
    from camseg_core.system.processes import ProcessRank
    from camseg_core.training.loop import TrainingDiverged
    from camseg_core.training.own_data import OwnData, finetune

    check_count("--steps", parsed.steps)
    check_threads(parsed.threads)
    minutes = [] if parsed.minutes is None else [f"max_minutes={parsed.minutes}"]
    own = OwnData(
        root=parsed.root,
        dataset=parsed.dataset,
        split=parsed.split,
        label_set=parsed.label_set,
        weights=parsed.weights,
        merge=parsed.merge,
        steps=parsed.steps,
        size=parsed.size,
        device=parsed.device,
        threads=parsed.threads or 0,
        settings=(*minutes, *parsed.set),
    )
    is_first = ProcessRank.from_environment().is_first
    try:
        for line in finetune(own, parsed.out):
            if is_first:
                print(line, flush=True)
    except TrainingDiverged as error:
        print(f"camseg: {error}", file=sys.stderr)
        return FAILED_CHECK
    except KeyboardInterrupt:
        print("camseg: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    return 0
