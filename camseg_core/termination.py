# SPDX-License-Identifier: Apache-2.0
"""SIGTERM ends a program as Ctrl-C does: what it opened is closed, what it started is ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from camseg_core.errors import TERMINATED

TORCHRUN = "TORCHELASTIC_RUN_ID"
"""Set in processes of torchrun, which may hang in a collective operation and must die at once."""


@contextmanager
def termination_unwinds() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit` of status 143, in the main thread and not under torchrun."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or TORCHRUN in os.environ:
        yield
        return
    earlier = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
