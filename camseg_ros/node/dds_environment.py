# SPDX-License-Identifier: Apache-2.0
"""DDS settings by environment variables, for the processes that demos and tests start."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

DOMAINS = range(1, 102)
"""Domains whose ports lie below the ports that Linux hands out for other purposes."""

PROFILES_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Variables by which Fast DDS 2 and 3 find the file of their settings."""


def use_large_images() -> None:
    """Give Fast DDS enough shared memory for images, in this process and its children.

    Its default segment of 512 KB is smaller than one mask. A profiles file that the environment
    names is left alone; another DDS does not look at these variables.
    """
    profiles = profiles_file()
    if profiles and not any(variable in os.environ for variable in PROFILES_VARIABLES):
        os.environ.update(dict.fromkeys(PROFILES_VARIABLES, str(profiles)))


def profiles_file() -> Path | None:
    """Find ``config/fastdds.xml``: in the source tree, or in the installed package's share."""
    in_source = Path(__file__).resolve().parents[2] / "config" / "fastdds.xml"
    if in_source.is_file():
        return in_source
    try:
        return Path(get_package_share_directory("camseg_ros")) / "config" / "fastdds.xml"
    except (PackageNotFoundError, OSError):  # outside of ROS: the default transports will do
        return None


def use_free_domain() -> int:
    """Set ``ROS_DOMAIN_ID`` for this process and its children, unless it is set; return it.

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
    """Return whether the port of the first participant of ``domain`` is free (RTPS 9.6.2.3)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", 7410 + 250 * domain))
        except OSError:
            return False
    return True
