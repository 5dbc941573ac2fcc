# SPDX-License-Identifier: Apache-2.0
"""Which process of a torchrun this is, and real processes that wait for each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from camseg_core.errors import CamsegError
from camseg_core.system.processes import ProcessRank, process_group

WAITING = """
import sys, time
from pathlib import Path
from camseg_core.system.processes import ProcessRank, process_group
place, folder = ProcessRank.from_environment(), Path(sys.argv[1])
with process_group(place):
    if place.rank == 1:  # the first one comes here long before
        limit = time.monotonic() + 30
        while not (folder / "0").exists() and time.monotonic() < limit:
            time.sleep(0.01)
    (folder / str(place.rank)).touch()
assert sorted(path.name for path in folder.iterdir()) == ["0", "1"], place
print(place)
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_without_torchrun_there_is_one_process() -> None:
    place = ProcessRank.from_environment()
    assert place == ProcessRank(0, 1, 0)
    assert place.is_first
    assert place.device("cuda") == "cuda"
    with process_group(place):
        pass


def test_torchrun_says_which_one_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    place = ProcessRank.from_environment()
    assert place == ProcessRank(5, 8, 1)
    assert not place.is_first
    assert place.device("cuda") == "cuda:1"
    assert place.device("cuda:0") == "cuda:0"
    assert place.device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("rank", "world_size", "message"),
    [
        ("2", "2", "RANK is 2 and WORLD_SIZE 2; ranks count from 0 to one less"),
        ("0", "0", "RANK is 0 and WORLD_SIZE 0; ranks count"),
        ("first", "2", "RANK is 'first' in the environment; torchrun sets a whole number"),
        ("-1", "2", "RANK is '-1' in the environment"),
    ],
)
def test_a_wrong_environment_is_said(
    monkeypatch: pytest.MonkeyPatch, rank: str, world_size: str, message: str
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world_size)
    with pytest.raises(CamsegError, match=message):
        ProcessRank.from_environment()


def test_processes_that_cannot_meet_are_said() -> None:
    # Without MASTER_ADDR there is nobody to ask.
    with (
        pytest.raises(CamsegError, match="cannot join 2 processes: .*; start them with torchrun"),
        process_group(ProcessRank(0, 2, 0)),
    ):
        pass


def test_all_wait_for_each_other_at_the_end(tmp_path: Path) -> None:
    script, folder = tmp_path / "waiting.py", tmp_path / "files"
    script.write_text(WAITING)
    folder.mkdir()
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
            "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", script, folder,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ProcessRank(rank=0, world_size=2, local_rank=0)" in done.stdout
    assert "ProcessRank(rank=1, world_size=2, local_rank=1)" in done.stdout
