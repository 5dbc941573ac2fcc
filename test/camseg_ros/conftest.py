# SPDX-License-Identifier: Apache-2.0
"""A DDS domain of this run's own."""

from __future__ import annotations

import pytest

from camseg_ros.node.dds_environment import use_free_domain, use_large_images


@pytest.fixture(scope="session", autouse=True)
def free_domain() -> int:
    use_large_images()
    return use_free_domain()
