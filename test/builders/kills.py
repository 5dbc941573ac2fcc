# SPDX-License-Identifier: Apache-2.0
"""Programs that are killed, at a moment of the time that they take or at a step on the disk.

As a program it is one that is killed at such a step: ``STEPS MODULE ARGUMENTS`` runs a module as
``python -m`` does, and ends with SIGKILL just before the last of ``STEPS``, see `Step`.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

LIMIT_S = 120.0
POLL_S = 0.0005
TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.\w+)?")
"""Names under which files and folders are written until they are whole."""

Step = tuple[str, str]
"""An audit event of Python, such as ``os.rename``, and a pattern of the path that it is of."""


@dataclass(frozen=True)
class Program:
    """A program as a user starts it, in a folder of its own, where it writes below ``out``.

    Attributes:
        module: what runs after ``python -m``.
        arguments: its arguments; paths in ``out`` are relative to the folder.
        progress: how far it has come, for its folder and the time at which the process was started:
            0 before it writes anything. What earlier processes left counts where work is resumed.
        loses: how much of the progress the next run may lose; None where each one begins anew.
    """

    module: str
    arguments: tuple[str, ...]
    progress: Callable[[Path, float], int]
    loses: int | None = None


@dataclass(frozen=True)
class Moment:
    """A moment of a program's work: so long after it has come so far."""

    progress: int
    delay_s: float


@dataclass(frozen=True)
class Timeline:
    """The time that an uninterrupted run took.

    Attributes:
        times_s: when it had come how far, in seconds after its start.
        lines: what it printed.
    """

    times_s: dict[int, float]
    lines: list[str]

    def moment(self, share: float, first: int, last: int) -> Moment:
        """Return the moment at a share of the time from one progress to another."""
        begin_s, end_s = self.times_s[first], self.times_s[last]
        at_s = begin_s + share * (end_s - begin_s)
        progress = max(reached for reached, time_s in self.times_s.items() if time_s <= at_s)
        return Moment(progress, at_s - self.times_s[progress])


def measure(program: Program, folder: Path) -> Timeline:
    """Let a program run to its end, and note how far it came when."""
    times_s: dict[int, float] = {}
    with running(program, folder) as (process, started):
        begin = time.monotonic()
        while process.poll() is None:
            assert time.monotonic() < begin + LIMIT_S
            reached, now_s = program.progress(folder / "out", started), time.monotonic() - begin
            if reached > max(times_s, default=0):
                times_s[reached] = now_s
            time.sleep(POLL_S)
    assert process.returncode == 0, error_of(folder)
    return Timeline(times_s, (folder / "stdout").read_text().splitlines())


def run(program: Program, folder: Path) -> tuple[int, str, str]:
    """Let a program run to its end; return its exit status and what it printed."""
    with running(program, folder) as (process, _):
        status = process.wait(LIMIT_S)
    return status, (folder / "stdout").read_text(), error_of(folder)


def kill_at_moment(program: Program, folder: Path, moment: Moment) -> bool:
    """Run a program and kill it at a moment; return whether it was still at work then.

    Work that an earlier process did does not count: this one has to come further.
    """
    out = folder / "out"
    with running(program, folder) as (process, started):
        before = program.progress(out, started)

        def has_come_so_far() -> bool:
            reached = program.progress(out, started)
            assert program.loses is None or reached >= before - program.loses
            return reached >= max(moment.progress, before + 1)

        if _comes_true(process, has_come_so_far):
            time.sleep(moment.delay_s)
        kill(process)
    assert process.returncode in (0, -signal.SIGKILL), error_of(folder)
    return process.returncode != 0


def kill_while(program: Program, folder: Path, condition: Callable[[Path, float], bool]) -> None:
    """Run a program and kill it while ``condition`` holds: it stands still when that is checked.

    The condition is of its folder ``out`` and the time at which it was started.
    """
    out = folder / "out"
    with running(program, folder) as (process, started):
        while True:
            assert _comes_true(process, lambda: condition(out, started)), error_of(folder)
            process.send_signal(signal.SIGSTOP)
            assert _comes_true(process, lambda: psutil.Process(process.pid).status() == "stopped")
            if condition(out, started):
                break
            process.send_signal(signal.SIGCONT)
        kill(process)
    assert process.returncode == -signal.SIGKILL


def kill_at_step(program: Program, folder: Path, steps: Sequence[Step]) -> None:
    """Run a program that kills itself just before the last of some steps, each after the other."""
    with running(program, folder, steps) as (process, _):
        status = process.wait(LIMIT_S)
    assert status == -signal.SIGKILL, (steps, status, error_of(folder))


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process as ``kill -9`` does; its children have to end by themselves, soon."""
    children = []
    if process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait(LIMIT_S)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


@contextmanager
def running(
    program: Program, folder: Path, steps: Sequence[Step] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Run a program in a folder; lend it with the time of its start; afterwards it is dead."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", program.module]
    if steps:
        command = [sys.executable, __file__, json.dumps(steps), program.module]
    started = time.time()
    with (folder / "stdout").open("wb") as output, (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [*command, *program.arguments],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdout=output,
            stderr=errors,
        )
    try:
        yield process, started
    finally:
        if process.poll() is None:
            kill(process)


def error_of(folder: Path) -> str:
    """Return what the last program in a folder printed on stderr."""
    return (folder / "stderr").read_text()


def left_behind(out: Path) -> list[Path]:
    """Return the files and folders that were being written when a program was killed."""
    return sorted(
        path
        for path in out.rglob("*")
        if TEMPORARY.fullmatch(path.name) or path.name.startswith(".camseg-bag-")
    )


def _comes_true(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> bool:
    """Wait for something that a process does; return whether it did before it ended."""
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit
        if process.poll() is not None:
            return False
        time.sleep(POLL_S)
    return True


def main(steps: str, module: str, *arguments: str) -> None:
    """Run a module, until the last of some steps."""
    left = [(event, re.compile(pattern)) for event, pattern in json.loads(steps)]

    def kill_at_last(event: str, values: tuple[object, ...]) -> None:
        if left and event == left[0][0] and left[0][1].search(str(values[0])):
            del left[0]
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill_at_last)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
