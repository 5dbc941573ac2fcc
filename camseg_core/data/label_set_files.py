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

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES, UNLABELED, LabelSet
from camseg_core.system.files import read_yaml
from camseg_core.system.validation import parse

LABEL_SETS = {
    "cityscapes": CITYSCAPES,
    "cityscapes-train-ids": replace(CITYSCAPES, source_ids={}),
    "camvid": CAMVID,
}
"""The label sets that have a name. ``cityscapes`` reads the 34 label ids; ``cityscapes-train-ids``
has the same classes, for files that hold 0..18 already."""


@dataclass(frozen=True)
class _LabelSetFile:
    """The fields of a label set file; `LabelSet` has further rules for them."""

    name: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    void_color: tuple[int, int, int] = LabelSet.void_color
    source_ids: dict[int, Any] | None = None


_RULES = (
    "a label set file has name, names, palette and, if needed, void_color and source_ids; names "
    "that YAML takes for something else than text need quotes"
)


def find_label_set(source: str | Path) -> LabelSet:
    """Return the label set of a name in `LABEL_SETS`, or read a YAML file.

    Raises:
        CamsegError: ``source`` is neither a name nor a file, or the file breaks a rule.
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
        CamsegError: the file is unreadable or no YAML, a field is missing, unknown or of another
            kind, or a rule of `LabelSet` is broken; the message names file and field.
    """
    content = read_yaml(path)
    if isinstance(content, dict) and "learning_map" in content and "names" not in content:
        return _from_learning_map(path, content["learning_map"])
    try:
        file = parse(_LabelSetFile, content, str(path))
    except CamsegError as error:
        raise CamsegError(f"{error}; {_RULES}") from error
    try:
        source_ids = _class_ids(file.source_ids or {}, file.names)
        return LabelSet(file.name, file.names, file.palette, file.void_color, source_ids)
    except CamsegError as error:
        raise CamsegError(f"{path}: {error}") from error


def _class_ids(targets: dict[int, Any], names: tuple[str, ...]) -> dict[int, int]:
    """Return ``source_ids`` with class ids in place of class names."""
    ids = {"unlabeled": UNLABELED, **{name: class_id for class_id, name in enumerate(names)}}
    class_ids = {}
    for source, target in targets.items():
        if type(target) is not int and not (isinstance(target, str) and target in ids):
            raise CamsegError(
                f"source_ids[{source}] is {target!r:.60}; a class ({', '.join(names)}), "
                "a class id or 'unlabeled' is needed"
            )
        class_ids[source] = target if isinstance(target, int) else ids[target]
    return class_ids


def _from_learning_map(path: Path, content: Any) -> LabelSet:
    """Read the original project's YAML: id of a label file -> 0 (void) or 1 + class id."""
    table = parse(dict[int, int], content, f"{path}: learning_map")
    last = CITYSCAPES.num_classes
    for source, target in table.items():
        if not 0 <= target <= last:
            raise CamsegError(
                f"{path}: learning_map maps {source} to {target}; 0..{last} is needed"
            )
    return replace(CITYSCAPES, source_ids={id_: new - 1 for id_, new in table.items() if new})
