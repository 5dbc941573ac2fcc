# SPDX-License-Identifier: Apache-2.0
"""The package as an installation lays it out, with this interpreter and this checkout."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "camseg_ros"


def install(prefix: Path) -> Path:
    """Lay the package out below ``prefix``, and return that."""
    share, libraries = prefix / "share" / PACKAGE, prefix / "lib" / PACKAGE
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    for folder in (index, libraries):
        folder.mkdir(parents=True)
    (index / PACKAGE).touch()
    for name in ("launch", "config"):
        shutil.copytree(ROOT / name, share / name)
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    scripts = re.findall(r'"(\w+) = ([\w.]+):(\w+)",\n(?=.*?"camseg.commands")', setup, re.DOTALL)
    for name, module, function in scripts:
        executable = libraries / name
        executable.write_text(
            f"#!{sys.executable}\n"
            f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"from {module} import {function}\nsys.exit({function}())\n",
            encoding="utf-8",
        )
        executable.chmod(0o755)
    return prefix
