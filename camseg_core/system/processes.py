# SPDX-License-Identifier: Apache-2.0
"""Processes that torchrun started: how many, which one this is, and waiting for each other.

``torch.distributed`` is imported where it is used, so that the command line starts fast.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from camseg_core.errors import TERMINATED, CamsegError

Value = TypeVar("Value")

PATIENCE = timedelta(days=7)
"""How long processes wait for each other; torchrun ends all of them when one fails."""


@dataclass(frozen=True)
class ProcessRank:
    """This process among those of one torchrun.

    Attributes:
        rank: Number of this process, from 0 to ``world_size`` - 1.
        world_size: Number of processes on all machines; 1 without torchrun.
        local_rank: Number of this process on its machine, which chooses its CUDA device.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> ProcessRank:
        """Read what torchrun set.

        Raises:
            CamsegError: a variable is no number, or the rank is not below the world size.
        """
        found = cls(_number("RANK", 0), _number("WORLD_SIZE", 1), _number("LOCAL_RANK", 0))
        if not 0 <= found.rank < found.world_size:
            raise CamsegError(
                f"RANK is {found.rank} and WORLD_SIZE {found.world_size}; ranks count from 0 to "
                "one less: start with torchrun, or unset both"
            )
        return found

    @property
    def is_first(self) -> bool:
        """True for the one process that prints and writes what all share."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Return this process's device: ``cuda`` is its own card where there are several."""
        return f"cuda:{self.local_rank}" if name == "cuda" and self.world_size > 1 else name


@contextmanager
def process_group(process: ProcessRank, backend: str = "gloo") -> Iterator[None]:
    """Join the processes of one torchrun; a single process has nothing to join.

    On success all processes wait for each other at the end, so that what follows sees the files of
    all. Nested uses join nothing anew: processes meet once in a torchrun.

    Raises:
        CamsegError: the processes cannot reach each other.
    """
    if process.world_size == 1:
        yield
        return
    import torch.distributed as dist

    if dist.is_initialized():
        yield
        dist.barrier()
        return
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise CamsegError(
            f"cannot join {process.world_size} processes: {error}; start them with torchrun"
        ) from error
    try:
        yield
        dist.barrier()
    finally:
        dist.destroy_process_group()


def agreed(value: Value, process: ProcessRank) -> Value:
    """Return the first process's ``value`` to all processes, within `process_group`."""
    if process.world_size == 1:
        return value
    import torch.distributed as dist

    shared = [value]
    dist.broadcast_object_list(shared)
    return shared[0]


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise CamsegError(f"{name} is {text!r} in the environment; torchrun sets a whole number")
    return int(text)


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
