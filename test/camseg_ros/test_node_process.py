# SPDX-License-Identifier: Apache-2.0
"""The node's process ends with the one that started it; what it does is tested elsewhere."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from camseg_core.errors import TERMINATED, CamsegError
from camseg_ros.node_process import node_process

WAITER = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
STARTER = f"""
import signal
from camseg_ros.node_process import node_process
with node_process({{}}, ("-c", {WAITER!r})):
    signal.pause()
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, -signal.SIGINT)]
)
def test_the_node_is_not_left_behind(number: signal.Signals, status: int) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    assert is_alive(pid)
    starter.send_signal(number)
    starter.communicate(timeout=60)
    assert starter.returncode == status
    assert not is_alive(pid)


def test_the_earlier_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with node_process({}, ("-c", WAITER)) as process:
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert process.poll() is not None


def test_in_another_thread_signals_are_left_alone() -> None:
    ended: list[int | None] = []

    def work() -> None:
        with node_process({}, ("-c", WAITER)) as process:
            pass
        ended.append(process.poll())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert len(ended) == 1
    assert ended[0] is not None


def test_unknown_parameters() -> None:
    with (
        pytest.raises(CamsegError, match="^segment_node has no parameter stepz$"),
        node_process({"stepz": 3, "steps": 2}),
    ):
        pass
