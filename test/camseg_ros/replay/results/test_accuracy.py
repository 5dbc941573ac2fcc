# SPDX-License-Identifier: Apache-2.0
"""Against scores of the same records by hand."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_records import made_record, made_run

from camseg_core.evaluation.metrics.calibration import calibration_scores
from camseg_core.evaluation.metrics.confusion import sum_confusions
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.evaluation.records import ImageRecord, RecordWriter, Run, open_run
from camseg_ros.bag.dataset import CameraCounts
from camseg_ros.replay.results.accuracy import COLUMNS, accuracy_lines, score_drives
from camseg_ros.replay.results.drives import DriveResult, FrameResult

CAMERA = "left"


@dataclass
class MadeReplay:
    """Writes records of made-up drives below a folder, as an offline replay does."""

    out: Path
    run: Run = field(default_factory=made_run)
    drives: list[DriveResult] = field(default_factory=list)
    records: dict[str, list[ImageRecord]] = field(default_factory=dict)

    def add(
        self, name: str, seeds: range, condition: str = "clear", part: str = "", flicker: int = 0
    ) -> None:
        folder = open_run(self.out, self.run)
        records = [
            made_record(
                seed,
                sample=f"{name}/{CAMERA}/{seed}",
                part=part,
                condition=condition or "clear",
                sequence=name,
                camera=CAMERA,
                stamp_ns=seed,
                stable=10,
                flickered=flicker,
            )
            for seed in seeds
        ]
        # One more has no ground truth, and so no scores.
        without = made_record(99, sequence=name, part=part, counts=None, calibration=None)
        with RecordWriter(folder, len(self.drives), 9) as writer:
            for record in [*records, replace(without, sample=f"{name}/{CAMERA}/99")]:
                writer.write(record)
        about = ("made", "val", part, condition, name)
        counts = {CAMERA: CameraCounts(with_truth=len(records))}
        frames = [FrameResult.of_record(record) for record in records]
        self.drives.append(DriveResult(name, *about, folder.name, "", counts, frames))
        self.records[name] = records


def check_row(
    row: dict[str, Any],
    records: list[ImageRecord],
    flicker: float,
    condition: str | None = None,
    sequence: str | None = None,
) -> None:
    scores = official_scores(sum_confusions([record.confusion for record in records], 3))
    calibration = records[0].calibration_counts
    for record in records[1:]:
        calibration = calibration + record.calibration_counts
    error = calibration_scores(calibration).reliability.expected_calibration_error
    assert (row["condition"], row["sequence"], row["frames"]) == (condition, sequence, len(records))
    found = {name: row[name] for name in COLUMNS}
    assert found == pytest.approx(
        {
            "mean_iou": scores.mean_iou,
            "pixel_accuracy": scores.pixel_accuracy,
            "calibration_error": error,
            "flicker": flicker,
        }
    )


def test_one_drive_has_one_row(tmp_path: Path) -> None:
    made = MadeReplay(tmp_path)
    made.add("0002", range(5), flicker=3)
    (accuracy,) = score_drives(tmp_path, made.drives)
    assert (accuracy.dataset, accuracy.part) == ("made val, clear", "")
    (row,) = accuracy.rows
    check_row(row, made.records["0002"], 0.3)
    counts = sum_confusions([record.confusion for record in made.records["0002"]], 3)
    iou = np.diag(counts) / (counts.sum(axis=1) + counts[:, :3].sum(axis=0) - np.diag(counts))
    assert accuracy.class_iou == pytest.approx(dict(zip(("road", "car", "sky"), iou, strict=True)))
    figures = accuracy.figures()
    assert figures["class_iou.car"] == accuracy.class_iou["car"]
    assert (figures["flicker"], figures["mean_iou"]) == (0.3, row["mean_iou"])
    lines = list(accuracy_lines(made.drives, [accuracy]))
    assert lines[0] == "1 bags, 5 frames"
    assert " ".join(lines[1].split()) == "frames of frames mIoU pixel accuracy ECE flicker"
    assert lines[2].startswith("made val, clear ")
    assert lines[2].endswith("30.00")


def test_rows_by_condition_and_by_sequence(tmp_path: Path) -> None:
    made = MadeReplay(tmp_path)
    made.add("b", range(4), "night", flicker=1)
    made.add("a", range(10, 12), "", flicker=4)  # says nothing, and is clear
    made.add("c", range(20, 23), "night", flicker=2)
    (accuracy,) = score_drives(tmp_path, made.drives)
    a, b, c = (made.records[name] for name in "abc")
    rows = iter(accuracy.rows)
    check_row(next(rows), [*a, *b, *c], (4 * 1 + 2 * 4 + 3 * 2) / 90)
    check_row(next(rows), a, 0.4, condition="clear")
    check_row(next(rows), [*b, *c], (4 * 1 + 3 * 2) / 70, condition="night")
    check_row(next(rows), b, 0.1, sequence="b")
    check_row(next(rows), a, 0.4, sequence="a")
    check_row(next(rows), c, 0.2, sequence="c")
    assert list(rows) == []


def test_parts_and_data_sets_are_never_mixed(tmp_path: Path) -> None:
    made = MadeReplay(tmp_path)
    made.add("fog", range(3), "fog", "adverse")
    made.add("ref", range(5, 7), "clear", "reference")
    other = MadeReplay(tmp_path, made_run(dataset="other"))
    other.add("day", range(8, 9))
    scored = score_drives(tmp_path, [*made.drives, *other.drives])
    assert [(one.subject, len(one.rows)) for one in scored] == [
        ("made val adverse", 1), ("made val reference", 1), ("other val, clear", 1),
    ]  # fmt: skip
    check_row(scored[0].rows[0], made.records["fog"], 0.0)
    check_row(scored[1].rows[0], made.records["ref"], 0.0)
    assert scored[2].rows[0]["frames"] == 1


def test_without_ground_truth_there_is_nothing_to_score(tmp_path: Path) -> None:
    silent = DriveResult("x", "", "", "", "", "", "", "", {}, [])
    assert score_drives(tmp_path, [silent]) == []
    assert list(accuracy_lines([silent], [])) == ["1 bags, 0 frames"]
    made = MadeReplay(tmp_path)
    made.add("0002", range(2))
    (accuracy,) = score_drives(tmp_path, [silent, *made.drives])
    assert len(accuracy.rows) == 1
