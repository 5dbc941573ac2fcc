# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from node_parts import parameter_values

from camseg_core.diffusion.options import V_PROFILES
from camseg_core.labels import CITYSCAPES
from camseg_ros.inference.frame_queue import QueuedFrame
from camseg_ros.messages.images import array_from_image_message
from camseg_ros.node.safe_state import SafeState
from camseg_ros.node.settings import LiveSettings, live_settings

MS, S = 10**6, 10**9
NOW = 100 * S
"""Both clocks, when the safe state is published."""


def live(safe_state: str = "all_unlabeled") -> LiveSettings:
    return live_settings(parameter_values(safe_state=safe_state), V_PROFILES, CITYSCAPES)


def outdates(state: SafeState, now_ns: int, stamp_ns: int, received_ns: int) -> bool:
    frame = QueuedFrame("front", stamp_ns, received_ns, None)
    return state.outdates(frame, live(), now_ns, is_silent=False)


def test_unlabeled_masks_of_the_last_size_come_once_a_second() -> None:
    state, stamp = SafeState(), Time(sec=100)
    assert state.messages(live(), stamp, NOW) == {}  # no size is known yet
    state.remember((3, 5), "lens")
    assert state.messages(live("publish_nothing"), stamp, NOW) == {}
    first, early, later = (
        state.messages(live(), stamp, NOW + after_ns) for after_ns in (0, 999 * MS, S)
    )
    assert early == {}
    assert first == later == state.messages(live(), stamp, NOW + S + 1, at_once=True)
    assert state.masks == 3
    mask = first["mask"]
    assert (array_from_image_message(mask) == np.full((3, 5), 255)).all()
    assert (mask.header.frame_id, mask.header.stamp) == ("lens", stamp)


def test_nothing_older_comes_out_after_a_safe_mask() -> None:
    state = SafeState()
    state.remember((3, 5), "lens")
    assert not outdates(state, NOW, NOW, NOW)
    state.messages(live(), Time(sec=100), NOW)
    assert outdates(state, NOW + 2 * S, NOW + S, received_ns=NOW)  # it came in before
    assert outdates(state, NOW + 999 * MS, NOW - 1, received_ns=NOW + 1)  # it has an older stamp
    # Later not, for a driver may stamp by another clock.
    assert not outdates(state, NOW + S, NOW - 1, received_ns=NOW + 1)
    assert not outdates(state, NOW + 30 * MS, NOW, received_ns=NOW + 1)


def test_a_frame_of_a_silent_camera_waits_for_no_safe_mask() -> None:
    """The watchdog has not looked yet, but will publish a newer safe mask when it does."""
    state = SafeState()
    frame = QueuedFrame("front", NOW, NOW, None)
    assert not state.outdates(frame, live(), NOW, is_silent=True)  # no size yet, no safe mask
    state.remember((3, 5), "lens")
    assert state.outdates(frame, live(), NOW, is_silent=True)
    assert not state.outdates(frame, live("publish_nothing"), NOW, is_silent=True)
