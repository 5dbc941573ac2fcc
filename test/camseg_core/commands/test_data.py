# SPDX-License-Identifier: Apache-2.0
"""``camseg data check`` and ``camseg synth``: what users type, and what they mistype."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import dataset_trees
import pytest

from camseg_core.cli import main


def synth(out: Path, *more: str) -> int:
    return main(["synth", "--out", str(out), "--frames", "3", "--size", "64x32", *more])


@pytest.mark.parametrize(
    ("layout", "more"),
    [("cityscapes", ()), ("kitti-step", ()), ("acdc", ("--condition", "night"))],
)
def test_a_made_data_set_is_found_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, more: tuple[str, ...]
) -> None:
    out = tmp_path / "drive"
    assert synth(out, "--layout", layout, *more) == 0
    assert capsys.readouterr().out == f"{out}\n"
    manifest = json.loads((out / "synthetic.json").read_text())
    assert manifest["layout"] == layout
    assert [drive["frames"] for drive in manifest["drives"]] == [3]
    assert main(["data", "check", "--root", str(out), "--dataset", layout]) == 0
    table = capsys.readouterr().out
    assert "0 errors" in table
    rows = [line.split() for line in table.splitlines() if line.startswith("val")]
    assert [row[4] for row in rows] == ["3"]


def test_a_contact_sheet_is_one_image(tmp_path: Path) -> None:
    file = tmp_path / "sheet.jpg"
    assert main(["synth", "--contact-sheet", str(file), "--seed", "42"]) == 0
    sheet = cv2.imread(str(file))
    assert sheet is not None
    assert sheet.shape == (640, 1600, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--out FOLDER or --contact-sheet FILE is needed, one of them"),
        (("--out", "a", "--contact-sheet", "b.jpg"), "one of them"),
        (("--out", "a", "--frames", "0"), "0 frames: a whole number of at least 1 is needed"),
    ],
)
def test_wrong_options_are_said_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["synth", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("camseg: ")
    assert message in line
    assert not (tmp_path / "a").exists()


def test_a_size_that_is_none_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["synth", "--out", "a", "--size", "512"])
    assert "'512' is no size such as 512x256, width first" in capsys.readouterr().err


def test_a_file_that_cannot_be_used_fails_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset_trees.original_project(tmp_path)
    label = next((tmp_path / "dataset" / "CityScapes" / "gtFine").rglob("*_labelIds.png"))
    label.write_bytes(b"no image")
    check = ["data", "check", "--root", str(tmp_path), "--dataset", "cityscapes"]
    assert main(check) == 1
    printed = capsys.readouterr().out
    assert f"error: {label}" in printed
    assert "1 errors" in printed
    assert main([*check, "--names-only"]) == 0


def test_a_list_can_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset_trees.original_project(tmp_path)
    listed = tmp_path / "dataset" / "ACDC" / "vallist_fog.txt"
    arguments = [
        "data",
        "check",
        "--root",
        str(tmp_path),
        "--dataset",
        "acdc",
        "--split",
        str(listed),
    ]
    main(arguments)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {row[1] for row in rows if "fog" in row} == {"adverse", "reference"}


def test_notes_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset_trees.original_project(tmp_path)
    listed = tmp_path / "dataset" / "ACDC" / "vallist_fog.txt"
    status = main(
        [
            "evaluate", "--weights", "random:tiny", "--dataset", "acdc", "--root", str(tmp_path),
            "--split", str(listed), "--steps", "1", "--spread", "1",
            "--out", str(tmp_path / "out"),
        ]
    )  # fmt: skip
    printed = capsys.readouterr()
    assert status == 0, printed.err
    notes = [line for line in printed.err.splitlines() if line.startswith("camseg: note: ")]
    assert len(notes) == 1
    assert "images are left out by part 'adverse'" in notes[0]
