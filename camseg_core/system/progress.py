# SPDX-License-Identifier: Apache-2.0
"""The one look of progress bars."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(
    total: int | None, unit: str, description: str, *, done: int = 0, hidden: bool = False
) -> tqdm[Any]:
    """Make a bar on stderr; a context manager whose ``update(n)`` counts.

    Args:
        total: how many there are in all; None if that is not known.
        unit: of what is counted.
        description: stands before the bar.
        done: how many were done earlier.
        hidden: true in all but one of several processes.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        initial=done,
        disable=hidden,
        # In a log, what is over within a second, be it done or refused, needs no bar, and each
        # state of the bar is one more line.
        delay=0.0 if terminal else 1.0,
        mininterval=0.1 if terminal else 10.0,
    )
