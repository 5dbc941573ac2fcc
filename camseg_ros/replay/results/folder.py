# SPDX-License-Identifier: Apache-2.0
"""The folder of a replay's results: new, empty, or an earlier replay's, which is replaced.

OUT/replay.html           the page
    replay.json           its figures
    junit.xml             outcome of the gates, if there are any
    drives/<bag>.json     scores of every frame, and what became of the bag's messages
    pictures/             some frames of each drive
    <dataset>-...-<id>/   records as `camseg evaluate` writes them, which `camseg report OUT` reads
    bags/<bag>/           masks and confidence, if asked for
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from camseg_core.errors import CamsegError
from camseg_core.evaluation.records import RUN_FILE
from camseg_core.system.files import TEMPORARY_NAME
from camseg_ros.replay.results.drives import DRIVES_FOLDER

PAGE_FILE, RESULT_FILE, JUNIT_FILE = "replay.html", "replay.json", "junit.xml"
BAGS_FOLDER, PICTURES_FOLDER = "bags", "pictures"
FOLDERS = (DRIVES_FOLDER, PICTURES_FOLDER, BAGS_FOLDER)
MARKER = ".camseg_replay"
"""File of a folder that a replay made: no other folder is emptied."""

FILES = (MARKER, PAGE_FILE, RESULT_FILE, JUNIT_FILE, "report.html", "figures.json")
"""Files of a replay, and what `camseg report OUT` writes beside them."""


def check_folder(out: Path) -> None:
    """Refuse a folder that `prepare_folder` would refuse; nothing is changed.

    Raises:
        CamsegError: the folder holds something else, or cannot be written.
    """
    try:
        _entries(out)
        nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        if not os.access(nearest, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise CamsegError(f"cannot write {out}: {error.strerror or error}") from error


def prepare_folder(out: Path) -> None:
    """Make the folder, or empty it of an earlier replay.

    Raises:
        CamsegError: the folder holds something else, or cannot be written.
    """
    try:
        # The marker is there first and goes never: a folder that was left half-made is still ours.
        entries = _entries(out)
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).touch()
        for entry in entries:
            if entry.is_dir():
                hidden = out / f".{uuid4().hex}"  # a half-removed folder is ours by this name
                entry.rename(hidden)
                shutil.rmtree(hidden)
            elif entry.name != MARKER:
                entry.unlink()
        (out / DRIVES_FOLDER).mkdir()
    except OSError as error:
        raise CamsegError(f"cannot write {out}: {error.strerror or error}") from error


def _entries(out: Path) -> list[Path]:
    """Return what a folder holds of an earlier replay."""
    if out.exists() and not out.is_dir():
        raise CamsegError(f"{out} is no folder; give another --out")
    entries = sorted(out.iterdir()) if out.exists() else []
    is_ours = (out / MARKER).is_file()
    foreign = [entry.name for entry in entries if not (is_ours and _is_ours(entry))]
    if foreign:
        raise CamsegError(
            f"{out} holds something else than an earlier replay ({foreign[0]}); give another --out"
        )
    return entries


def check_inputs(out: Path, bags: Sequence[Path]) -> None:
    """Refuse to write where the bags are read from.

    Raises:
        CamsegError: a bag is the folder or lies below it.
    """
    for bag in bags:
        if bag.resolve().is_relative_to(out.resolve()):
            raise CamsegError(f"{bag} lies in {out}, where results are written; give another --out")


def _is_ours(entry: Path) -> bool:
    if TEMPORARY_NAME.fullmatch(entry.name):  # what a killed replay left
        return True
    if entry.is_dir() and not entry.is_symlink():
        return entry.name in FOLDERS or (entry / RUN_FILE).is_file() or _is_left(entry)
    return entry.name in FILES


def _is_left(folder: Path) -> bool:
    """Tell a folder of a replay that was killed before it had written anything whole."""
    return all(TEMPORARY_NAME.fullmatch(entry.name) for entry in folder.iterdir())
