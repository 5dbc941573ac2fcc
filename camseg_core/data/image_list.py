# SPDX-License-Identifier: Apache-2.0
"""Lists of images: a text file with one image path a line, as the original project has them.

Paths are relative to the folder above ``dataset/``, may start with ``./``, and are recognised by
the names of the layouts, which also tell where the label lies. Blank lines, Windows line ends and
a missing last newline do not matter. The order of the list is kept.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from camseg_core.data.known_layouts import LAYOUTS
from camseg_core.data.layout import Layout, LayoutImage, home_candidates
from camseg_core.errors import CamsegError, shown
from camseg_core.system.files import read_bytes

DATASET_FOLDER = "dataset"


LIST = "list"
"""The data set whose lists may have lines of any layout."""


def read_list(
    name: str, root: Path, list_file: str | Path
) -> tuple[Path, list[LayoutImage], list[str]]:
    """Read a list.

    Args:
        name: the layout that the lines have, or `LIST`.
        root: the folder above ``dataset/``; that folder itself or one in it will do.
        list_file: the list: as given, or else below ``root`` or in the data set's own folder.

    Returns:
        The path of the list; the images in its order; and for each line that cannot be used a text
        with its number, its path and the reason.

    Raises:
        CamsegError: the list is not there, is unreadable, is no text, or has no line.
    """
    layouts = tuple(LAYOUTS.values()) if name == LIST else (LAYOUTS[name],)
    homes = [home for layout in layouts for home in home_candidates(layout, root)]
    places = [Path(list_file), *(home / list_file for home in dict.fromkeys([root, *homes]))]
    path = next(filter(os.path.isfile, places), None)
    if path is None:
        raise CamsegError(f"no list {list_file}: none of {', '.join(map(str, places))} is a file")
    try:
        content = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CamsegError(
            f"list {path} is no text: byte {error.start} is not UTF-8; one image path a line is "
            "needed"
        ) from error
    if not os.path.isdir(root):
        raise CamsegError(f"no such folder: {root}; the paths in {path} are relative to it")
    images: list[LayoutImage] = []
    problems: list[str] = []
    number_of: dict[str, int] = {}
    # Not splitlines(), which also splits at form feeds and the like.
    for number, line in enumerate(content.split("\n"), start=1):
        text = line.strip()
        if not text:
            continue
        if "\\" in text and "/" not in text:
            raise CamsegError(
                f"list {path} has Windows separators, first in line {number}: {shown(text)}; write "
                "them as /, for example with tr '\\\\' /"
            )
        try:
            image = _recognize(text, root, layouts)
            earlier = number_of.setdefault(image.name, number)
            if earlier != number:
                raise CamsegError(f"stands in line {earlier} already")
            images.append(image)
        except CamsegError as error:
            problems.append(f"line {number}: {text} {error}")
    if not images and not problems:
        raise CamsegError(f"list {path} is empty; one image path a line is needed")
    return path, images, problems


def _recognize(text: str, root: Path, layouts: Sequence[Layout]) -> LayoutImage:
    path = PurePosixPath(text)  # drops ./ and doubled slashes
    if path.is_absolute() or ".." in path.parts:
        raise CamsegError(f"leaves the root {root}; paths below it are needed")
    base = _base(root, path)
    for layout in layouts:
        # The longest rest of the path that has the layout's form; before it is the data set.
        for start in range(len(path.parts)):
            home = base.joinpath(*path.parts[:start])
            image = layout.recognize(home, "/".join(path.parts[start:]))
            if image is None:
                continue
            if not os.path.isfile(image.image):
                raise CamsegError(f"is not there: no file {image.image}")
            if not image.has_label:
                raise CamsegError(f"has no label: no file {image.label}")
            return replace(image, name=path.as_posix())
    forms = ", ".join(layout.image_form for layout in layouts)
    raise CamsegError(f"has the form of no data set; known forms are {forms}")


def _base(root: Path, path: PurePosixPath) -> Path:
    """Find the folder that ``path`` is relative to, if ``root`` is ``dataset`` or lies in it."""
    if path.parts[:1] == (DATASET_FOLDER,) and not os.path.isdir(root / DATASET_FOLDER):
        here = root.absolute()
        for folder in (here, here.parent):
            if folder.name == DATASET_FOLDER:
                return folder.parent
    return root
