# SPDX-License-Identifier: Apache-2.0
"""How all programs parse: defaults that are real in the help, and help with a typing error."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, NoReturn

from camseg_core.errors import nearest, shortened

LONGEST_TEXT = 200
"""Characters of a user's unknown arguments that are repeated."""


class CommandParser(argparse.ArgumentParser):
    """A parser whose subparsers are of its kind, too.

    Options cannot be abbreviated. What a command does not know is told with the usage of that very
    command, and with the nearest word that it does know.
    """

    def __init__(self, **settings: Any) -> None:
        """Take the settings of `argparse.ArgumentParser`."""
        self._has_commands = False
        super().__init__(
            **{"formatter_class": DefaultsHelpFormatter, "allow_abbrev": False, **settings}
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse, and end with an error if anything is unknown.

        argparse would leave it to the main command, which knows nothing of this one's options; and
        it would miss a required option before it looks at how that one was typed.
        """
        words = [*map(str, sys.argv[1:] if args is None else args)]
        self._check_options(words)
        parsed, unknown = super().parse_known_args(words, namespace)
        if unknown:
            self._refuse(unknown)
        return parsed, unknown

    def add_subparsers(self, **settings: Any) -> Any:
        """Add commands: what stands behind the name of one is for its own parser."""
        self._has_commands = True
        return super().add_subparsers(**settings)

    def _check_options(self, words: list[str]) -> None:
        for word in words:
            if word == "--" or (self._has_commands and not word.startswith("-")):
                return
            if word.startswith("--") and word.partition("=")[0] not in self._options():
                self._refuse([word])

    def _options(self) -> list[str]:
        return list(self._option_string_actions)  # argparse has no public name for it

    def _refuse(self, unknown: list[str]) -> NoReturn:
        options = [word.partition("=")[0] for word in unknown if word.startswith("--")]
        told = shortened(" ".join(unknown), LONGEST_TEXT)
        suggestion = _suggestion(options[0], self._options()) if options else ""
        self.error(f"unrecognized arguments: {told}{suggestion}")

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with 2."""
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong is not None:
            message += _suggestion(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        super().error(message)


class DefaultsHelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults that say something: not None, not that a switch is off, no empty list."""

    # argparse has no public hook for it.
    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, "", [], ()):
            return action.help
        return super()._get_help_string(action)


def _suggestion(word: str, known: list[str]) -> str:
    close = nearest(word, known)
    return f"; did you mean {close}?" if close else ""
