# SPDX-License-Identifier: Apache-2.0
"""Run hostile input against everything that reads input of others, and count what happens.

Each case is a function of target, seed and number, runs in a child process with limits of time and
memory, and has to end with a result or with one clear line. A finding is printed with the command
that repeats it; then the exit status is 1.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random
from typing import Any

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "builders")]

from targets import REFUSALS, TARGETS  # the folders above hold it and its parts

from camseg_core.system.files import write_bytes
from camseg_core.system.progress import progress_bar

LIMIT_S = 10.0
MOST_MEMORY_BYTES = 2**30
"""What a case may add to the memory of its process."""
MOST_CHARACTERS = 1000
"""Length of the longest text of a refusal; paths are part of it."""


@dataclass
class Outcome:
    """What happened to the cases of one target."""

    target: str
    cases: int = 0
    taken: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    most_memory_mib: float = 0.0
    findings: list[str] = field(default_factory=list)


def run_cases(
    target: str, seed: int, numbers: range, here: Synchronized[int], results: Any
) -> None:
    """Run cases in this process; ``here`` always holds the number of the case in progress."""
    faulthandler.enable()
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    warnings.simplefilter("ignore")
    with open("/proc/self/statm") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    limit = in_use + 6 * MOST_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call, _ = TARGETS[target]
    for number in numbers:
        here.value = number
        folder = Path(tempfile.mkdtemp(dir=os.environ["FUZZ_FOLDER"]))
        start, verdict, finding = time.perf_counter(), "taken", ""
        try:
            call(Random(f"{target} {seed} {number}"), folder)
        except REFUSALS as error:
            verdict, text = "refused", str(error)
            if "\n" in text or len(text) > MOST_CHARACTERS:
                finding = f"a refusal of {len(text)} characters: {text[:300]!r}"
        except BaseException:
            finding = traceback.format_exc(limit=-4)
        seconds = time.perf_counter() - start
        before, peak = peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        grown = (peak - before) * 1024
        if grown > MOST_MEMORY_BYTES:
            finding += f"memory grew by {grown / 2**20:.0f} MiB"
        shutil.rmtree(folder, ignore_errors=True)
        results.put((number, verdict, seconds, grown, finding))
    here.value = -1


def run_target(target: str, seed: int, numbers: range, bar: Any) -> Outcome:
    """Run cases in child processes; a new one goes on behind a case that crashed or hung."""
    outcome = Outcome(target)
    context = multiprocessing.get_context("fork")
    first = numbers.start
    while first < numbers.stop:
        here = context.Value(ctypes.c_long, first)
        results = context.SimpleQueue()
        rest = range(first, numbers.stop)
        child = context.Process(target=run_cases, args=(target, seed, rest, here, results))
        child.start()
        since, last = time.monotonic(), first
        while child.is_alive() or not results.empty():
            if results.empty():
                child.join(0.005)
                if time.monotonic() - since > LIMIT_S and child.is_alive():
                    child.kill()
                    child.join()
                continue
            number, verdict, seconds, grown, finding = results.get()
            since, last = time.monotonic(), number + 1
            outcome.cases += 1
            outcome.taken += verdict == "taken"
            outcome.refused += verdict == "refused"
            outcome.slowest_s = max(outcome.slowest_s, seconds)
            outcome.most_memory_mib = max(outcome.most_memory_mib, grown / 2**20)
            if finding:
                outcome.findings.append(f"case {number}: {finding}")
            bar.update()
        if last < numbers.stop:
            outcome.cases += 1
            outcome.findings.append(
                f"case {last}: the process ended with {child.exitcode} (-9: after {LIMIT_S:g} s)"
            )
            bar.update()
        first = last + 1
    return outcome


def table_lines(outcomes: list[Outcome]) -> list[str]:
    """Return a table of all targets."""
    lines = [
        "| input | cases | taken | refused | slowest, s | most memory, MiB | findings |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.target} | {one.cases} | {one.taken} | {one.refused} | {one.slowest_s:.2f} | "
        f"{one.most_memory_mib:.0f} | {len(one.findings)} |"
        for one in outcomes
    ]
    total = [sum(getattr(one, name) for one in outcomes) for name in ("cases", "taken", "refused")]
    slowest = max(one.slowest_s for one in outcomes)
    memory = max(one.most_memory_mib for one in outcomes)
    findings = sum(len(one.findings) for one in outcomes)
    counts = " | ".join(map(str, total))
    return [*lines, f"| all | {counts} | {slowest:.2f} | {memory:.0f} | {findings} |"]


def main() -> int:
    """Parse the command line, run the cases, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1, help="other seeds make other cases")
    parser.add_argument("--target", choices=list(TARGETS), action="append", help="only this one")
    parser.add_argument("--case", type=int, help="only this one, in this process; with --target")
    parser.add_argument("--json", type=Path, help="also write the outcomes to this file")
    given = parser.parse_args()
    names = given.target or list(TARGETS)
    with tempfile.TemporaryDirectory(prefix="camseg_fuzz_") as folder:
        os.environ["FUZZ_FOLDER"] = folder
        if given.case is not None:
            call, _ = TARGETS[names[0]]
            place = Path(folder) / "case"
            place.mkdir()
            call(Random(f"{names[0]} {given.seed} {given.case}"), place)
            return 0
        total = sum(TARGETS[name][1] for name in names)
        counts = {name: max(1, given.cases * TARGETS[name][1] // total) for name in names}
        with progress_bar(sum(counts.values()), "case", "hostile input") as bar:
            outcomes = [
                run_target(name, given.seed, range(count), bar) for name, count in counts.items()
            ]
    print(*table_lines(outcomes), sep="\n")
    for one in outcomes:
        for finding in one.findings:
            print(f"\n{one.target}, seed {given.seed}, {finding}", file=sys.stderr)
    if given.json:
        write_bytes(given.json, json.dumps([asdict(one) for one in outcomes], indent=1).encode())
    return 1 if any(one.findings for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
