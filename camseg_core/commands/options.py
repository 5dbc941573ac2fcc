# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from camseg_core.published_format import Variant

WEIGHTS_HELP = (
    "a .safetensors file, a folder with one or with the two published files, a published "
    "transformer file with its autoencoder beside it, or random:PRESET"
)


def add_published_options(parser: argparse.ArgumentParser) -> None:
    """Add what tells how to read a published file."""
    parser.add_argument(
        "--heads", type=int, help="attention heads of a published file of an unpublished width"
    )
    parser.add_argument(
        "--ema", action="store_true", help="the averaged weights (model_ema) of a published file"
    )


def variant(parsed: argparse.Namespace) -> Variant:
    """Give the table of a published file that `add_published_options` chose."""
    return "model_ema" if parsed.ema else "model"
