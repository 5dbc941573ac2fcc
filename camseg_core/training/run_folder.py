# SPDX-License-Identifier: Apache-2.0
"""Where a run lives: ``output_dir/YYYY.MM.DD.HH.MM``, its settings and its log."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from camseg_core.errors import CamsegError
from camseg_core.system.files import write_bytes
from camseg_core.training.configuration import TrainingConfig, read_table

CONFIGURATION_FILE = "config.yaml"
LOG_FILE = "log.jsonl"
LAST = "last"


def make_run_folder(output_dir: Path, config: TrainingConfig, now: datetime) -> Path:
    """Make the folder of a new run, named by the minute, and write its settings into it.

    Raises:
        CamsegError: it cannot be written.
    """
    name = now.strftime("%Y.%m.%d.%H.%M")
    for suffix in ["", *(f".{number}" for number in range(2, 1000))]:
        folder = output_dir / f"{name}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise CamsegError(f"cannot make {folder}: {error.strerror or error}") from error
        write_configuration(folder, config)
        return folder
    raise CamsegError(f"{output_dir} has a thousand runs of this minute, {name}")


def write_configuration(run: Path, config: TrainingConfig) -> None:
    """Write a run's settings as YAML.

    Raises:
        CamsegError: the file cannot be written.
    """
    text = yaml.safe_dump(config.to_dict(), sort_keys=False)
    write_bytes(run / CONFIGURATION_FILE, text.encode())


def find_run(output_dir: Path, name: str) -> Path:
    """Return the run called ``name`` in ``output_dir``, at the path ``name``, or the ``last`` one.

    Raises:
        CamsegError: there is none.
    """
    if name == LAST:
        runs = sorted(
            (path.parent for path in output_dir.glob(f"*/{CONFIGURATION_FILE}")), key=_age
        )
        if not runs:
            raise CamsegError(f"{output_dir} holds no run to resume")
        return runs[-1]
    for folder in (output_dir / name, Path(name)):
        if (folder / CONFIGURATION_FILE).is_file():
            return folder
    known = sorted(path.parent.name for path in output_dir.glob(f"*/{CONFIGURATION_FILE}"))
    raise CamsegError(
        f"no run {name!r}: neither a folder of that name in {output_dir} nor a path with a "
        f"{CONFIGURATION_FILE}; there are {', '.join(known[-5:]) or 'none'}"
    )


def _age(run: Path) -> list[int]:
    """Order runs by the numbers of their names: minute, then count within the minute."""
    return [int(part) if part.isdecimal() else -1 for part in run.name.split(".")]


def read_run_configuration(run: Path) -> dict[str, Any]:
    """Read a run's settings as plain data.

    Raises:
        CamsegError: unreadable.
    """
    return read_table(run / CONFIGURATION_FILE)


class RunLog:
    """Writes numbers to ``log.jsonl`` and, where it is installed, to TensorBoard's files."""

    def __init__(self, run: Path | None, first_step: int) -> None:
        """Go on in a run's folder after ``first_step`` steps; None writes nothing.

        Raises:
            CamsegError: the log cannot be written.
        """
        self._path = None if run is None else run / LOG_FILE
        self._board = None
        if run is None or self._path is None:
            return
        if self._path.exists():  # what was logged after the checkpoint will be logged again
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= first_step]
            write_bytes(self._path, "".join(f"{line}\n" for line in kept).encode())
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, kind: str, numbers: dict[str, float]) -> None:
        """Log some numbers after ``step`` steps.

        Raises:
            CamsegError: the disk is full.
        """
        if self._path is None:
            return
        line = json.dumps({"step": step, "kind": kind, **numbers})
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise CamsegError(f"cannot write {self._path}: {error.strerror or error}") from error
        if self._board is not None:
            for name, number in numbers.items():
                self._board.add_scalar(f"{kind}/{name}", number, step)

    def close(self) -> None:
        """Write out what TensorBoard still holds."""
        if self._board is not None:
            self._board.close()


def _step_of(line: str) -> int:
    """Return the step of a line; a torn one is of no step that is kept."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**62
