# SPDX-License-Identifier: Apache-2.0
"""The real node in its own process, started as users start it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from camseg_core.errors import CamsegError
from camseg_core.system.processes import termination_unwinds
from camseg_ros.node.parameters import find_parameter

END_LIMIT_S = 120.0
NODE_PROGRAM = ("-m", "camseg_ros.node.segment_node")

NodeParameters = Mapping[str, bool | int | float | str | list[str]]


@contextmanager
def node_process(
    parameters: NodeParameters, program: Sequence[str] = NODE_PROGRAM
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``segment_node`` with a params file, and interrupt it at the end if it still runs.

    Meanwhile SIGTERM ends this process by `SystemExit`, so that the node is not left behind.

    Args:
        parameters: parameters of the node, ``<camera>.<name>`` for those of a camera.
        program: arguments of Python that start the node.

    Raises:
        CamsegError: the node has no parameter of that name.
    """
    unknown = [name for name in parameters if find_parameter(name) is None]
    if unknown:
        raise CamsegError(f"segment_node has no parameter {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="camseg_") as folder:
        params_file = Path(folder) / "params.yaml"
        lines = [f"    {name}: {json.dumps(value)}" for name, value in parameters.items()]
        params_file.write_text("\n".join(["/**:", "  ros__parameters:", *lines, ""]))
        arguments = ["--ros-args"] + (["--params-file", str(params_file)] if lines else [])
        process = subprocess.Popen([sys.executable, *program, *arguments])
        try:
            with termination_unwinds():
                yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(timeout=END_LIMIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
