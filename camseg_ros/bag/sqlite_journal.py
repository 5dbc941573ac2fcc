# SPDX-License-Identifier: Apache-2.0
"""What a recorder that was killed left beside a SQLite bag: newer rows, or how to undo half of one.

The bag is never written to: SQLite itself puts the journal in order, on a copy.
Format: https://sqlite.org/wal.html and https://sqlite.org/lockingv3.html, section 3.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

SUFFIXES = ("-wal", "-journal")


class UnusableJournalError(ValueError):
    """SQLite cannot bring a file and its journal together: one line."""


def find_journals(path: Path) -> list[Path]:
    """Return the journals beside a SQLite file that hold something; of a link, beside its
    target.
    """
    path = path.resolve()
    beside = (path.with_name(path.name + suffix) for suffix in SUFFIXES)
    return [journal for journal in beside if journal.is_file() and journal.stat().st_size]


def recover_copy(path: Path, folder: Path) -> Path:
    """Copy a SQLite file and its journals into a folder, and bring them together there.

    Returns:
        The copy, which needs no journal.

    Raises:
        UnusableJournalError: SQLite refuses them.
        OSError: they cannot be copied.
    """
    copy = folder / "bag.db3"
    shutil.copyfile(path, copy)
    for journal in find_journals(path):
        suffix = journal.name.removeprefix(path.resolve().name)
        shutil.copyfile(journal, copy.with_name(copy.name + suffix))
    try:
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.Error as error:
        raise UnusableJournalError(
            f"what {path.name} lacks cannot be taken from the journal beside it ({error})"
        ) from error
    return copy
