# SPDX-License-Identifier: Apache-2.0
"""Label sets as YAML files, and label sets by name.

A label set file has the fields of `LabelSet`::

    name: drivable
    names: [road, obstacle, sky]
    palette: [[128, 64, 128], [220, 20, 60], [70, 130, 180]]
    void_color: [0, 0, 0]               # may be left out
    source_ids: {7: road, 24: obstacle, 26: obstacle, 23: sky}   # may be left out
"""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES, UNLABELED, LabelSet
from camseg_core.system.files import read_yaml, write_bytes

FIELDS = ("name", "names", "palette", "void_color", "source_ids")

LABEL_SETS = {
    "cityscapes": CITYSCAPES,
    "cityscapes-train-ids": replace(CITYSCAPES, source_ids={}),
    "camvid": CAMVID,
}
"""The label sets that have a name: ``cityscapes`` reads the 34 label ids, ``cityscapes-train-ids``
is the same classes for files that hold 0..18 already."""

DEFAULT_VOID_COLOR = (0, 0, 0)


def find_label_set(source: str | Path) -> LabelSet:
    """Return the label set of a name in `LABEL_SETS`, or read a YAML file.

    Raises:
        CamsegError: neither a name nor a file, or the file breaks a rule.
    """
    if str(source) in LABEL_SETS:
        return LABEL_SETS[str(source)]
    path = Path(source)
    if not path.is_file():
        close = get_close_matches(str(source), LABEL_SETS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise CamsegError(
            f"no label set {str(source)!r}: {hint}a YAML file or one of "
            f"{', '.join(LABEL_SETS)} is needed"
        )
    return read_label_set(path)


def read_label_set(path: Path) -> LabelSet:
    """Read a label set file; the original project's YAML files (``learning_map``) are read too.

    ``source_ids`` maps ids of label files to a class name, a class id, or ``unlabeled``.

    Raises:
        CamsegError: unreadable, no YAML, a field is missing, unknown or of another kind, or a rule
            of `LabelSet` is broken; file and field are named.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise CamsegError(f"{path} is no label set: a table with {', '.join(FIELDS)} is needed")
    if "learning_map" in content and "names" not in content:
        return _from_learning_map(path, content["learning_map"])
    unknown = [field for field in content if field not in FIELDS]
    if unknown:
        raise CamsegError(
            f"{path}: field {unknown[0]!r} is unknown; a label set has {', '.join(FIELDS)}"
        )
    for field in ("name", "names", "palette"):
        if field not in content:
            raise CamsegError(f"{path}: field {field!r} is missing")
    names = _names(path, content["names"])
    if not isinstance(content["name"], str):
        raise CamsegError(
            f"{path}: field 'name' is {content['name']!r}; text is needed, write it in quotes"
        )
    colors = content["palette"]
    if not isinstance(colors, list):
        raise CamsegError(f"{path}: field 'palette' is {colors!r}; a list of colours is needed")
    try:
        return LabelSet(
            name=content["name"],
            names=names,
            palette=tuple(_color(path, f"palette[{i}]", color) for i, color in enumerate(colors)),
            void_color=_color(path, "void_color", content.get("void_color", DEFAULT_VOID_COLOR)),
            source_ids=_source_ids(path, content.get("source_ids") or {}, names),
        )
    except CamsegError as error:
        text = str(error)
        raise CamsegError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def write_label_set(label_set: LabelSet, path: Path) -> None:
    """Write a label set as a YAML file that `read_label_set` reads back.

    Raises:
        CamsegError: the file cannot be written.
    """
    content = label_set.to_dict()
    content["source_ids"] = {
        source: UNLABELED if target == UNLABELED else label_set.names[target]
        for source, target in label_set.source_ids.items()
    }
    readable = "".join((label_set.name, *label_set.names)).isprintable()
    text = yaml.safe_dump(
        content,
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=readable,  # else PyYAML would write line separators as they are
    )
    write_bytes(path, text.encode())


def _names(path: Path, names: Any) -> tuple[str, ...]:
    if not isinstance(names, list):
        raise CamsegError(f"{path}: field 'names' is {names!r}; a list of class names is needed")
    for index, name in enumerate(names):
        if not isinstance(name, str):  # YAML reads on, no and 3 as other things than text
            raise CamsegError(
                f"{path}: names[{index}] is {name!r}; text is needed, write it in quotes"
            )
    return tuple(names)


def _color(path: Path, field: str, color: Any) -> tuple[int, int, int]:
    if not isinstance(color, list | tuple) or len(color) != 3:
        raise CamsegError(
            f"{path}: {field} is {color!r}; a colour is three whole numbers from 0 to 255"
        )
    return color[0], color[1], color[2]  # their range is a rule of LabelSet


def _source_ids(path: Path, table: Any, names: tuple[str, ...]) -> dict[int, int]:
    if not isinstance(table, dict):
        raise CamsegError(
            f"{path}: field 'source_ids' is {table!r}; a table of id: class name is needed"
        )
    ids = {"unlabeled": UNLABELED, **{name: class_id for class_id, name in enumerate(names)}}
    source_ids = {}
    for source, target in table.items():
        if type(source) is not int:
            raise CamsegError(f"{path}: source_ids has key {source!r}; a whole number is needed")
        if isinstance(target, str) and target in ids:
            source_ids[source] = ids[target]
        elif type(target) is int:
            source_ids[source] = target
        else:
            raise CamsegError(
                f"{path}: source_ids[{source}] is {target!r}; a class ({', '.join(names)}), "
                "a class id or 'unlabeled' is needed"
            )
    return source_ids


def _from_learning_map(path: Path, table: Any) -> LabelSet:
    """Read the original project's YAML: id of a label file -> 0 (void) or 1 + class id."""
    last = CITYSCAPES.num_classes
    if not isinstance(table, dict) or not all(
        type(source) is int and type(target) is int and 0 <= target <= last
        for source, target in table.items()
    ):
        raise CamsegError(
            f"{path}: learning_map is not readable; a table of whole numbers to 0..{last} is needed"
        )
    source_ids = {source: target - 1 for source, target in table.items() if target}
    return replace(CITYSCAPES, source_ids=source_ids)
