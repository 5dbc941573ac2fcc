# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import threading

import pytest

from camseg_core.errors import TERMINATED
from camseg_core.system.processes import TORCHRUN, termination_unwinds

PROGRAM = """
import signal
from camseg_core.termination import termination_unwinds
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
