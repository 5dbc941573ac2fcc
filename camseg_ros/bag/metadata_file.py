# SPDX-License-Identifier: Apache-2.0
"""The files, counts and times that ``metadata.yaml`` states for a rosbag2 folder.

They are only a hint, because the storage files themselves are read. The hint gives their order and
what they held when the bag was whole. An error in it must cost no frames, so each part is read
independently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LATEST_NS = 2**63 - 1
"""Latest time that the integers of recorders can hold."""


@dataclass(frozen=True)
class BagMetadata:
    """Content of ``metadata.yaml``, as far as it can be read.

    Attributes:
        file_names: Names of the storage files, in their order, without folders; empty if unknown.
        counts: Number of messages per topic; None if unknown.
        types: Types of those topics, such as ``sensor_msgs/msg/Image``; empty if unknown.
        end_ns: Log time of the last message, nanoseconds; None if unknown.
    """

    file_names: tuple[str, ...] = ()
    counts: Mapping[str, int] | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    end_ns: int | None = None

    @classmethod
    def read(cls, folder: Path) -> BagMetadata:
        """Read the file in a folder; what is absent or damaged counts as unknown."""
        try:
            # This loader keeps every scalar as text; dates and numbers are checked below.
            text = (folder / "metadata.yaml").read_text(encoding="utf-8")
            content = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - it makes no objects
            metadata = content["rosbag2_bagfile_information"]
        except (OSError, yaml.YAMLError, ValueError, LookupError, TypeError, RecursionError):
            return cls()
        known: dict[str, Any] = {}
        for read_part in (_file_names, _topics, _end_ns):
            with suppress(LookupError, TypeError, ValueError):
                known.update(read_part(metadata))
        return cls(**known)


def _file_names(metadata: Any) -> dict[str, Any]:
    names = metadata["relative_file_paths"]
    if not isinstance(names, list):
        return {}
    # A file that is named twice is taken once: else its messages would be read twice.
    bare = dict.fromkeys(Path(name).name for name in names if isinstance(name, str))
    return {"file_names": tuple(name for name in bare if name)}


def _topics(metadata: Any) -> dict[str, Any]:
    """Return counts and types by topic; none if the counts do not add up (a cut or edited file)."""
    counts: Counter[str] = Counter()
    types: dict[str, str] = {}
    for counted in metadata["topics_with_message_count"]:
        topic = counted["topic_metadata"]
        kind = topic["type"]
        if not (isinstance(kind, str) and kind):  # a type proves the name whole
            return {}
        counts[topic["name"]] += int(counted["message_count"])
        types[topic["name"]] = kind
    is_whole = sum(counts.values()) == int(metadata["message_count"])
    return {"counts": counts, "types": types} if is_whole else {}


def _end_ns(metadata: Any) -> dict[str, Any]:
    start = int(metadata["starting_time"]["nanoseconds_since_epoch"])
    end = start + int(metadata["duration"]["nanoseconds"])
    return {"end_ns": end} if 0 <= end <= LATEST_NS else {}
