# SPDX-License-Identifier: Apache-2.0
"""``torchrun -m camseg_core.training``: train a part of a model, resume, or export the result.

torchrun --nproc-per-node 2 -m camseg_core.training --config FILE --set steps=2000
python -m camseg_core.training --resume last
torchrun --nproc-per-node 2 -m camseg_core.training --recipe FILE --output-dir FOLDER
python -m camseg_core.training --export last --out model.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from camseg_core.errors import (
    FAILED_CHECK,
    INTERRUPTED,
    CamsegError,
    exit_status,
    warnings_in_one_line,
)
from camseg_core.system.command_parser import CommandParser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parsed = _parser().parse_args(arguments)
    with warnings_in_one_line():
        return exit_status("camseg", lambda: _run(parsed))


def _run(parsed: argparse.Namespace) -> int:
    from camseg_core.training.loop import TrainingDiverged
    from camseg_core.training.recipe import run_recipe
    from camseg_core.training.start import export_run, start_or_resume

    try:
        if parsed.export is not None:
            if parsed.out is None:
                raise CamsegError("--export needs --out FILE.safetensors")
            export_run(
                parsed.output_dir,
                parsed.export,
                parsed.out,
                parsed.which,
                parsed.half,
                parsed.profiles,
            )
            print(parsed.out)
            return 0
        if parsed.recipe is not None:
            print(run_recipe(parsed.recipe, parsed.set, parsed.output_dir))
            return 0
        run = start_or_resume(parsed.config, parsed.set, parsed.resume, parsed.output_dir)
    except TrainingDiverged as error:
        print(f"camseg: {error}", file=sys.stderr)
        return FAILED_CHECK
    except KeyboardInterrupt:
        print("camseg: interrupted; --resume last goes on", file=sys.stderr)
        return INTERRUPTED
    if run is not None:
        print(run)
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m camseg_core.training",
        description="Train one stage: autoencoder, transformer, mask-decoder or finetune. Settings "
        "and what they mean: docs/training.md.",
    )
    parser.add_argument("--config", type=Path, help="a YAML file of settings")
    parser.add_argument(
        "--recipe",
        type=Path,
        help="a YAML file of several stages, one after another, into --output-dir; the same "
        "command again goes on",
    )
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="e.g. stage=autoencoder optimizer.learning_rate=2e-4",
    )
    parser.add_argument("--resume", metavar="RUN", help="a run's name, its path, or last")
    parser.add_argument("--export", metavar="RUN", help="write a run's averaged weights to --out")
    parser.add_argument("--out", type=Path, help="the .safetensors file of --export")
    parser.add_argument(
        "--which", choices=["best", "last"], default="best", help="which checkpoint to export"
    )
    parser.add_argument("--half", action="store_true", help="export as float16: half the size")
    parser.add_argument(
        "--profiles", type=Path, help="a YAML file of profiles to write into the export"
    )
    parser.add_argument("--output-dir", type=Path, help="where runs are; output_dir if not given")
    return parser


if __name__ == "__main__":
    sys.exit(main())
