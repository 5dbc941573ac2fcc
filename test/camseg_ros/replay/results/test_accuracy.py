# SPDX-License-Identifier: Apache-2.0
"""Against scores of the same records by hand."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from made_records import made_record, made_run, made_session

from camseg_core.evaluation.metrics.calibration import calibration_scores
from camseg_core.evaluation.metrics.confusion import sum_confusions
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.evaluation.records import ImageRecord, RecordWriter, Run, open_run
from camseg_ros.replay.results.accuracy import AccuracyRow, sample_name, score_drives
from camseg_ros.replay.results.drive_result import DriveResult, FrameResult

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
                sample=sample_name(name, CAMERA, seed),
                part=part,
                condition=condition or "clear",
                sequence=name,
            )
            for seed in seeds
        ]
        with RecordWriter(folder, len(self.drives), 9) as writer:
            writer.write(made_session())
            for record in records:
                writer.write(record)
        frames = [FrameResult(CAMERA, seed, 0.5, 0.5, 0.1, 10, flicker) for seed in seeds]
        # One more has no truth, and so no record.
        frames.append(FrameResult(CAMERA, 10**6, 0.5, None, 0.1))
        about = ("made", "val", part, condition, name)
        self.drives.append(DriveResult(name, *about, folder.name, "", {}, frames))
        self.records[name] = records


def expected_row(
    records: list[ImageRecord], flicker: float, condition: str | None = None,
    sequence: str | None = None, part: str = "",
) -> AccuracyRow:  # fmt: skip
    scores = official_scores(sum_confusions([record.confusion for record in records], 3))
    calibration = records[0].calibration_counts
    for record in records[1:]:
        calibration = calibration + record.calibration_counts
    error = calibration_scores(calibration).reliability.expected_calibration_error
    return AccuracyRow(
        "made val", part, condition, sequence, len(records),
        pytest.approx(scores.mean_iou), pytest.approx(scores.pixel_accuracy),
        pytest.approx(error), pytest.approx(flicker),
    )  # fmt: skip


def test_one_drive_has_one_row(tmp_path: Path) -> None:
    made = MadeReplay(tmp_path)
    made.add("0002", range(5), flicker=3)
    (accuracy,) = score_drives(tmp_path, made.drives)
    assert (accuracy.dataset, accuracy.part) == ("made val", "")
    assert accuracy.rows == (expected_row(made.records["0002"], 0.3),)
    assert accuracy.whole is accuracy.rows[0]
    counts = sum_confusions([record.confusion for record in made.records["0002"]], 3)
    iou = np.diag(counts) / (counts.sum(axis=1) + counts[:, :3].sum(axis=0) - np.diag(counts))
    assert accuracy.class_iou == pytest.approx(dict(zip(("road", "car", "sky"), iou, strict=True)))


def test_rows_by_condition_and_by_sequence(tmp_path: Path) -> None:
    made = MadeReplay(tmp_path)
    made.add("b", range(4), "night", flicker=1)
    made.add("a", range(10, 12), "", flicker=4)  # says nothing, and is clear
    made.add("c", range(20, 23), "night", flicker=2)
    (accuracy,) = score_drives(tmp_path, made.drives)
    a, b, c = (made.records[name] for name in "abc")
    assert accuracy.rows == (
        expected_row([*a, *b, *c], (4 * 1 + 2 * 4 + 3 * 2) / 90),
        expected_row(a, 0.4, condition="clear"),
        expected_row([*b, *c], (4 * 1 + 3 * 2) / 70, condition="night"),
        expected_row(b, 0.1, sequence="b"),
        expected_row(a, 0.4, sequence="a"),
        expected_row(c, 0.2, sequence="c"),
    )


def test_parts_and_data_sets_are_never_mixed(tmp_path: Path) -> None:
    made = MadeReplay(tmp_path)
    made.add("fog", range(3), "fog", "adverse")
    made.add("ref", range(5, 7), "clear", "reference")
    other = MadeReplay(tmp_path, made_run(dataset="other"))
    other.add("day", range(8, 9))
    scored = score_drives(tmp_path, [*made.drives, *other.drives])
    assert [(one.dataset, one.part, len(one.rows)) for one in scored] == [
        ("made val", "adverse", 1), ("made val", "reference", 1), ("other val", "", 1),
    ]  # fmt: skip
    assert scored[0].whole == expected_row(made.records["fog"], 0.0, part="adverse")
    assert scored[1].whole == expected_row(made.records["ref"], 0.0, part="reference")
    assert scored[2].whole.frames == 1


def test_without_truth_there_is_nothing_to_score(tmp_path: Path) -> None:
    silent = DriveResult(
        "x", "", "", "", "", "", "", "", {}, [FrameResult(CAMERA, 1, 1, None, None)]
    )
    assert score_drives(tmp_path, [silent]) == []
    made = MadeReplay(tmp_path)
    made.add("0002", range(2))
    (accuracy,) = score_drives(tmp_path, [silent, *made.drives])
    assert len(accuracy.rows) == 1


def test_the_name_of_a_frame() -> None:
    assert sample_name("0002", "left", 123) == "0002/left/123"
