# SPDX-License-Identifier: Apache-2.0
"""``camseg benchmark`` shows what other packages add to it."""

from __future__ import annotations

import argparse
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from camseg_core.commands import benchmark


def add_subject(subjects: Any) -> None:
    subjects.add_parser("speed").set_defaults(command="measured")


@pytest.mark.parametrize("added", [True, False])
def test_subjects_come_from_entry_points(monkeypatch: pytest.MonkeyPatch, added: bool) -> None:
    point = EntryPoint("speed", f"{__name__}:add_subject", benchmark.PLUGINS)
    monkeypatch.setattr(
        benchmark, "entry_points", lambda group: EntryPoints([point] if added else [])
    )
    monkeypatch.setattr(EntryPoint, "load", lambda _: add_subject)
    parser = argparse.ArgumentParser()
    benchmark.add_commands(parser.add_subparsers())
    if added:
        assert parser.parse_args(["benchmark", "speed"]).command == "measured"
    else:
        with pytest.raises(SystemExit):
            parser.parse_args(["benchmark", "speed"])
