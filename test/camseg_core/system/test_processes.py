# SPDX-License-Identifier: Apache-2.0
"""Which process of a torchrun this is, processes that wait for each other, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from training_runs import torchrun

from camseg_core.errors import TERMINATED, CamsegError
from camseg_core.system.processes import (
    TORCHRUN,
    ProcessRank,
    process_group,
    termination_unwinds,
)

WAITING = """
import sys, time
from pathlib import Path
from camseg_core.system.processes import ProcessRank, process_group
process, folder = ProcessRank.from_environment(), Path(sys.argv[1])
with process_group(process):
    if process.rank == 1:  # the first one comes here long before
        limit = time.monotonic() + 30
        while not (folder / "0").exists() and time.monotonic() < limit:
            time.sleep(0.01)
    (folder / str(process.rank)).touch()
assert sorted(path.name for path in folder.iterdir()) == ["0", "1"], process
print(process)
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_without_torchrun_there_is_one_process() -> None:
    process = ProcessRank.from_environment()
    assert process == ProcessRank(0, 1, 0)
    assert process.is_first
    assert process.device("cuda") == "cuda"
    with process_group(process):
        pass


def test_torchrun_says_which_one_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    process = ProcessRank.from_environment()
    assert process == ProcessRank(5, 8, 1)
    assert not process.is_first
    assert process.device("cuda") == "cuda:1"
    assert process.device("cuda:0") == "cuda:0"
    assert process.device("cpu") == "cpu"


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
    printed = torchrun(script, folder)
    assert "ProcessRank(rank=0, world_size=2, local_rank=0)" in printed
    assert "ProcessRank(rank=1, world_size=2, local_rank=1)" in printed


PROGRAM = """
import signal
from camseg_core.system.processes import termination_unwinds
with termination_unwinds():
    try:
        print("ready", flush=True)
        signal.pause()
    finally:
        print("closed", flush=True)
"""


@pytest.mark.parametrize(
    ("environment", "status", "closed"),
    [({}, TERMINATED, "closed\n"), ({TORCHRUN: "1"}, -signal.SIGTERM, "")],
)
def test_what_is_open_is_closed(environment: dict[str, str], status: int, closed: str) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.terminate()
    assert program.communicate(timeout=60)[0] == closed
    assert program.returncode == status


def test_the_earlier_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with termination_unwinds(), termination_unwinds():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_other_threads_may_not_set_handlers_and_do_not() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with termination_unwinds():
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert errors == []
