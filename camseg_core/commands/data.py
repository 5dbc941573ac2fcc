# SPDX-License-Identifier: Apache-2.0
"""``camseg data check`` and ``camseg synth``: labelled data, checked or made."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from camseg_core.commands.options import chosen_label_set, image_size
from camseg_core.data.datasets import DATASETS
from camseg_core.data.sample import CONDITIONS
from camseg_core.errors import FAILED_CHECK, CamsegError
from camseg_core.synthetic.layouts import DRIVE_LAYOUTS


def add_commands(commands: Any) -> None:
    """Add ``data`` and ``synth`` to the subparsers ``commands``."""
    data = commands.add_parser("data", help="check a labelled data set")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="list what is wrong with a data set's folder",
        description="Compare names, counts and label files with the layout and the published "
        "numbers. Exit status 1 if a file cannot be used.",
    )
    check.set_defaults(command=_check)
    check.add_argument("--dataset", required=True, help=f"one of {', '.join(DATASETS)}")
    check.add_argument(
        "--root", type=Path, required=True, help="folder of the data set, or the folder above it"
    )
    check.add_argument("--split", help="one split, or a list file; if not given, all splits")
    check.add_argument("--label-set", help="name or YAML file; if not given, the data set's own")
    check.add_argument(
        "--names-only", action="store_true", help="be quick: do not open images and labels"
    )

    synth = commands.add_parser(
        "synth",
        help="make a labelled data set of a synthetic world",
        description="A seeded road world seen from a moving vehicle, with exact class ids, depth "
        "and calibration. The same options give the same files.",
    )
    synth.set_defaults(command=_synth)
    synth.add_argument("--out", type=Path, help="folder for the data set, absent or empty")
    synth.add_argument("--frames", type=int, default=200, help="how many")
    synth.add_argument("--seed", type=int, default=0, help="9000 and above are held out")
    synth.add_argument("--size", type=image_size, default="512x256", help="WIDTHxHEIGHT in pixels")
    synth.add_argument("--condition", choices=CONDITIONS, default="clear")
    synth.add_argument("--layout", choices=list(DRIVE_LAYOUTS), default="cityscapes")
    synth.add_argument("--split", choices=["train", "val"], default="val")
    synth.add_argument(
        "--frames-per-sequence", type=int, default=20, help="frames of one world, 0.1 s apart"
    )
    synth.add_argument(
        "--contact-sheet", type=Path, help="write one image that shows all conditions instead"
    )


def _check(parsed: argparse.Namespace) -> int:
    from camseg_core.data.check import check_tree

    report = check_tree(
        parsed.dataset,
        parsed.root,
        parsed.split,
        label_set=chosen_label_set(parsed),
        read_files=not parsed.names_only,
    )
    for line in report.lines():
        print(line)
    return FAILED_CHECK if report.count("error") else 0


def _synth(parsed: argparse.Namespace) -> int:
    from camseg_core.synthetic.write import write_contact_sheet, write_drive

    if (parsed.out is None) == (parsed.contact_sheet is None):
        raise CamsegError("--out FOLDER or --contact-sheet FILE is needed, one of them")
    if parsed.contact_sheet is not None:
        write_contact_sheet(parsed.contact_sheet, parsed.seed)
        print(parsed.contact_sheet)
        return 0
    write_drive(
        parsed.out,
        frames=parsed.frames,
        seed=parsed.seed,
        size=parsed.size,
        condition=parsed.condition,
        layout=parsed.layout,
        split=parsed.split,
        frames_per_sequence=parsed.frames_per_sequence,
    )
    print(parsed.out)
    return 0
