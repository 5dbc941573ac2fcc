# SPDX-License-Identifier: Apache-2.0
"""``camseg benchmark sampling``: what users type, and what they mistype."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from dataset_trees import random_pairs

from camseg_core.commands import benchmark
from camseg_core.errors import CamsegError
from camseg_core.evaluation.records import find_runs, iterate_records, read_sessions, record_files
from camseg_core.weights.loading import random_model, save_model

SMALL = (
    "--steps", "1", "2", "--samplers", "ddim", "--samples", "1", "2", "--samples-steps", "2",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images of 48 x 32 and their labels."""
    return random_pairs(tmp_path / "data", 3)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(root: Path, out: Path, *more: str, weights: tuple[str, ...] = ("random:tiny",)) -> int:
    parser = argparse.ArgumentParser(prog="camseg")
    benchmark.add_commands(parser.add_subparsers(required=True))
    parsed = parser.parse_args(
        [
            "benchmark", "sampling", "--weights", *weights, "--dataset", "folder", "--root",
            str(root), "--label-set", "cityscapes-train-ids", "--out", str(out), *more,
        ]
    )  # fmt: skip
    status: int = parsed.command(parsed)
    return status


def test_page_figure_and_numbers_of_two_weights(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    threads: None,
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sys, "argv", ["camseg", "benchmark", "a b"])
    file = tmp_path / "after.safetensors"
    save_model(random_model("tiny"), file)
    out = tmp_path / "out"
    arguments = (*SMALL, "--palette-images", "1", "--budget-ms", "1e6", "--threads", "1")
    weights = ("before=random:tiny", f"after={file}")
    assert run(root, out, *arguments, weights=weights) == 0
    printed = capsys.readouterr()
    assert printed.err.count("are RANDOM") == 2
    assert printed.out.startswith("Best within 1e+06 ms an image: `")
    assert printed.out.splitlines()[-1] == str(out / "sampling.md")
    content = json.loads((out / "sampling.json").read_bytes())
    assert content["command"] == "camseg benchmark 'a b'"
    assert [facts["name"] for facts in content["weights"]] == ["before", "after"]
    assert [facts["file"] for facts in content["weights"]] == ["random:tiny", "after.safetensors"]
    assert (content["images"], content["common_images"], content["budget_ms"]) == (3, 1, 1e6)
    page = (out / "sampling.md").read_text(encoding="utf-8")
    assert "(sampling.svg)" in page
    assert (out / "sampling.svg").read_bytes().startswith(b"<?xml")
    before = page

    assert run(root, out, *arguments, weights=weights) == 0
    assert (out / "sampling.md").read_text(encoding="utf-8") == before
    folders = find_runs(out)
    assert all(len(read_sessions(record_files(folder))) == 1 for folder in folders)
    # Mask: 1 and 2 steps, one step from zero, 2 samples, the default; palette: the first three.
    records = sum(len(list(iterate_records(record_files(folder)))) for folder in folders)
    assert records == 2 * (3 * 5 + 1 * 3)


def test_a_name_is_the_files_where_none_is_given(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    more = ("--steps", "1", "--samples", "1", "--decoders", "mask", "--max-images", "1")
    assert run(root, tmp_path / "out", *more) == 0
    content = json.loads((tmp_path / "out" / "sampling.json").read_bytes())
    assert [facts["name"] for facts in content["weights"]] == ["random:tiny"]
    assert content["images"] == 1
    assert {entry["options"]["decoder"] for entry in content["entries"]} == {"mask"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--steps", "0"), "steps is 0; a whole number from 1 to 1000 is needed"),
        (("--samplers", "magic"), "unknown sampler 'magic'"),
        (("--decoders", "auto"), "unknown decoder 'auto'; one of mask, palette"),
        (("--profile", "best"), "unknown profile 'best'"),
        (("--precision", "float16"), "unknown precision 'float16'"),
        (("--budget-ms", "0"), "--budget-ms is 0.0; a number above 0 is needed"),
        (("--budget-ms", "nan"), "--budget-ms is nan; a number above 0 is needed"),
        (("--threads", "0"), "--threads is 0; 1 to 1024 are possible"),
        (("--max-images", "0"), "max_images is 0; at least 1 is needed"),
        (("--palette-images", "-1"), "palette_images is -1; at least 1 is needed"),
        (("--device", "cuda:77"), "device 'cuda:77' was asked for, but torch sees"),
        (("--weights", "=x"), "--weights '=x': NAME=WEIGHTS is needed, neither part empty"),
        (("--weights", "x="), "--weights 'x=': NAME=WEIGHTS is needed, neither part empty"),
        (("--weights", "x=absent"), "no such weights: absent"),
        (("--weights", "a=random:tiny", "b=random:tiny"), "weights 'a' and 'b' are the same"),
        (("--split", "no"), "'no'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_written(
    root: Path, tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(CamsegError, match=re.escape(message)) as error:
        run(root, tmp_path / "out", *more)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_data_set_is_needed(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    parser = argparse.ArgumentParser()
    benchmark.add_commands(parser.add_subparsers())
    parsed = parser.parse_args(
        ["benchmark", "sampling", "--weights", "random:tiny", "--root", "x", "--out", "y"]
    )
    with pytest.raises(CamsegError, match="--dataset is needed; `camseg data check --help`"):
        parsed.command(parsed)


def test_a_missing_library_is_named_before_the_work(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("plots", "plot_canvas", "sampling_figure"):
        monkeypatch.delitem(sys.modules, f"camseg_core.evaluation.{name}", raising=False)
        monkeypatch.delattr(f"camseg_core.evaluation.{name}", raising=False)
    with pytest.raises(CamsegError, match="needs matplotlib, which is not installed; pip install"):
        run(root, tmp_path / "out", *SMALL)
    assert not (tmp_path / "out").exists()
