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
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from camseg_core.errors import CamsegError, suggest
from camseg_core.labels import CAMVID, CITYSCAPES, COMMA10K, UNLABELED, LabelSet
from camseg_core.system.files import read_yaml
from camseg_core.system.validation import parse

LABEL_SETS = {
    "cityscapes": CITYSCAPES,
    "cityscapes-train-ids": replace(CITYSCAPES, source_ids={}),
    "camvid": CAMVID,
    "comma10k": COMMA10K,
}
"""The label sets that have a name. ``cityscapes`` reads the 34 label ids; ``cityscapes-train-ids``
has the same classes, for files that hold 0..18 already."""

_LearningMap = dict[int, Annotated[int, Field(ge=0, le=CITYSCAPES.num_classes)]]
_RULES = (
    "a label set file has name, names, palette and, if needed, void_color and source_ids, which "
    "map ids to a name, a class id or 'unlabeled'; names that YAML takes for something else than "
    "text need quotes"
)


def find_label_set(source: str | Path) -> LabelSet:
    """Return the label set of a name in `LABEL_SETS`, or read a YAML file.

    The original project's YAML files (``learning_map``) are read too. ``source_ids`` maps ids of
    label files to a class name, a class id, or ``unlabeled``.

    Raises:
        CamsegError: ``source`` is neither a name nor a file; or the file is unreadable or no YAML,
            a field is missing, unknown or of another kind, or a rule of `LabelSet` is broken.
    """
    if str(source) in LABEL_SETS:
        return LABEL_SETS[str(source)]
    path = Path(source)
    if not path.is_file():
        known = suggest(str(source), tuple(LABEL_SETS))
        raise CamsegError(f"no label set {str(source)!r}; {known}, or give a YAML file")
    content = read_yaml(path)
    if isinstance(content, dict) and "learning_map" in content and "names" not in content:
        # Id of a label file -> 0 (void) or 1 + class id.
        table = parse(_LearningMap, content["learning_map"], f"{path}: learning_map")
        return replace(CITYSCAPES, source_ids={id_: new - 1 for id_, new in table.items() if new})
    try:
        return LabelSet.from_dict(_with_class_ids(content), str(path))
    except CamsegError as error:
        raise CamsegError(f"{error}; {_RULES}") from error


def _with_class_ids(content: Any) -> Any:
    """Return the content of a file with class ids in place of the class names in its table."""
    if not isinstance(content, dict) or not isinstance(content.get("names"), list):
        return content
    ids = {"unlabeled": UNLABELED, **{str(name): id_ for id_, name in enumerate(content["names"])}}
    table = content.get("source_ids") or {}
    if isinstance(table, dict):
        table = {
            source: ids.get(target, target) if isinstance(target, str) else target
            for source, target in table.items()
        }
    return {**content, "source_ids": table}
