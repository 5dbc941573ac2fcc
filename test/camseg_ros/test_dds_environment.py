# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket

import pytest

from camseg_ros import dds_environment


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
