# SPDX-License-Identifier: Apache-2.0
"""Find the times at which the images of a folder were taken, if the data states them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path

from camseg_core.errors import CamsegError, shown

_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?")
_NANOSECONDS, _MICROSECONDS = 19, 16
"""Number of digits of a time since the epoch, in this century."""


def find_stamps(folder: Path, images: Sequence[Path]) -> list[int] | None:
    """Find the times at which images were taken, in nanoseconds since the epoch.

    They are read from ``timestamps.txt`` in the folder or the one above it, as in KITTI's raw data:
    one line for each image, in the order of ``images``, with a date and time (UTC) or with seconds.
    Without that file, the names of the images are used if all are nanoseconds (19 digits) or
    microseconds (16 digits) since the epoch.

    Returns:
        One time for each image; None if the data states none.

    Raises:
        CamsegError: A line of the file is not a time, there is not one line for each image, or the
            times do not increase.
    """
    for home in (folder, folder.parent):
        path = home / "timestamps.txt"
        if folder.is_dir() and path.is_file():
            return _increasing(_read_times(path, len(images)), str(path))
    stems = [image.stem for image in images]
    for digits, factor in ((_NANOSECONDS, 1), (_MICROSECONDS, 1000)):
        if all(len(stem) == digits and stem.isdecimal() for stem in stems):
            return _increasing([int(stem) * factor for stem in stems], f"file names in {folder}")
    return None


def _read_times(path: Path, count: int) -> list[int]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CamsegError(f"cannot read {path}: {error}") from error
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) != count:
        raise CamsegError(
            f"{path} has {len(lines)} times for {count} images; one for each is needed"
        )
    return [_time_ns(line, f"{path}, line {n}") for n, line in enumerate(lines, start=1)]


def _time_ns(text: str, where: str) -> int:
    found = _DATE.fullmatch(text)
    try:
        if found:
            moment = datetime.fromisoformat(f"{found[1]}T{found[2]}").replace(tzinfo=timezone.utc)
            return int(moment.timestamp()) * 10**9 + int((found[3] or "0").ljust(9, "0"))
        seconds = Decimal(text)
        if seconds.is_finite() and seconds >= 0:
            return int(seconds * 10**9)
    except (ValueError, InvalidOperation):
        pass
    raise CamsegError(
        f"{where} is {shown(text)}; a date and time such as 2011-09-26 13:02:25.964389445, or "
        "seconds"
    )


def _increasing(times_ns: list[int], where: str) -> list[int]:
    for earlier, later in pairwise(times_ns):
        if later <= earlier:
            raise CamsegError(f"{where}: time {later} follows {earlier} ns; times must increase")
    return times_ns
