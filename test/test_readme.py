# SPDX-License-Identifier: Apache-2.0
"""The README's commands run as they stand, from top to bottom, and leave the checkout clean."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def commands() -> list[str]:
    """Return the command lines of all blocks marked bash; a backslash joins lines."""
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what git tracks, as a git repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    copy = tmp_path_factory.mktemp("checkout")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    for arguments in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *arguments], cwd=copy, check=True)
    return copy


@pytest.mark.timeout(400)
def test_every_line_works_and_leaves_lint_green(checkout: Path) -> None:
    tools = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
    }

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            check=False,  # the status is part of what is tested
        )

    lines = commands()
    assert len(lines) >= 10
    for line in lines:
        done = run(line)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    for page in ("offline/replay.html", "live/replay.html", "scores/report.html"):
        assert (checkout / "output" / page).stat().st_size > 10_000
    assert run("ruff check . && ruff format --check .").returncode == 0
    assert run("git status --porcelain --untracked-files=all | grep -v '^A '").stdout == ""
