# SPDX-License-Identifier: Apache-2.0
"""DDS settings by environment variables, for the processes that demos and tests start."""

from __future__ import annotations

import os
import random
import socket

DOMAINS = range(1, 102)
"""Domains whose ports lie below the ports that Linux hands out for other purposes."""

LARGE_IMAGES = "LARGE_DATA?max_msg_size=1MB&sockets_size=8MB&non_blocking=false"
"""Fast DDS transports under which images are not lost: with the default ones, several images in a
row overflow a 512 KB shared memory segment, and depth 1 forgets them before they are sent again."""


def use_large_images() -> None:
    """Choose Fast DDS transports for images in this process and its children, unless some are."""
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", LARGE_IMAGES)


def use_free_domain() -> int:
    """Set ``ROS_DOMAIN_ID`` for this process and its children, unless it is set; give it.

    Discovery stays on this machine unless the environment says otherwise.
    """
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")  # its name for the same
    if "ROS_DOMAIN_ID" not in os.environ:
        order = random.SystemRandom().sample(DOMAINS, len(DOMAINS))
        os.environ["ROS_DOMAIN_ID"] = str(next(filter(_is_free, order), order[0]))
    return int(os.environ["ROS_DOMAIN_ID"])


def _is_free(domain: int) -> bool:
    """Tell whether the port of the first participant of ``domain`` is free (RTPS 9.6.2.3)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", 7410 + 250 * domain))
        except OSError:
            return False
    return True
