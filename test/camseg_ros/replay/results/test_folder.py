# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from camseg_core.errors import CamsegError
from camseg_ros.replay.results.folder import MARKER, check_inputs, prepare_folder


def test_an_earlier_replay_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    prepare_folder(out)
    for name in ("report.html", "replay.json", "drives/x.json", "pictures/x.jpg"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("x")
    run = out / "kitti-step-val-official-12345678"
    run.mkdir()
    (run / "run.json").write_text("{}")
    prepare_folder(out)
    assert sorted(path.name for path in out.rglob("*")) == [MARKER, "drives"]


def test_results_are_not_written_where_bags_are_read(tmp_path: Path) -> None:
    check_inputs(tmp_path / "out", [tmp_path / "bags" / "a"])
    for bag in (tmp_path / "out" / "bags" / "a", tmp_path / "out"):
        with pytest.raises(CamsegError, match="lies in .*, where results are written"):
            check_inputs(tmp_path / "out", [bag])


@pytest.mark.parametrize(
    ("name", "is_marked"),
    [
        ("notes.txt", True),
        ("photos/a.jpg", True),
        ("bags/drive/metadata.yaml", False),
        ("a_run/run.json", False),
    ],
)
def test_other_people_s_files_are_not_touched(tmp_path: Path, name: str, is_marked: bool) -> None:
    for entry in (name, "report.html", *([MARKER] if is_marked else [])):
        (tmp_path / entry).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / entry).write_text("x")
    found = name.partition("/")[0]
    with pytest.raises(CamsegError, match=rf"holds something else .* \({found}\); give another"):
        prepare_folder(tmp_path)
    assert (tmp_path / name).exists()
    assert (tmp_path / "report.html").exists()


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(CamsegError, match=r"/out is no folder; give another --out$"):
        prepare_folder(tmp_path / "out")
    with pytest.raises(CamsegError, match=r"^cannot write .*/out/in: Not a directory$"):
        prepare_folder(tmp_path / "out" / "in")
