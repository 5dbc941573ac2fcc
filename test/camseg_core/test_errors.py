# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from camseg_core.errors import BAD_INPUT, CamsegError, exit_status, in_one_line, shown


def test_an_error_of_several_lines() -> None:
    assert in_one_line(KeyError("a\n  b")) == "KeyError: 'a\\n b'"
    assert in_one_line(ValueError("first\n\tsecond  third\r\n")) == "ValueError: first second third"


def test_a_value_is_shown_shortened() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert shown("x" * 100, 10) == "'xxxxxxxxx... (102 characters)"
    assert len(in_one_line(ValueError("x" * 10_000))) < 400


def test_whatever_a_message_quotes_it_is_one_bounded_line() -> None:
    text = str(CamsegError(f"first {'x' * 5000}\x1b[31m\n last"))
    assert text.startswith("first xxx")
    assert " ... (5017 characters) ... x" in text
    assert text.endswith(r"\x1b[31m\n last")
    assert len(text) < 1010
    assert str(CamsegError("caf\u00e9: \u4e2d")) == "caf\u00e9: \u4e2d"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (CamsegError("no such file: a\nb\udcff"), r"camseg: no such file: a\nb\udcff"),
        (OSError(errno.ENOSPC, "No space left on device"), "camseg: No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "/a"), "camseg: /a: Permission denied"),
    ],
)
def test_an_error_ends_in_one_line(error: Exception, line: str) -> None:
    program = (
        "import sys; from camseg_core.errors import *\n"
        f"def work(): raise {error!r}\n"
        "sys.exit(exit_status('camseg', work))"
    )
    if isinstance(error, OSError) and error.filename:
        program = program.replace("'Permission denied')", "'Permission denied', '/a')")
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, env={"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (BAD_INPUT, "", [line])


def test_a_full_disk_behind_the_output_is_one_line() -> None:
    program = (
        "import sys; from camseg_core.errors import *\n"
        "sys.exit(exit_status('camseg', lambda: print('x' * 100000) or 0))"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == BAD_INPUT
    assert done.stderr.splitlines() == ["camseg: No space left on device"]


def test_a_result_is_handed_on() -> None:
    assert exit_status("camseg", lambda: 1) == 1
