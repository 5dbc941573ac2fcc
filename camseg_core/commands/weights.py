# SPDX-License-Identifier: Apache-2.0
"""``camseg verify``, ``convert``, ``inspect`` and ``fetch-weights``: commands on weights files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from camseg_core.commands.options import (
    WEIGHTS_HELP,
    add_published_options,
    image_size,
    variant,
)
from camseg_core.errors import FAILED_CHECK


def add_commands(commands: Any) -> None:
    """Add the commands on weights to the subparsers ``commands``."""
    verify = commands.add_parser(
        "verify",
        help="check this code against vectors of the published implementation",
        description="Print the largest relative error per group of vectors, and PASS or FAIL.",
    )
    verify.set_defaults(command=_verify)
    verify.add_argument("folder", type=Path, help="a folder with vectors and their checkpoints")

    convert = commands.add_parser(
        "convert",
        help="make one safetensors file of the two published files",
    )
    convert.set_defaults(command=_convert)
    convert.add_argument("transformer", type=Path, help="e.g. pretrained_models/mar/city768.16.pth")
    convert.add_argument("autoencoder", type=Path, help="e.g. pretrained_models/vae/modelf16.ckpt")
    convert.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    convert.add_argument(
        "--palette-temperature",
        type=float,
        help="temperature of the palette confidence; docs/model.md has the unfitted default",
    )
    convert.add_argument(
        "--mask-decoder",
        type=Path,
        metavar="DRIVE",
        help="also train a mask decoder, for speed, on the labels of this folder in the layout of "
        "Cityscapes; camseg synth makes one",
    )
    convert.add_argument(
        "--mask-decoder-steps", type=int, default=600, help="optimizer steps of its training"
    )
    add_published_options(convert)

    export = commands.add_parser(
        "export",
        help="make a folder with the weights and their graphs for other runtimes",
        description="Run it with --weights FOLDER --backend onnx. See docs/performance.md.",
    )
    export.set_defaults(command=_export)
    export.add_argument("--weights", default="demo", help=WEIGHTS_HELP)
    export.add_argument("--format", choices=["onnx"], default="onnx", help="format of the graphs")
    export.add_argument("--out", type=Path, required=True, help="the folder, absent or empty")
    export.add_argument(
        "--size", type=image_size, metavar="WIDTHxHEIGHT",
        help="of the model's input, in multiples of its stride; the weights' own if not given",
    )  # fmt: skip

    inspect = commands.add_parser("inspect", help="tell what a weights file, folder or preset is")
    inspect.set_defaults(command=_inspect)
    inspect.add_argument("source", metavar="FILE|FOLDER|PRESET")
    inspect.add_argument(
        "--keys", action="store_true", help="list every tensor by its published name and shape"
    )

    fetch = commands.add_parser(
        "fetch-weights",
        help="download the two published weight files",
    )
    fetch.set_defaults(command=_fetch)
    fetch.add_argument("--out", type=Path, default=Path("pretrained_models"), help="folder")


def _verify(parsed: argparse.Namespace) -> int:
    from camseg_core.weights.parity import verify_folder

    verification = verify_folder(parsed.folder)
    for line in verification.lines():
        print(line)
    return 0 if verification.passed else FAILED_CHECK


def _convert(parsed: argparse.Namespace) -> int:
    from camseg_core.weights.loading import load_published, save_model
    from camseg_core.weights.variants import with_palette_temperature

    loaded = load_published(
        parsed.transformer, parsed.autoencoder, num_heads=parsed.heads, variant=variant(parsed)
    )
    if parsed.palette_temperature is not None:
        loaded = with_palette_temperature(loaded, parsed.palette_temperature)
    if parsed.mask_decoder is not None:
        from camseg_core.training.mask_decoder import with_trained_mask_decoder

        loaded = with_trained_mask_decoder(
            loaded, parsed.mask_decoder, parsed.out, parsed.mask_decoder_steps
        )
    save_model(loaded, parsed.out)
    print(f"wrote {parsed.out}")
    return 0


def _export(parsed: argparse.Namespace) -> int:
    from camseg_core.weights.loading import load_model
    from camseg_core.weights.onnx_export import export_onnx

    size = None if parsed.size is None else (parsed.size[1], parsed.size[0])
    export_onnx(load_model(parsed.weights), parsed.out, size)
    print(f"wrote {parsed.out}")
    return 0


def _inspect(parsed: argparse.Namespace) -> int:
    from camseg_core.weights.describe import describe_weights, published_keys

    for line in (published_keys if parsed.keys else describe_weights)(parsed.source):
        print(line)
    return 0


def _fetch(parsed: argparse.Namespace) -> int:
    from camseg_core.weights.download import fetch_published_weights

    for path in fetch_published_weights(parsed.out):
        print(path)
    return 0
