# SPDX-License-Identifier: Apache-2.0
"""The safe state of a camera: what it publishes, and which masks must not come out after it."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from camseg_ros.inference.frame_queue import QueuedFrame
from camseg_ros.messages.images import stamp_ns
from camseg_ros.messages.outputs import unlabeled_messages
from camseg_ros.node.parameters import ALL_UNLABELED
from camseg_ros.node.settings import LiveSettings

PERIOD_NS = 10**9


class SafeState:
    """Gives all-unlabeled masks of one camera, where the parameters demand it.

    Attributes:
        masks: Number of masks that it has given.
        frame_id: Frame of the camera's last mask; empty before the first one.
    """

    def __init__(self) -> None:
        """Begin without a mask."""
        self.masks = 0
        self.frame_id = ""
        self._shape: tuple[int, int] | None = None
        self._last_ns = self._last_stamp_ns = 0

    def remember(self, shape: tuple[int, int], frame_id: str) -> None:
        """Keep the size (height, width) and the frame of the last mask that was published."""
        self._shape, self.frame_id = shape, frame_id

    def messages(
        self, live: LiveSettings, stamp: Time, now_ns: int, *, at_once: bool = False
    ) -> dict[str, Any]:
        """Return what the safe state demands once a second; nothing before the first mask.

        Args:
            live: Settings of the node.
            stamp: Time of the node's clock.
            now_ns: Time of the steady clock.
            at_once: True if the second since the last messages need not be over.
        """
        if live.safe_state != ALL_UNLABELED or self._shape is None:
            return {}
        if now_ns - self._last_ns < PERIOD_NS and not at_once:
            return {}
        header = Header(stamp=stamp, frame_id=self.frame_id)
        self.masks += 1
        self._last_ns, self._last_stamp_ns = now_ns, stamp_ns(header)
        return unlabeled_messages(*self._shape, header)

    def outdates(
        self, frame: QueuedFrame, live: LiveSettings, now_ns: int, *, is_silent: bool
    ) -> bool:
        """Return whether a planner was, or is about to be, told of a newer time to trust nothing.

        Stamps count only for a second after a safe mask: they may be by another clock.

        Args:
            frame: Frame whose mask is ready.
            live: Settings of the node.
            now_ns: Time of the steady clock.
            is_silent: True if the camera has sent nothing for so long that it is an error.
        """
        if is_silent and live.safe_state == ALL_UNLABELED and self._shape is not None:
            return True
        if self.masks == 0:
            return False
        is_recent = now_ns - self._last_ns < PERIOD_NS
        return frame.received_ns <= self._last_ns or (
            is_recent and frame.stamp_ns < self._last_stamp_ns
        )
