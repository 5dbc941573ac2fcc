# SPDX-License-Identifier: Apache-2.0
"""The runner of hostile input finds what it is there for; a few cases of each target pass."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from camseg_core.errors import CamsegError

HERE = Path(__file__).parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_few_cases_of_every_target_pass() -> None:
    done = run("--cases", "250")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1].split("|")
    cases, taken, refused = map(int, last[2:5])
    assert cases == taken + refused > 200
    assert min(taken, refused) > 30


def refuse(text: str) -> None:
    error = CamsegError("")
    error.args = (text,)
    raise error


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "a traceback": (lambda: 1 // 0, "ZeroDivisionError"),
    "a crash": (os.abort, "ended with -6"),
    "a hang": (lambda: time.sleep(60), "ended with -9"),
    "memory": (lambda: len(bytearray(100 * 2**20)), "memory grew by "),
    "two lines": (lambda: refuse("a\nb"), "a refusal of 3 characters"),
    "a long line": (lambda: refuse("a" * 5000), "a refusal of 5000 characters"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_found_and_the_next_case_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE)
    import run as runner

    bad, told = BAD[name]
    numbers: list[int] = []

    def target(random: Random, folder: Path) -> None:
        assert folder.is_dir()
        if (folder.parent / "first").exists():
            return
        (folder.parent / "first").touch()
        bad()

    monkeypatch.setenv("FUZZ_FOLDER", str(tmp_path))
    monkeypatch.setitem(runner.TARGETS, "bad", (target, 1))
    monkeypatch.setattr(runner, "LIMIT_S", 3.0)
    monkeypatch.setattr(runner, "MOST_MEMORY_BYTES", 64 * 2**20)

    class Bar:
        def update(self) -> None:
            numbers.append(len(numbers))

    outcome = runner.run_target("bad", 1, range(3), Bar())
    (finding,) = outcome.findings
    assert finding.startswith("case 0: ")
    assert told in finding
    assert outcome.cases == 3
    assert outcome.taken >= 2
    assert numbers == [0, 1, 2]
