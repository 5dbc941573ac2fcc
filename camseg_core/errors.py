# SPDX-License-Identifier: Apache-2.0
"""The one error that user input can cause, and the exit statuses of the programs."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from io import TextIOWrapper
from typing import TextIO

LONGEST_MESSAGE = 1000
"""Most characters of a message, whatever it quotes: long paths and lists of names have room."""
LONGEST_REASON = 300
LONGEST_VALUE = 60

FAILED_CHECK = 1
BAD_INPUT = 2
DEVICE_LOST = 70
"""Exit status of the node when only a new process can go on."""
INTERRUPTED = 130
TERMINATED = 143


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Ask whether the nearest known word was meant; empty if none is near."""
    close = nearest(word, known)
    return f"did you mean {close!r}?" if close else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is nearest to an unknown one; empty if none is near."""
    return next(iter(get_close_matches(word, [*known], n=1)), "")


def listed(items: Sequence[object], most: int) -> str:
    """Return the first items, separated by commas, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def suggest(word: str, known: Sequence[str]) -> str:
    """Return what could have been meant instead of an unknown word, and the known ones."""
    return f"{did_you_mean(word, known)} known are {', '.join(known) or 'none'}".lstrip()


def in_one_line(error: BaseException) -> str:
    """Say what an error of a library is, without line breaks and no longer than a log line."""
    return " ".join(f"{type(error).__name__}: {error}"[:LONGEST_REASON].split())


def shown(value: object, longest: int = LONGEST_VALUE) -> str:
    """Return how a value that came from outside is written in a message: as code, and shortened."""
    return shortened(repr(value), longest)


def shortened(text: str, longest: int) -> str:
    """Return a text, or its beginning and how long it was."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"


def message_of(text: str) -> str:
    """Return a text as one line of a bounded length, with control characters as escapes."""
    if len(text) > LONGEST_MESSAGE:
        half = LONGEST_MESSAGE // 2 - 30
        text = f"{text[:half]} ... ({len(text)} characters) ... {text[-half:]}"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class CamsegError(ValueError):
    """Bad input or bad usage: its text is what the user reads.

    The text says what was wrong, the value, the rule and what to do. The command line prints it
    without a traceback and exits with status 2; the node logs it and refuses the transition.
    Whatever the text quotes, it stays one line of a bounded length.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(message_of(text))


class CamsegWarning(UserWarning):
    """Something that the user must know and that is no error; its text is one line too."""


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Show a `CamsegWarning` as one line on stderr, and other warnings as Python does."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        yield


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print what users must know as one line, and other warnings as Python does."""
    text = warnings.formatwarning(message, category, filename, lineno, line)
    is_ours = issubclass(category, CamsegWarning)
    print(
        f"camseg: note: {message_of(str(message))}\n" if is_ours else text,
        end="",
        file=file or sys.stderr,
    )


def exit_status(program: str, work: Callable[[], int]) -> int:
    """Run a command, and return its exit status; what a user can cause ends it with one line."""
    for stream in (sys.stdout, sys.stderr):
        # A file name may hold what the terminal's encoding does not.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = work()
        sys.stdout.flush()
        return status
    except CamsegError as error:
        reason, status = str(error), BAD_INPUT
    except KeyboardInterrupt:
        reason, status = "interrupted", INTERRUPTED
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        _write_nowhere()
        return 0
    except OSError as error:  # a path that cannot be: too long, a loop of links; a full disk
        if error.errno is None:
            raise
        reason, status = str(error.strerror or error), BAD_INPUT
        if error.filename is None:
            _write_nowhere()
        else:
            reason = f"{error.filename}: {reason}"
    print(f"{program}: {message_of(reason)}", file=sys.stderr)
    return status


def _write_nowhere() -> None:
    """Let what is still to be printed go nowhere: its reader, or the disk, is not there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
