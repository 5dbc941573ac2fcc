# SPDX-License-Identifier: Apache-2.0
"""YAML of users: one strict loader, and one line for whatever is wrong."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from camseg_core.errors import CamsegError


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, which alone would let the last of two equal keys win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file as plain data.

    Raises:
        CamsegError: unreadable, no YAML, or a key stands twice; with the line where it is known.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_yaml(content, str(path))


def parse_yaml(content: bytes | str, source: str) -> Any:
    """Read YAML as plain data; ``source`` begins the message of an error.

    Raises:
        CamsegError: see `read_yaml`.
    """
    try:
        return _UniqueKeyLoader(content).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise CamsegError(f"{source}{line}: not YAML: {error.problem}") from error
    # Besides its own errors: bad encodings, keys that are lists, senseless dates, endless nesting.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CamsegError(f"{source}: not YAML: {reason}") from error
