# SPDX-License-Identifier: Apache-2.0
"""The node's process ends with the one that started it; what it does is tested elsewhere."""

import os
import signal
import subprocess
import sys

import pytest

from camseg_core.errors import TERMINATED, CamsegError
from camseg_ros.remote.node_process import node_process

WAITER = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
STARTER = f"""
import signal
from camseg_ros.remote.node_process import node_process
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


def test_unknown_parameters() -> None:
    with (
        pytest.raises(CamsegError, match="^segment_node has no parameter stepz$"),
        node_process({"stepz": 3, "steps": 2}),
    ):
        pass
