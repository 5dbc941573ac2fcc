# SPDX-License-Identifier: Apache-2.0
"""Which files lie in and below a folder: one rule for images, data sets and bags to make."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from natsort import natsort_keygen, ns

from camseg_core.errors import CamsegError

natural_key = natsort_keygen(alg=ns.PATH)
"""Function that gives the key by which paths are sorted: by folder, numbers by their value."""


def files_below(folder: Path) -> list[Path]:
    """Return the regular files in and below a folder, in natural order; none if it is not there.

    Links to files and folders are followed, since data often lies on another disk; each real folder
    is entered once, so that loops of links end. Hidden files and folders, which other systems leave
    behind, are left out, and so is what is no regular file.

    Raises:
        CamsegError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise CamsegError(f"cannot read folder {error.filename}: {error.strerror}") from error

    files, entered = [], {os.path.realpath(folder)}
    for here, names, file_names in os.walk(folder, onerror=refuse, followlinks=True):
        kept = []
        for name in sorted(names, key=natural_key):
            real = os.path.realpath(os.path.join(here, name))
            if not name.startswith(".") and real not in entered:
                entered.add(real)
                kept.append(name)
        names[:] = kept
        paths = (Path(here, name) for name in file_names if not name.startswith("."))
        # A link to nothing stays: that it cannot be read has to be told.
        files += [path for path in paths if path.is_file() or not path.exists()]
    return in_natural_order(files)


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by folder and name, numbers by their value: ``2.png`` comes before ``10.png``."""
    return sorted(sorted(paths), key=natural_key)


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted and without hidden ones; none if it is not there.

    Raises:
        CamsegError: the folder cannot be read.
    """
    try:
        return sorted(
            entry
            for entry in folder.iterdir()
            if os.path.isdir(entry) and not entry.name.startswith(".")
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CamsegError(f"cannot read folder {folder}: {error.strerror or error}") from error
