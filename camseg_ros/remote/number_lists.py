# SPDX-License-Identifier: Apache-2.0
"""Lists of numbers with and without decimals, which rcl refuses, as lists of floats.

``[1.5, 0, 1.2]`` is what one writes; rcl wants ``[1.5, 0.0, 1.2]``, in a params file as in
``-p NAME:=VALUE``. Only such lists are touched, character by character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import yaml

_WHOLE = re.compile(r"[-+]?[0-9]+")


def with_float_lists(arguments: Sequence[str], folder: Path) -> list[str]:
    """Return a ROS program's arguments with ``.0`` after the whole numbers of mixed lists.

    A params file with such a list is replaced by a copy in ``folder``; what cannot be read is left
    to rcl, which tells why.
    """
    changed = []
    for before, argument in pairwise(["", *arguments]):
        if before in ("-p", "--param"):
            name, separator, value = argument.partition(":=")
            changed.append(name + separator + _with_floats(value))
        elif before == "--params-file":
            changed.append(_copied(argument, folder / f"{len(changed)}.yaml"))
        else:
            changed.append(argument)
    return changed


def _copied(path: str, copy: Path) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return path
    changed = _with_floats(text)
    if changed == text:
        return path
    copy.write_text(changed, encoding="utf-8")
    return str(copy)


def _with_floats(text: str) -> str:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    for place in sorted(set(_ends_of_whole_numbers(root, set())), reverse=True):
        text = f"{text[:place]}.0{text[place:]}"
    return text


def _ends_of_whole_numbers(node: yaml.Node | None, seen: set[int]) -> Iterator[int]:
    """Yield where a whole number ends that stands in a list with decimals."""
    if node is None or isinstance(node, yaml.ScalarNode) or id(node) in seen:
        return
    seen.add(id(node))  # an alias may lead back
    if isinstance(node, yaml.SequenceNode):
        children = node.value
        if {_is_whole(child) for child in children} == {True, False}:
            yield from (child.end_mark.index for child in children if _is_whole(child))
    else:
        children = [child for entry in node.value for child in entry]
    for child in children:
        yield from _ends_of_whole_numbers(child, seen)


def _is_whole(node: yaml.Node) -> bool | None:
    """Tell a whole number from one with decimals; None for anything else."""
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return None
    try:
        float(node.value)
    except ValueError:
        return None
    return bool(_WHOLE.fullmatch(node.value))
