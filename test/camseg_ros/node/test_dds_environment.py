# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from camseg_ros.node import dds_environment


def test_a_set_domain_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    assert dds_environment.use_free_domain() == 42


def test_a_domain_whose_port_is_taken_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        domain = next(
            number for number in reversed(dds_environment.DOMAINS) if _bound(participant, number)
        )
        monkeypatch.setattr(dds_environment, "DOMAINS", range(domain, domain + 2))
        monkeypatch.delenv("ROS_DOMAIN_ID")
        assert dds_environment.use_free_domain() == domain + 1


def _bound(participant: socket.socket, domain: int) -> bool:
    try:
        participant.bind(("", 7410 + 250 * domain))
    except OSError:
        return False
    return True


def test_images_get_a_profiles_file_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in dds_environment.PROFILES_VARIABLES:
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    dds_environment.use_large_images()
    for variable in dds_environment.PROFILES_VARIABLES:
        assert "segment_size" in Path(os.environ[variable]).read_text(encoding="utf-8")


def test_a_profiles_file_of_the_user_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in dds_environment.PROFILES_VARIABLES:
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/etc/mine.xml")
    dds_environment.use_large_images()
    assert os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] == "/etc/mine.xml"
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in os.environ


@pytest.mark.parametrize("prefixes", [None, "", "/nowhere"])
def test_outside_of_ros_the_default_transports_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefixes: str | None
) -> None:
    """Installed by pip alone, without the source tree and without an ament index."""
    monkeypatch.setattr(dds_environment, "__file__", str(tmp_path / "camseg_ros" / "node" / "x.py"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", prefixes or "")
    if prefixes is None:
        monkeypatch.delenv("AMENT_PREFIX_PATH")
    assert dds_environment.profiles_file() is None
