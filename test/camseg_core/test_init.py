# SPDX-License-Identifier: Apache-2.0
"""What ``import camseg_core`` offers, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import camseg_core
from camseg_core.diffusion.options import SamplingOptions
from camseg_core.segmenter import Segmenter


def test_the_package_offers_its_public_names() -> None:
    assert camseg_core.Segmenter is Segmenter
    assert camseg_core.SamplingOptions is SamplingOptions
    assert [getattr(camseg_core, name).__name__ for name in camseg_core.__all__] == [
        *camseg_core.__all__
    ]
    with pytest.raises(AttributeError, match="module 'camseg_core' has no attribute 'Segmentor'"):
        camseg_core.Segmentor  # noqa: B018


def test_importing_the_package_imports_no_torch_until_a_name_is_asked_for() -> None:
    code = (
        "import sys, camseg_core\n"
        "assert 'torch' not in sys.modules\n"
        "from camseg_core import LabelSet, SamplingOptions, open_dataset, read_image\n"
        "assert SamplingOptions(steps=3).steps == 3\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
