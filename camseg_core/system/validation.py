# SPDX-License-Identifier: Apache-2.0
"""Check the content of files and settings against dataclasses; errors name the bad value's path."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from camseg_core.errors import LONGEST_VALUE, CamsegError, shortened

T = TypeVar("T")


def parse(kind: type[T], content: Any, source: str) -> T:
    """Make a ``kind`` of content as JSON or YAML has it: nothing is guessed, nothing is ignored.

    Args:
        kind: Dataclass, or any other annotation that pydantic knows.
        content: Dictionaries, lists and plain values.
        source: Name of the content for messages, usually the path of its file.

    Raises:
        CamsegError: one line with ``source``, the path of the first bad value, the value and the
            rule. What a dataclass's ``__post_init__`` refuses is told the same way.
    """
    try:
        text = json.dumps(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise CamsegError(f"{source}: only plain values are allowed: {error}") from error
    return parse_json(kind, text, source)


def parse_json(kind: type[T], text: str | bytes, source: str) -> T:
    """Make a ``kind`` of JSON text; see `parse`.

    Raises:
        CamsegError: the text is not JSON, or a value is not what ``kind`` says.
    """
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        checked: T = _adapter(cast(Hashable, kind)).validate_json(b"[" + content + b"]")[0]
        return checked
    except ValidationError as error:
        raise CamsegError(f"{source}: {_first_problem(kind, error)}") from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # A configuration is handed on to plain dataclasses only from something that is none itself.
    return TypeAdapter(tuple[kind], config=ConfigDict(extra="forbid", strict=True))


def _first_problem(kind: Any, error: ValidationError) -> str:
    problems = _of_the_nearest_kind(error.errors(include_url=False))
    problem = problems[0]
    where = _path(problem["loc"][1:])
    cause = problem.get("ctx", {}).get("error")
    if problem["type"] == "json_invalid":
        text = problem["msg"]
    elif isinstance(cause, CamsegError):
        text = f"{where}: {cause}" if where else str(cause)
    elif problem["type"] == "unexpected_keyword_argument":
        text = f"{where} is not known; known are {', '.join(_known(kind, problem['loc'][1:-1]))}"
    elif problem["type"] == "missing":
        text = f"{where} is missing"
    else:
        value = shortened(json.dumps(problem["input"], default=str), LONGEST_VALUE)
        rule = problem["msg"][:1].lower() + problem["msg"][1:]
        text = f"{where or 'the content'} is {value}: {rule}"
    more = len(problems) - 1
    return " ".join(text.split()) + (f" (and {more} more)" if more else "")


def _of_the_nearest_kind(problems: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Keep the problems of that kind of a union which has the fewest."""
    kinds = Counter(part for problem in problems for part in problem["loc"] if _is_kind(part))
    nearest = min(kinds, key=kinds.__getitem__) if kinds else None
    return [
        problem
        for problem in problems
        if nearest in problem["loc"] or not any(map(_is_kind, problem["loc"]))
    ]


def _is_kind(part: int | str) -> bool:
    """Tell the name of a dataclass from a field's."""
    return isinstance(part, str) and part[:1].isupper()


def _known(kind: Any, location: Sequence[int | str]) -> list[str]:
    """Return the names of the fields that the dataclass at a location within ``kind`` has."""
    for part in location:
        if _is_kind(part):
            kind = next(choice for choice in get_args(kind) if choice.__name__ == part)
            continue
        kind = get_type_hints(kind)[str(part)] if is_dataclass(kind) else get_args(kind)[-1]
        choices = [choice for choice in get_args(kind) if is_dataclass(choice)]
        if len(choices) == 1 and isinstance(kind, UnionType):
            kind = choices[0]
    return [entry.name for entry in fields(kind)] if is_dataclass(kind) else []


def _path(location: Sequence[int | str]) -> str:
    """Write a location as ``frames[3].score``."""
    text = ""
    for part in location:
        if _is_kind(part):
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
