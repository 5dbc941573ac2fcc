# SPDX-License-Identifier: Apache-2.0
"""A DDS domain of this run's own, and a ROS context per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy

from camseg_ros.dds_domain import use_free_domain


@pytest.fixture(scope="session", autouse=True)
def free_domain() -> int:
    return use_free_domain()


@pytest.fixture
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()
