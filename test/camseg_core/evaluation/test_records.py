# SPDX-License-Identifier: Apache-2.0
"""Record files: what is written is read; torn, doubled, foreign and damaged lines."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from made_records import made_record, made_run, made_session

from camseg_core.errors import CamsegError
from camseg_core.evaluation.records import (
    RecordWriter,
    find_runs,
    iterate_records,
    line_content,
    open_run,
    read_lines,
    read_run,
    record_files,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = open_run(tmp_path, made_run())
    records = [made_record(seed, level=0.1 * seed, corruption="hue") for seed in range(5)]
    with RecordWriter(folder, 1, 3) as writer:
        writer.write(made_session())
        for record in records:
            writer.write(record)
    assert writer.path.name == "records-01-of-03.jsonl"
    files = record_files(folder)
    assert files == [writer.path]
    read = list(iterate_records(files))
    assert read == records
    assert [record.stage_seconds for record in read] == [x.stage_seconds for x in records]
    assert list(read_lines(files)) == [made_session(), *records]
    assert read_run(folder) == made_run()
    lines = files[0].read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["session", *["image"] * 5]
    first = json.loads(lines[1])
    assert first["counts"] == records[0].counts
    assert not first.keys() & {"camera", "stamp_ns", "changed", "stable", "flickered"}


def test_a_record_knows_its_scores() -> None:
    record = made_record(0, right=1.0)
    assert record.mean_iou == 1.0
    assert record.confusion.shape == (3, 4)
    assert record.calibration_counts.pixel_count == record.confusion.sum()


def test_a_run_is_named_by_all_that_decides_its_results(tmp_path: Path) -> None:
    names = {
        made_run(**changes).folder_name
        for changes in (
            {}, {"split": "test"}, {"protocol": "published"}, {"weights_sha256": None},
            {"sampling": {"sampler": "ddim", "seed": 0}}, {"images_sha256": "2" * 64},
            {"corruption_seed": 1}, {"model": {"name": "demo"}},
        )
    }  # fmt: skip
    assert len(names) == 8
    name = made_run(dataset="../../evil", split="lists/val list.txt").folder_name
    assert name.startswith(".._.._evil-val_list-official-")
    assert open_run(tmp_path, made_run()) == open_run(tmp_path, made_run())


def test_the_run_file_of_another_run_is_refused(tmp_path: Path) -> None:
    folder = open_run(tmp_path, made_run())
    other = asdict(made_run(split="test"))
    (folder / "run.json").write_text(json.dumps(other))
    with pytest.raises(CamsegError, match=r"run\.json is of another run; remove it or give"):
        open_run(tmp_path, made_run())


def test_a_torn_line_is_not_read_and_is_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    folder = open_run(tmp_path, made_run())
    with RecordWriter(folder, 0, 1) as writer:
        writer.write(made_record(0))
    whole = writer.path.read_bytes()
    for torn in (b"{", whole[:-1], b'{"kind":"image"'):
        writer.path.write_bytes(whole + torn)
        assert list(iterate_records([writer.path])) == [made_record(0)]
    with RecordWriter(folder, 0, 1) as writer:
        writer.write(made_record(1))
    assert list(iterate_records([writer.path])) == [made_record(0), made_record(1)]


def test_two_writers_of_one_file_are_refused(tmp_path: Path) -> None:
    folder = open_run(tmp_path, made_run())
    with RecordWriter(folder, 0, 1) as writer:
        with pytest.raises(CamsegError, match=r"records-00-of-01\.jsonl is being written by ano"):
            RecordWriter(folder, 0, 1)
        with RecordWriter(folder, 0, 2):
            pass
        writer.write(made_record(0))
    with RecordWriter(folder, 0, 1) as writer:
        writer.write(made_record(1))


def test_a_doubled_record_counts_once_unless_it_differs(tmp_path: Path) -> None:
    folder = open_run(tmp_path, made_run())
    slower = replace(made_record(0), stage_seconds={"decoder": 9.0})
    for index, record in enumerate((made_record(0), slower)):
        with RecordWriter(folder, index, 2) as writer:
            writer.write(record)
    (only,) = iterate_records(record_files(folder))
    assert only.stage_seconds == made_record(0).stage_seconds
    with RecordWriter(folder, 1, 2) as writer:
        writer.write(replace(made_record(1), sample="frame_0.png"))
    with pytest.raises(
        CamsegError, match=r"records-01-of-02\.jsonl, line 2: frame_0\.png has other scores than"
    ):
        list(iterate_records(record_files(folder)))


def damaged(**changes: Any) -> str:
    return json.dumps(line_content(made_record(0)) | changes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rubbish", "Invalid JSON"),
        ('{"kind": "image", "steps": 4}', r"image\.sample is missing \(and 11 more\)"),
        (damaged(counts=[[1]]), "confusion counts are not 3 rows of 4 whole numbers from 0"),
        (damaged(counts=[[1, 2, 3, -4]] * 3), "confusion counts are not 3 rows of 4 whole"),
        (damaged(counts="much"), r'image\.counts is "much": input should be a valid array'),
        (damaged(counts=None), "counts and calibration are given together, or neither is"),
        (damaged(calibration={}), "calibration counts have num_classes None, no number"),
        (damaged(calibration=7), r"image\.calibration is 7: input should be an object"),
        (damaged(sample=5), r"image\.sample is 5: input should be a valid string"),
        (damaged(level="high"), r'image\.level is "high": input should be a valid number'),
        (damaged(stages=4), r"image\.stages is not known"),
        (damaged(kind="picture"), "kind"),
        (
            damaged(stage_seconds={"steps": float("nan")}),
            r"image\.stage_seconds\.steps is NaN: input should be less",
        ),
        (damaged(level=float("inf")), r"image\.level is Infinity: input should be less"),
        (damaged(steps=10**400), r"image\.steps is 1000000"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    folder = open_run(tmp_path, made_run())
    with RecordWriter(folder, 0, 1) as writer:
        writer.write(made_record(1))
    with writer.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CamsegError, match=message) as raised:
        list(iterate_records([writer.path]))
    assert str(raised.value).startswith(str(writer.path))
    assert "\n" not in str(raised.value)


def test_runs_are_found_in_a_folder_or_are_one(tmp_path: Path) -> None:
    one = open_run(tmp_path, made_run())
    two = open_run(tmp_path, made_run(split="test"))
    assert find_runs(tmp_path) == sorted([one, two])
    assert find_runs(one) == [one]
    with pytest.raises(CamsegError, match=r"holds no evaluation: no run\.json in it or one folder"):
        find_runs(tmp_path / "absent")


@pytest.mark.parametrize("content", [b"{", b'{"dataset": "made"}', b"\xff"])
def test_a_damaged_run_file_is_named(tmp_path: Path, content: bytes) -> None:
    folder = open_run(tmp_path, made_run())
    (folder / "run.json").write_bytes(content)
    with pytest.raises(CamsegError, match=r"run\.json: "):
        read_run(folder)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CamsegError, match="cannot write"):
        open_run(tmp_path / "file", made_run())
    with pytest.raises(CamsegError, match="cannot write"):
        RecordWriter(tmp_path / "absent", 0, 1)
