# SPDX-License-Identifier: Apache-2.0
"""Progress bars, which look the same everywhere."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from camseg_core.errors import message_of


def progress_bar(
    total: int | None, unit: str, description: str, *, done: int = 0, hidden: bool = False
) -> tqdm[Any]:
    """Make a bar on stderr; a context manager whose ``update(n)`` counts.

    Args:
        total: Number of units in all; None if it is not known.
        unit: Name of what is counted.
        description: Text before the bar.
        done: Number of units that were done earlier.
        hidden: True in all but one of several processes.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=unit,
        desc=message_of(description),
        initial=done,
        disable=hidden,
        # In a log each state of the bar is one more line, and work of a second needs no bar.
        delay=0.0 if terminal else 1.0,
        mininterval=0.1 if terminal else 10.0,
    )
