# SPDX-License-Identifier: Apache-2.0
"""How every command answers typing errors, and what its help and its completion show."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import pytest

from camseg_core.cli import main


@pytest.mark.parametrize(
    ("arguments", "command", "told"),
    [
        ("segmnt a.png", "camseg", "did you mean segment?"),
        ("segment a.png --out o --stpes=4", "camseg segment", "--stpes=4; did you mean --steps?"),
        ("segment a.png b.png --out o", "camseg segment", "unrecognized arguments: b.png"),
        ("segment a.png --otu o", "camseg segment", "--otu; did you mean --out?"),
        ("segment --out o a.png b.png --sedd 1", "camseg segment", "did you mean --seed?"),
        ("export demo --backend onnx", "camseg export", "unrecognized arguments: --backend"),
        ("--verison", "camseg", "did you mean --version?"),
        ("bag mkae", "camseg bag", "did you mean make?"),
        ("bag make --out o --frame 3", "camseg bag make", "--frame; did you mean --frames?"),
        ("benchmark speed --sizes 64x32", "camseg benchmark speed", "did you mean --size?"),
        ("synth --out o --condition fgo", "camseg synth", "did you mean fog?"),
        ("evaluate --weights demo --out o --root r --dataset d --thread 2", "camseg evaluate",
         "did you mean --threads?"),
    ],
)  # fmt: skip
def test_a_typing_error_gets_the_usage_of_its_command_and_the_nearest_word(
    arguments: str, command: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"usage: {command} [")
    assert printed.splitlines()[-1].startswith(f"{command}: error: ")
    assert printed.rstrip().endswith(told)


@pytest.mark.parametrize(
    ("module", "typed", "meant"),
    [("camseg_core.training", "--confgi", "--config"), ("camseg_ros.demo", "--farmes", "--frames")],
)
def test_programs_of_their_own_parse_alike(
    module: str, typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{module}.__main__" if module == "camseg_core.training" else module
    with pytest.raises(SystemExit) as end:
        import_module(name).main([typed, "x"])
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"usage: python -m {module} [")
    assert printed.rstrip().endswith(f"unrecognized arguments: {typed}; did you mean {meant}?")


def test_a_long_unknown_argument_is_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["segment", "a.png", "--out", "o", "x" * 100_000])
    assert "... (100000 characters)" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"camseg {version('camseg_ros')}\n"


def test_help_shows_the_defaults_that_say_something(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("bag make", "evaluate", "replay", "synth", "benchmark speed"):
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        printed = capsys.readouterr().out
        assert "(default: None)" not in printed
        assert "(default: [])" not in printed
        assert "(default: ())" not in printed
        if command == "synth":
            assert "(default: 512x256)" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("line", "expected"),
    [("camseg seg", "segment "), ("camseg bag make --fra", "--frames ")],
)
def test_a_shell_can_complete_words(line: str, expected: str) -> None:
    """What a shell asks of argcomplete, whose answer comes on file descriptor 8."""
    code = (
        "import os, sys; os.dup2(1, 8); from camseg_core.cli import main; sys.argv[0] = 'camseg'; "
        "main()"
    )
    asked = {
        "_ARGCOMPLETE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_IFS": "\n",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [expected]
