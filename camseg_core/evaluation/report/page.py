# SPDX-License-Identifier: Apache-2.0
"""What self-contained HTML pages share: templates, the style sheet, formats of numbers."""

from __future__ import annotations

import base64
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING

from camseg_core.errors import CamsegError

if TYPE_CHECKING:
    from jinja2 import Environment

STYLE_PACKAGE, STYLE = "camseg_core.evaluation.report", "report.css"


def page_environment(package: str, template: str) -> Environment:
    """Return the environment of a template of a package; what is inserted is escaped.

    Raises:
        CamsegError: a library of the report is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401 - its absence is told here, not by a traceback
        from jinja2 import DictLoader, Environment, StrictUndefined
    except ModuleNotFoundError as error:
        raise CamsegError(
            f"the report needs {str(error.name).partition('.')[0]}, which is not installed; "
            "pip install -r requirements/research.txt"
        ) from error
    templates = {
        name: resources.files(where).joinpath(name).read_text(encoding="utf-8")
        for where, name in ((package, template), (STYLE_PACKAGE, STYLE))
    }
    environment = Environment(
        loader=DictLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "moment": moment}
    return environment


def percent(share: float | None, decimals: int = 2) -> str:
    """Format a share as percent, without the sign; a dash for None."""
    return "–" if share is None else f"{100 * share:.{decimals}f}"


def number(value: float | None, decimals: int = 3) -> str:
    """Format a number; a dash for None."""
    return "–" if value is None else f"{value:.{decimals}f}"


def moment(text: str) -> str:
    """Format date and time, ISO 8601, to the minute; what is neither is left as it is."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text


def data_uri(kind: str, content: bytes) -> str:
    """Return an image's bytes as a URI; ``kind`` is jpeg or png."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
