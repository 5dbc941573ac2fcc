# SPDX-License-Identifier: Apache-2.0
"""A program that gets a signal at a moment of its start: while it imports a library."""

from __future__ import annotations

import subprocess
import sys

_START = """
import os, sys
number, library, module, function = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
del sys.argv[1:5]

def at_import(event, values):
    if event == "import" and values[0] == library:
        os.kill(os.getpid(), number)

sys.addaudithook(at_import)
program = getattr(__import__(module, fromlist=[function]), function)
sys.exit(program())
"""


def signalled_at_import(
    library: str, number: int, program: str, *arguments: str
) -> tuple[int, str, str]:
    """Run ``MODULE:FUNCTION``, and return its exit status and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", _START, str(number), library, *program.split(":"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
