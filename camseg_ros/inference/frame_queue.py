# SPDX-License-Identifier: Apache-2.0
"""Frames between the executor and the worker: each camera's newest waits, older ones are dropped.

Plain Python, no ROS. Times are integers in nanoseconds. Every frame that enters is counted once and
leaves once, for each camera: received = out + dropped + refused + waiting + in progress.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal

Outcome = Literal["out", "dropped", "refused"]


@dataclass(frozen=True)
class QueuedFrame:
    """One frame of one camera.

    Attributes:
        camera: Name of its camera.
        stamp_ns: Stamp of its header.
        received_ns: Time at which the callback was entered, on the steady clock.
        message: Message as it came; the queue does not read it.
    """

    camera: str
    stamp_ns: int
    received_ns: int
    message: Any


@dataclass
class FrameCounts:
    """How many frames entered, and what became of them."""

    received: int = 0
    out: int = 0
    dropped: int = 0
    refused: int = 0
    waiting: int = 0
    in_progress: int = 0


class FrameQueue:
    """Holds at most one waiting frame per camera; thread-safe; one worker takes from it."""

    def __init__(self, cameras: Sequence[str]) -> None:
        """Serve ``cameras``; the queue is closed until `open`."""
        self._condition = threading.Condition()
        self._counts = {name: FrameCounts() for name in cameras}
        self._waiting: dict[str, QueuedFrame] = {}  # by camera, the longest waiting first
        self._accepting = self._ended = False
        self._is_outdated = False  # the batch that was taken last

    def open(self) -> None:
        """Accept frames."""
        with self._condition:
            self._accepting = True

    def close(self) -> None:
        """Accept no more frames; drop those that wait, and those in progress when they are done."""
        with self._condition:
            self._accepting = False
            self._drop()

    def clear(self) -> None:
        """Drop what waits and what is in progress; later frames are accepted as before."""
        with self._condition:
            self._drop()

    def end(self) -> None:
        """Close for good: `take_batch` returns nothing from now on."""
        self.close()
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def put(self, frame: QueuedFrame) -> None:
        """Count a frame in; it or the one that waits stays, whichever has the newer stamp.

        Raises:
            KeyError: the camera is none of the queue's.
        """
        with self._condition:
            counts, waiting = self._counts[frame.camera], self._waiting.get(frame.camera)
            counts.received += 1
            if not self._accepting or waiting is not None:
                counts.dropped += 1
            if self._accepting and (waiting is None or waiting.stamp_ns <= frame.stamp_ns):
                # A camera keeps its place in the dictionary, and so its turn: a fast one does not
                # starve itself by replacing its frame.
                self._waiting[frame.camera] = frame
                self._condition.notify()

    def take_batch(
        self, most: int | None = None, timeout_s: float | None = None
    ) -> list[QueuedFrame]:
        """Wait for frames; return those that wait, one per camera, the longest waiting first.

        The list is empty after ``timeout_s`` or at the end. It has at most ``most`` frames; cameras
        that were left out come first the next time. A frame is in progress until `finish`.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._ended, timeout_s)
            if self._ended:
                return []
            batch = [self._waiting.pop(name) for name in list(self._waiting)[:most]]
            for frame in batch:
                self._counts[frame.camera].in_progress += 1
            self._is_outdated = False
            return batch

    def finish(self, camera: str, outcome: Outcome) -> None:
        """Count a frame in progress out."""
        with self._condition:
            counts = self._counts[camera]
            counts.in_progress -= 1
            setattr(counts, outcome, getattr(counts, outcome) + 1)

    @property
    def may_publish(self) -> bool:
        """True if the queue was neither closed nor cleared since the last batch was taken."""
        with self._condition:
            return self._accepting and not self._is_outdated

    def counts(self) -> dict[str, FrameCounts]:
        """Return the counts of each camera, consistent with each other."""
        with self._condition:
            return {
                name: replace(counts, waiting=int(name in self._waiting))
                for name, counts in self._counts.items()
            }

    def total(self) -> FrameCounts:
        """Return the counts of all cameras together."""
        counts = [astuple(counts) for counts in self.counts().values()]
        return FrameCounts(*map(sum, zip(*counts, strict=True)))

    def _drop(self) -> None:
        self._is_outdated = True
        for name in self._waiting:
            self._counts[name].dropped += 1
        self._waiting.clear()
