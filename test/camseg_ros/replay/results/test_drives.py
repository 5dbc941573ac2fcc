# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest
from made_replay import made_drive

from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.flicker import FlickerCounts
from camseg_ros.replay.results.drives import FrameResult, read_drives


def test_results_come_back_from_their_files(tmp_path: Path) -> None:
    first = replace(made_drive("a"), loss="damaged: x", pictures=["a_000000.jpg"], frames=[])
    second = made_drive("b", refused=1)
    assert second.write(tmp_path) == tmp_path / "drives" / "b.json"
    first.write(tmp_path)
    assert read_drives(tmp_path) == [first, second]


def test_sums() -> None:
    found = made_drive(repeated=2)
    assert found.flicker == FlickerCounts(stable=500, flickered=10)
    both = {"left": found.counts["left"], "right": replace(found.counts["left"], images=7)}
    assert replace(found, counts=both).total("images") == 12
    assert replace(found, counts=both).total("repeated") == 4
    silent = replace(found, frames=[FrameResult("left", 1, 0.5, None, None)])
    assert silent.flicker.share is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert read_drives(tmp_path) == []
    path = made_drive("b").write(tmp_path)
    path.write_text(path.read_text().replace('"loss": ""', '"loss": null'))
    with pytest.raises(CamsegError, match=r"drives/b\.json: loss is null: input should be a valid"):
        read_drives(tmp_path)
