# SPDX-License-Identifier: Apache-2.0
"""How all commands parse: defaults that are real in the help, and help with a typing error."""

from __future__ import annotations

import argparse
import re
from difflib import get_close_matches
from typing import Any, NoReturn

from camseg_core.errors import shortened

LONGEST_TEXT = 200
"""Characters of a user's unknown arguments that are repeated."""


class CommandParser(argparse.ArgumentParser):
    """A parser whose subparsers are of its kind, too.

    Options cannot be abbreviated. What a command does not know is told with the usage of that very
    command, and with the nearest word that it does know.
    """

    def __init__(self, **settings: Any) -> None:
        """Take the settings of `argparse.ArgumentParser`."""
        super().__init__(
            **{"formatter_class": DefaultsHelpFormatter, "allow_abbrev": False, **settings}
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse, and end with an error if anything is unknown.

        argparse would leave it to the main command, which knows nothing of this one's options.
        """
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            options = re.findall(r"--[a-z][a-z-]*", self.format_help())
            told = shortened(" ".join(unknown), LONGEST_TEXT)
            self.error(f"unrecognized arguments: {told}{_suggestion(word, options)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with 2."""
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong is not None:
            message += _suggestion(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        super().error(message)


class DefaultsHelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults that say something: not None, not that a switch is off, no empty list."""

    def _get_help_string(
        self, action: argparse.Action
    ) -> str | None:  # argparse has no public hook
        if action.default in (None, False, "", [], ()):
            return action.help
        return super()._get_help_string(action)


def _suggestion(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else ""
