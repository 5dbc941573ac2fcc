# SPDX-License-Identifier: Apache-2.0
"""``camseg evaluate`` and ``camseg report``: what users type, and what they mistype."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dataset_trees import comma10k, random_pairs

from camseg_core.cli import main
from camseg_core.evaluation.records import find_runs, iterate_records, read_run, record_files
from camseg_core.evaluation.summary import summarize
from camseg_core.labels import COMMA10K
from camseg_core.synthetic.write import write_drive


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images of 48 x 32 and their labels."""
    return random_pairs(tmp_path / "data", 2)


def evaluate(root: Path, out: Path, *more: str) -> int:
    return main(
        [
            "evaluate", "--weights", "random:tiny", "--dataset", "folder", "--root", str(root),
            "--label-set", "cityscapes-train-ids", "--out", str(out), *more,
        ]
    )  # fmt: skip


def test_a_run_prints_its_scores(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(root, tmp_path / "out", "--steps", "1,2", "--corruption", "hue:0.1") == 0
    printed = capsys.readouterr()
    assert "the weights are RANDOM" in printed.err
    rows = [line.split() for line in printed.out.splitlines()[3:]]
    assert [row[1:4] for row in rows] == [
        ["1", "all", "2"], ["1", "hue:0.1", "2"], ["2", "all", "2"], ["2", "hue:0.1", "2"],
    ]  # fmt: skip
    (folder,) = find_runs(tmp_path / "out")
    assert len(list(iterate_records(record_files(folder)))) == 8
    run = read_run(folder)
    assert (run.protocol, run.is_random, run.split) == ("official", True, "all")
    assert run.sampling["sample_image_latent"] is False


def test_a_synthetic_drive_is_called_so_and_the_default_sampling_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_drive(tmp_path / "drive", 1, 5, (64, 32), "fog", split="val")
    arguments = ["--dataset", "cityscapes", "--root", str(tmp_path / "drive"), "--steps", "1,4"]
    out = str(tmp_path / "out")
    assert main(["evaluate", "--weights", "random:tiny", *arguments, "--out", out]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "official protocol, synthetic val, fog; " in lines[0]
    assert [line.endswith(" *") for line in lines[3:5]] == [False, True]
    assert lines[5] == "* the weights' default sampling (profile balanced)"
    (folder,) = find_runs(tmp_path / "out")
    (group, _) = summarize(folder).sums
    assert (group.condition, read_run(folder).dataset) == ("fog", "synthetic")


def test_scores_on_the_classes_of_other_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comma10k(tmp_path / "comma10k")
    arguments = ["--dataset", "comma10k", "--root", str(tmp_path), "--steps", "1"]
    command = ["evaluate", "--weights", "random:tiny", *arguments, "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "--merge scores the weights on the data set's classes" in capsys.readouterr().err
    assert main([*command, "--merge", "cityscapes-to-comma10k"]) == 0
    said = capsys.readouterr()
    assert "comma10k val (cityscapes-to-comma10k)" in said.out
    assert "never predicted, so that their IoU is 0: lane markings, my car" in said.err
    (folder,) = find_runs(tmp_path / "out")
    assert read_run(folder).classes == COMMA10K
    (first, second) = summarize(folder).sums.values()
    confusion = first.confusion + second.confusion
    assert confusion.sum() == 2 * 6 * 40 * 5 / 6  # a sixth has the void colour
    assert not confusion[:, [1, 4]].any()  # lane markings and the own car


def test_the_published_protocol_draws_the_latent_with_100_steps(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(root, tmp_path / "out", "--protocol", "published", "--spread", "1") == 0
    (folder,) = find_runs(tmp_path / "out")
    (record,) = iterate_records(record_files(folder))
    assert record.steps == 100
    assert (record.height, record.width) == (768, 768)
    assert read_run(folder).sampling["sample_image_latent"] is True
    assert "precision" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--threads", "0"), "--threads is 0; 1 to 1024 are possible"),
        (("--steps", "0"), "steps is 0; a whole number from 1 to 1000 is needed"),
        (("--spread", "0"), "--spread is 0; at least 1 is needed"),
        (("--corruption", "fogg"), "no corruption 'fogg'; give none alone, or a comma list"),
        (("--device", "cuda:77"), "device 'cuda:77' was asked for, but torch sees"),
        (("--dataset", "foldr"), "unknown data set 'foldr'; did you mean 'folder'"),
        (("--split", "val"), "has no split 'val'; .*known are all"),
        (("--label-set", "city"), "no label set 'city'"),
        (("--label-set", "camvid"), "the weights know the 19 classes of 'cityscapes'"),
        (("--weights", "x=random:tiny", "y=random:tiny"), "ways to sample are the same"),
        (("--weights", "=x"), "--weights '=x': NAME=WEIGHTS is needed, neither part empty"),
        (("--weights", "x=absent"), "no such weights: absent"),
        (("--precision", "float32,float16"), "unknown precision 'float16'"),
        (("--merge", "cityscapes-to-camvd"), "no merge .*; did you mean 'cityscapes-to-camvid'"),
        (
            ("--merge", "cityscapes-to-camvid"),
            "names 'pavement', which is no class of the data set",
        ),
        (
            ("--merge", "cityscapes-to-kitti", "--protocol", "published"),
            "--merge cityscapes-to-kitti: the published protocol scores the weights' own classes",
        ),
        (("--suite", "paper"), "the paper's suite needs all of cityscapes, kitti-step, acdc, cad"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    message: str,
) -> None:
    assert evaluate(root, tmp_path / "out", *more) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if "RANDOM" not in line]
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("camseg: ")
    assert re.search(message, lines[0])
    assert printed.out == ""


@pytest.mark.parametrize("steps", ["1;2", "", "2,2"])
def test_steps_that_are_no_list_are_bad_usage(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate(root, tmp_path / "out", "--steps", steps)
    expected = f"'{steps}' is no list of different values such as 1,4,16"
    assert expected in capsys.readouterr().err


def test_every_way_to_sample_is_a_run_and_repeats_are_left_out(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ways = ("--sampler", "ddpm,ddim", "--steps", "1,2", "--samples", "1,2")
    assert evaluate(root, out, "--weights", "plain=random:tiny", *ways) == 0
    runs = {read_run(folder).sampling["sampler"]: folder for folder in find_runs(out)}
    # With one step all samplers are the same.
    steps = {
        (read_run(folder).sampling["sampler"], read_run(folder).sampling["samples"]): {
            record.steps for record in iterate_records(record_files(folder))
        }
        for folder in find_runs(out)
    }
    assert steps == {
        ("ddpm", 1): {1, 2},
        ("ddim", 1): {2},
        ("ddpm", 2): {1, 2},
        ("ddim", 2): {2},
    }
    assert summarize(runs["ddpm"]).sessions[0].weights == "plain (random:tiny)"
    assert main(["report", str(out), "--budget-ms", "1e6"]) == 0
    assert "Best within 1e+06 ms an image: plain" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--budget-ms", "0"], "; a number above 0 is needed"),
        (["--budget-ms", "nan"], "; a number above 0 is needed"),
        ([], "holds no evaluation"),
    ],
)
def test_what_cannot_be_reported_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(["report", str(tmp_path), *more]) == 2
    assert message in capsys.readouterr().err


def test_a_data_set_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "--weights", "random:tiny", "--root", ".", "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "--dataset or --suite is needed" in capsys.readouterr().err


def test_a_report_says_where_it_is(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(root, tmp_path / "out", "--steps", "1") == 0
    capsys.readouterr()
    assert main(["report", str(tmp_path / "out")]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "out" / "report.html"
    assert b"RANDOM" in path.read_bytes()
    other = tmp_path / "new" / "page.html"
    assert main(["report", str(tmp_path / "out"), "--out", str(other)]) == 0
    assert other.with_name("figures.json").exists()


def test_the_published_protocol_takes_no_profile(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = ("--protocol", "published", "--profile", "fast")
    # The refusal comes before weights are loaded.
    assert evaluate(root, tmp_path / "out", "--weights", "missing.safetensors", *published) == 2
    assert "--profile fast: the published protocol samples as it was" in capsys.readouterr().err
