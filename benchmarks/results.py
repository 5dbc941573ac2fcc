# SPDX-License-Identifier: Apache-2.0
"""How the scripts beside this file write what they measured."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from camseg_core.system.devices import describe_machine
from camseg_core.system.files import write_bytes


def write_results(
    out: Path, name: str, threads: int, content: dict[str, Any], tables: Iterable[str]
) -> None:
    """Write and print what a script measured, and say by which command and on what machine.

    Args:
        out: folder of ``NAME.json`` and ``NAME.md``.
        name: name of both files.
        threads: number of torch's threads.
        content: the numbers, for the JSON file.
        tables: lines of the Markdown file, which are printed too.
    """
    origin = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": describe_machine(),
        "threads": threads,
    }
    write_bytes(out / f"{name}.json", json.dumps(origin | content, indent=1).encode() + b"\n")
    first = f"`{origin['command']}`; {origin['machine']}, {threads} threads."
    text = "\n".join([first, *tables]) + "\n"
    write_bytes(out / f"{name}.md", text.encode())
    print(text, end="")
