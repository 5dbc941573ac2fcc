# SPDX-License-Identifier: Apache-2.0
"""The command ``camseg``: parsing only, work happens in the modules it calls.

Exit status: 0 done, 1 a check failed, 2 bad usage or input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from camseg_core.errors import BAD_INPUT, FAILED_CHECK, INTERRUPTED, CamsegError

if TYPE_CHECKING:
    from camseg_core.published_format import Variant

Command = Callable[[argparse.Namespace], int]

WEIGHTS_HELP = (
    "a .safetensors file, a folder with one or with the two published files, a published "
    "transformer file with its autoencoder beside it, or random:PRESET"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    parsed = _parser().parse_args(arguments)
    command: Command = parsed.command
    try:
        return command(parsed)
    except CamsegError as error:
        print(f"camseg: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("camseg: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="camseg", description="CAM-Seg semantic segmentation of road scenes."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    segment = commands.add_parser(
        "segment",
        help="segment an image, a video or a folder of images",
        description="Write ids, colours, overlay and confidence of every input as PNG files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    segment.set_defaults(command=_segment)
    segment.add_argument("input", type=Path, metavar="IMAGE|VIDEO|FOLDER")
    segment.add_argument("--weights", required=True, help=WEIGHTS_HELP)
    segment.add_argument("--out", type=Path, required=True, help="folder for the results")
    segment.add_argument("--steps", type=int, default=10, help="diffusion steps, 1 to 1000")
    segment.add_argument("--sampler", default="ddpm", help="ddpm, ddim or dpm-solver++")
    segment.add_argument("--temperature", type=float, default=1.0, help="scales ddpm's step noise")
    segment.add_argument("--seed", type=int, default=0, help="of the noise")
    segment.add_argument("--rounds", type=int, default=1, help="generation rounds")
    segment.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    _add_published_options(segment)

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
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    convert.set_defaults(command=_convert)
    convert.add_argument("transformer", type=Path, help="e.g. pretrained_models/mar/city768.16.pth")
    convert.add_argument("autoencoder", type=Path, help="e.g. pretrained_models/vae/modelf16.ckpt")
    convert.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    convert.add_argument(
        "--palette-temperature",
        type=float,
        help="of the confidence; the unfitted default is in docs/model.md",
    )
    _add_published_options(convert)

    inspect = commands.add_parser("inspect", help="tell what a weights file, folder or preset is")
    inspect.set_defaults(command=_inspect)
    inspect.add_argument("source", metavar="FILE|FOLDER|PRESET")
    inspect.add_argument(
        "--keys", action="store_true", help="list every tensor by its published name and shape"
    )

    fetch = commands.add_parser(
        "fetch-weights",
        help="download the two published weight files",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    fetch.set_defaults(command=_fetch)
    fetch.add_argument("--out", type=Path, default=Path("pretrained_models"), help="folder")
    fetch.add_argument(
        "--sha256",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=HEX",
        help="expected hash of city768.16.pth or modelf16.ckpt, instead of the server's word",
    )
    return parser


def _add_published_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--heads", type=int, help="attention heads of a published file of an unpublished width"
    )
    parser.add_argument(
        "--ema", action="store_true", help="the averaged weights (model_ema) of a published file"
    )


# Imports stand in the commands, so that --help and a wrong word answer at once, without torch.


def _segment(parsed: argparse.Namespace) -> int:
    from camseg_core.checkpoint import load_model
    from camseg_core.inputs import find_sources
    from camseg_core.segment_files import segment_files
    from camseg_core.segmenter import SamplingOptions, Segmenter, find_device

    options = SamplingOptions(
        steps=parsed.steps,
        sampler=parsed.sampler,
        temperature=parsed.temperature,
        seed=parsed.seed,
        rounds=parsed.rounds,
    )
    find_device(parsed.device)
    find_sources(parsed.input)  # what is wrong with the input is said before weights are loaded
    if parsed.out.resolve().is_relative_to(parsed.input.resolve()) and parsed.input.is_dir():
        raise CamsegError(
            f"--out {parsed.out} lies inside the input folder {parsed.input}: a second run would "
            "segment the results of the first; choose a folder outside"
        )
    loaded = load_model(parsed.weights, num_heads=parsed.heads, variant=_variant(parsed))
    if loaded.is_random:
        print("camseg: the weights are RANDOM, the masks mean nothing", file=sys.stderr)
    summary = segment_files(Segmenter(loaded, parsed.device), parsed.input, parsed.out, options)
    for line in summary.lines():
        print(line)
    for failure in summary.failures:
        print(f"camseg: {failure}", file=sys.stderr)
    return BAD_INPUT if summary.failures else 0


def _verify(parsed: argparse.Namespace) -> int:
    from camseg_core.verify import verify_folder

    verification = verify_folder(parsed.folder)
    for line in verification.lines():
        print(line)
    return 0 if verification.passed else FAILED_CHECK


def _convert(parsed: argparse.Namespace) -> int:
    from camseg_core.checkpoint import load_published, save_model, with_palette_temperature

    loaded = load_published(
        parsed.transformer, parsed.autoencoder, num_heads=parsed.heads, variant=_variant(parsed)
    )
    if parsed.palette_temperature is not None:
        loaded = with_palette_temperature(loaded, parsed.palette_temperature)
    save_model(loaded, parsed.out)
    print(f"wrote {parsed.out}")
    return 0


def _inspect(parsed: argparse.Namespace) -> int:
    from camseg_core.inspect_weights import describe_weights, published_keys

    for line in (published_keys if parsed.keys else describe_weights)(parsed.source):
        print(line)
    return 0


def _fetch(parsed: argparse.Namespace) -> int:
    from camseg_core.fetch_weights import fetch_published_weights

    hashes = {}
    for entry in parsed.sha256:
        name, separator, value = entry.partition("=")
        if not separator:
            raise CamsegError(f"--sha256 {entry!r}: NAME=HEX is needed")
        hashes[name] = value
    for path in fetch_published_weights(parsed.out, sha256=hashes):
        print(path)
    return 0


def _variant(parsed: argparse.Namespace) -> Variant:
    return "model_ema" if parsed.ema else "model"


if __name__ == "__main__":
    sys.exit(main())
