# SPDX-License-Identifier: Apache-2.0
"""The notebooks run from their first cell to the last, and are kept without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_the_notebook_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = nbformat.read(EXAMPLES / "segment.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in cells] == [([], None)] * len(cells)
    monkeypatch.chdir(EXAMPLES)  # as Jupyter does
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile(cell.source, cell.id, "exec"), names)
    assert names["result"].class_ids.shape == names["image"].shape[:2]
    assert sum(names["shares"].values()) > 0.9
    assert names["shares"]["road"] > 0.1
    assert 0.01 < names["differ"].mean() < 0.9
    assert 0 < names["entropy"].mean() < names["entropy"].max() < 3
    assert "road " in capsys.readouterr().out
