# SPDX-License-Identifier: Apache-2.0
"""A thread that serves an executor, and ends without a race.

`Executor.shutdown` takes away what another thread that spins may just be waiting on; so the thread
ends first.
"""

from __future__ import annotations

import threading
from typing import Any


class SpinningThread:
    """Spins an executor from `start` to `stop`."""

    def __init__(self, executor: Any, name: str) -> None:
        """Take the executor, with its nodes."""
        self._executor = executor
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._spin, name=name)

    def start(self) -> None:
        """Begin to serve callbacks."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it was started, and shut the executor down."""
        self._is_over.set()
        self._executor.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._executor.shutdown()

    def _spin(self) -> None:
        while not self._is_over.is_set():
            self._executor.spin_once(timeout_sec=1.0)
