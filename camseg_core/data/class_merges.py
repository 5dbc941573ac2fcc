# SPDX-License-Identifier: Apache-2.0
"""Scoring on other classes: predicted classes are merged into those of a data set.

A merge file names for each class of the data set the predicted classes that count as it::

    name: mine
    classes:
      drivable: [road, sidewalk]
      obstacle: [person, rider, car, truck, bus]
      nothing of ours: []          # never predicted

Predicted classes that it leaves out have no target: where they are predicted, the pixel is wrong.
Shapes: H, W = image size; C = predicted classes; T = classes of the data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError, suggest
from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED, LabelSet
from camseg_core.system.files import parse_yaml, read_yaml
from camseg_core.system.validation import parse

_FOLDER = resources.files("camseg_core.data").joinpath("merges")

MERGES = tuple(
    sorted(
        entry.name.removesuffix(".yaml")
        for entry in _FOLDER.iterdir()
        if entry.name.endswith(".yaml")
    )
)
"""The merge files that come with the package."""

_RULES = (
    "a merge file has a name and classes, which name for each class of the data set a list of "
    "predicted classes"
)


@dataclass(frozen=True)
class ClassMerge:
    """One merge file, for particular predicted classes.

    Attributes:
        target: the classes of the data set.
        table: for each predicted class the class id of the target, or `UNLABELED` where it has
            none.
    """

    target: LabelSet
    table: tuple[int, ...]

    def class_ids(self, predicted: UInt8) -> UInt8:
        """Merge predicted class ids, uint8 [H, W]; those without a target become unlabeled."""
        table = np.full(256, UNLABELED, np.uint8)
        table[: len(self.table)] = self.table
        merged: UInt8 = table[predicted]
        return merged

    def probabilities(self, predicted: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum the probabilities of merged classes: float32 [C, H, W] -> [T, H, W].

        What belongs to classes without a target is missing to 1.
        """
        merged = np.zeros((self.target.num_classes, *predicted.shape[1:]), np.float32)
        for plane, class_id in zip(predicted, self.table, strict=True):
            if class_id != UNLABELED:
                merged[class_id] += plane
        return merged


@dataclass(frozen=True)
class MergeFile:
    """Content of a merge file.

    Attributes:
        name: its name, for reports.
        classes: class of the data set -> predicted classes that count as it.
    """

    name: str
    classes: dict[str, list[str]]

    def between(self, predicted: LabelSet, target: LabelSet) -> ClassMerge:
        """Apply it to the classes of some weights and of a data set.

        Raises:
            CamsegError: it names a class that is not there, or a predicted class twice.
        """
        table = [UNLABELED] * predicted.num_classes
        for name, sources in self.classes.items():
            self._check(name, target, "the data set")
            for source in sources:
                self._check(source, predicted, "the weights")
                index = predicted.names.index(source)
                if table[index] != UNLABELED:
                    earlier = target.names[table[index]]
                    raise CamsegError(
                        f"merge {self.name!r} counts {source!r} as {earlier!r} and as {name!r}; "
                        "one target is needed"
                    )
                table[index] = target.names.index(name)
        return ClassMerge(target, tuple(table))

    def notes(self, predicted: LabelSet, target: LabelSet) -> Iterator[str]:
        """Say what costs points whatever the weights do, a line each.

        Raises:
            CamsegError: see `between`.
        """
        self.between(predicted, target)
        merged = {source for sources in self.classes.values() for source in sources}
        lost = [name for name in predicted.names if name not in merged]
        never = [name for name in target.names if not self.classes.get(name)]
        if lost:
            yield (
                f"merge {self.name!r}: a pixel that is taken for {' or '.join(lost)} is wrong, "
                "since the data set has nothing of the kind"
            )
        if never:
            names = ", ".join(never)
            yield f"merge {self.name!r}: never predicted, so that their IoU is 0: {names}"

    def _check(self, name: str, label_set: LabelSet, whose: str) -> None:
        if name not in label_set.names:
            raise CamsegError(
                f"merge {self.name!r} names {name!r}, which is no class of {whose} "
                f"({label_set.name!r}); {suggest(name, label_set.names)}"
            )


def find_merge(source: str | Path) -> MergeFile:
    """Return the merge of a name in `MERGES`, or read a YAML file.

    Raises:
        CamsegError: ``source`` is neither; or the file is unreadable or no merge file.
    """
    if str(source) in MERGES:
        entry = _FOLDER.joinpath(f"{source}.yaml")
        return parse(MergeFile, parse_yaml(entry.read_text("utf-8"), entry.name), entry.name)
    path = Path(source)
    if not path.is_file():
        known = suggest(str(source), MERGES)
        raise CamsegError(f"no merge {str(source)!r}; {known}, or give a YAML file")
    try:
        return parse(MergeFile, read_yaml(path), str(path))
    except CamsegError as error:
        raise CamsegError(f"{error}; {_RULES}") from error
