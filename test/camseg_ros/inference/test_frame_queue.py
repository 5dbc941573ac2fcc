# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_ros.inference.frame_queue import FrameCounts, FrameQueue, QueuedFrame


def frame(camera: str, stamp_ns: int) -> QueuedFrame:
    return QueuedFrame(camera, stamp_ns, received_ns=0, message=None)


def take(queue: FrameQueue) -> QueuedFrame | None:
    """Take one frame if one waits."""
    batch = queue.take_batch(most=1, timeout_s=0)
    return batch[0] if batch else None


def open_queue(*cameras: str) -> FrameQueue:
    queue = FrameQueue(cameras)
    queue.open()
    return queue


def test_newest_frame_wins_and_the_older_one_is_counted_as_dropped() -> None:
    queue = open_queue("front")
    for stamp_ns in (1, 3, 2):  # the last one arrives late
        queue.put(frame("front", stamp_ns))
    taken = take(queue)
    assert taken is not None
    assert taken.stamp_ns == 3
    assert queue.total() == FrameCounts(received=3, dropped=2, in_progress=1)
    queue.finish("front", "out")
    assert queue.total() == FrameCounts(received=3, dropped=2, out=1)


def test_frames_that_wait_together_are_one_batch_the_longest_waiting_first() -> None:
    queue = open_queue("front", "left", "rear")
    for camera, stamp_ns in (("rear", 1), ("front", 2), ("rear", 3), ("left", 4)):
        queue.put(frame(camera, stamp_ns))
    batch = queue.take_batch(timeout_s=0)
    assert [(item.camera, item.stamp_ns) for item in batch] == [
        ("rear", 3),
        ("front", 2),
        ("left", 4),
    ]
    assert queue.counts()["rear"] == FrameCounts(received=2, dropped=1, in_progress=1)
    queue.finish("rear", "out")
    queue.finish("left", "refused")
    assert queue.counts()["rear"] == FrameCounts(received=2, dropped=1, out=1)
    assert queue.counts()["left"] == FrameCounts(received=1, refused=1)
    assert queue.total() == FrameCounts(received=4, dropped=1, out=1, refused=1, in_progress=1)


def test_a_fast_camera_does_not_starve_the_others() -> None:
    queue = open_queue("fast", "slow")
    queue.put(frame("fast", 1))
    queue.put(frame("slow", 1))
    served = []
    for stamp_ns in range(2, 6):
        batch = queue.take_batch(most=1, timeout_s=0)
        served += [item.camera for item in batch]
        for camera in ("fast", "fast", "slow"):
            queue.put(frame(camera, stamp_ns))
    assert served == ["fast", "slow", "fast", "slow"]


def test_clear_drops_what_waits_and_what_is_in_progress_and_goes_on() -> None:
    queue = open_queue("front")
    queue.put(frame("front", 1))
    take(queue)
    queue.put(frame("front", 2))
    queue.clear()
    assert not queue.may_publish
    assert queue.total() == FrameCounts(received=2, dropped=1, in_progress=1)
    queue.finish("front", "dropped")
    queue.put(frame("front", 3))
    assert take(queue) is not None
    assert queue.may_publish


def test_a_closed_queue_counts_frames_in_and_drops_them() -> None:
    queue = FrameQueue(["front"])
    queue.put(frame("front", 1))
    assert queue.total() == FrameCounts(received=1, dropped=1)
    queue.open()
    queue.put(frame("front", 2))
    queue.close()
    assert queue.total() == FrameCounts(received=2, dropped=2)
    assert take(queue) is None


def test_a_frame_taken_before_the_queue_was_closed_may_not_be_published_after() -> None:
    queue = open_queue("front")
    queue.put(frame("front", 1))
    take(queue)
    assert queue.may_publish
    queue.close()
    assert not queue.may_publish
    queue.open()
    assert not queue.may_publish
    queue.finish("front", "dropped")
    queue.put(frame("front", 2))
    take(queue)
    assert queue.may_publish


def test_end_wakes_a_waiting_worker() -> None:
    queue = open_queue("front")
    taken: list[list[QueuedFrame]] = []
    worker = threading.Thread(target=lambda: taken.append(queue.take_batch()))
    worker.start()
    queue.end()
    worker.join(timeout=10)
    assert not worker.is_alive()
    assert taken == [[]]


def test_an_unknown_camera_is_an_error() -> None:
    with pytest.raises(KeyError, match="side"):
        open_queue("front").put(frame("side", 1))


@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from("ab"), st.integers(0, 9)),
            st.tuples(st.just("take"), st.just(""), st.integers(1, 2)),
            st.tuples(
                st.sampled_from(["out", "refused", "dropped"]), st.sampled_from("ab"), st.just(0)
            ),
            st.tuples(st.sampled_from(["open", "close", "clear"]), st.just(""), st.just(0)),
        )
    )
)
def test_every_frame_is_counted_once_whatever_happens(
    actions: list[tuple[str, str, int]],
) -> None:
    queue = open_queue("a", "b")
    for action, camera, number in actions:
        if action == "put":
            queue.put(frame(camera, number))
        elif action == "take":
            batch = queue.take_batch(number, timeout_s=0)
            assert len(batch) <= number
            assert len({item.camera for item in batch}) == len(batch)
        elif action in ("open", "close", "clear"):
            getattr(queue, action)()
        elif queue.counts()[camera].in_progress:
            queue.finish(camera, action)  # type: ignore[arg-type]  # drawn from the outcomes
        for counts in queue.counts().values():
            assert counts.received == (
                counts.out + counts.dropped + counts.refused + counts.waiting + counts.in_progress
            )
            assert counts.waiting <= 1
            assert min(vars(counts).values()) >= 0
    assert queue.total().received == sum(action == "put" for action, _, _ in actions)
