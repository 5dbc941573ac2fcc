# SPDX-License-Identifier: Apache-2.0
"""Frames between the executor and the worker: the newest of each camera waits, older ones drop.

Plain Python, no ROS. Times are integers in nanoseconds. Every frame that enters is counted once and
leaves once: received = out + dropped + refused + waiting + in progress.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["out", "dropped", "refused"]


@dataclass(frozen=True)
class QueuedFrame:
    """One frame of one camera.

    Attributes:
        camera: its name.
        stamp_ns: the header's stamp.
        received_ns: when the callback was entered, on the steady clock.
        message: the message, not looked into here.
    """

    camera: str
    stamp_ns: int
    received_ns: int
    message: Any


@dataclass(frozen=True)
class FrameCounts:
    """How many frames entered, and what became of them."""

    received: int = 0
    out: int = 0
    dropped: int = 0
    refused: int = 0
    waiting: int = 0
    in_progress: int = 0


class FrameQueue:
    """At most one waiting frame per camera; thread-safe; one worker takes from it."""

    def __init__(self, cameras: Sequence[str]) -> None:
        """Serve ``cameras``; it is closed until `open`."""
        self._condition = threading.Condition()
        self._waiting: dict[str, QueuedFrame] = {}
        self._cameras = tuple(cameras)
        self._accepting = False
        self._ended = False
        self._in_progress = 0
        self._generation = 0
        self._taken_generation = 0
        self._received = 0
        self._left: dict[Outcome, int] = {"out": 0, "dropped": 0, "refused": 0}

    def open(self) -> None:
        """Accept frames."""
        with self._condition:
            self._accepting = True

    def close(self) -> None:
        """Accept no more frames; the waiting ones drop. What is in progress will be dropped."""
        with self._condition:
            self._accepting = False
            self._generation += 1
            self._left["dropped"] += len(self._waiting)
            self._waiting.clear()

    def end(self) -> None:
        """Close for good: `take` gives None from now on."""
        self.close()
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def put(self, frame: QueuedFrame) -> None:
        """Count a frame in. Of it and the one that waits for its camera, the newer stamp stays.

        Raises:
            KeyError: the camera is none of the queue's.
        """
        if frame.camera not in self._cameras:
            raise KeyError(frame.camera)
        with self._condition:
            self._received += 1
            if not self._accepting:
                self._left["dropped"] += 1
                return
            waiting = self._waiting.get(frame.camera)
            if waiting is not None:
                self._left["dropped"] += 1
                if waiting.stamp_ns > frame.stamp_ns:
                    return
                # The place in the line stays the camera's, so that a fast camera cannot starve
                # itself by replacing its frame.
            self._waiting[frame.camera] = frame
            self._condition.notify()

    def take(self, timeout_s: float | None = None) -> QueuedFrame | None:
        """Wait for a frame, of the camera that waits longest; None after ``timeout_s`` or the end.

        What is taken is in progress until `finish`.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._ended, timeout_s)
            if self._ended or not self._waiting:
                return None
            camera = next(iter(self._waiting))
            self._in_progress += 1
            self._taken_generation = self._generation
            return self._waiting.pop(camera)

    def finish(self, outcome: Outcome) -> None:
        """Count out the frame in progress."""
        with self._condition:
            self._in_progress -= 1
            self._left[outcome] += 1

    @property
    def may_publish(self) -> bool:
        """True if the queue was not closed since the frame in progress was taken."""
        with self._condition:
            return self._accepting and self._taken_generation == self._generation

    def counts(self) -> FrameCounts:
        """Give the counts, consistent with each other."""
        with self._condition:
            return FrameCounts(
                received=self._received,
                waiting=len(self._waiting),
                in_progress=self._in_progress,
                **self._left,
            )
