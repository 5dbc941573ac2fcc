# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from camseg_core.errors import CamsegError
from camseg_ros.bag.making.stamps import find_stamps

KITTI = "2011-09-26 13:02:25.964389445\n2011-09-26 13:02:26.06\n"
EXACT_NS = 1317042145_964389445


@pytest.mark.parametrize(
    ("text", "stems", "expected"),
    [
        (None, ["000000", "000001"], None),
        (KITTI, ["0", "1"], [EXACT_NS, 1317042146_060000000]),
        (f"\ufeff{KITTI}", ["0", "1"], [EXACT_NS, 1317042146_060000000]),  # as Windows writes it
        ("1317042145.964389445\n1317042146\n", ["0", "1"], [EXACT_NS, 1317042146_000000000]),
        (None, ["1317042145964389445"], [EXACT_NS]),
        (None, ["1317042145964389"], [1317042145_964389000]),
    ],
)
@pytest.mark.parametrize("home", ["pictures", "pictures/data"])  # the times may stand above
def test_times_from_lines_and_names(
    tmp_path: Path, home: str, text: str | None, stems: list[str], expected: list[int] | None
) -> None:
    folder = tmp_path / home
    folder.mkdir(parents=True)
    if text is not None:
        (tmp_path / "pictures" / "timestamps.txt").write_text(text)
    assert find_stamps(folder, [folder / f"{stem}.png" for stem in stems]) == expected


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1\n", r"timestamps\.txt has 1 times for 2 images; one for each is needed$"),
        ("1\nnoon\n", r"timestamps\.txt, line 2 is 'noon'; a date and time such as 2011-09-26 13"),
        ("1\n-2\n", "line 2 is '-2'; a date and time"),
        ("1\nnan\n", "line 2 is 'nan'; a date and time"),
        ("1\n2011-13-26 13:02:25\n", "line 2 is '2011-13-26 13:02:25'; a date"),
        ("2\n2\n", r"time 2000000000 follows 2000000000 ns; times must increase$"),
    ],
)
def test_times_that_are_none(tmp_path: Path, text: str, rule: str) -> None:
    (tmp_path / "timestamps.txt").write_text(text)
    with pytest.raises(CamsegError, match=rule):
        find_stamps(tmp_path, [tmp_path / "0.png", tmp_path / "1.png"])
