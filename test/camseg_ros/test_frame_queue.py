# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_ros.frame_queue import FrameCounts, FrameQueue, QueuedFrame


def frame(camera: str, stamp_ns: int) -> QueuedFrame:
    return QueuedFrame(camera, stamp_ns, received_ns=0, message=None)


def open_queue(*cameras: str) -> FrameQueue:
    queue = FrameQueue(cameras)
    queue.open()
    return queue


def test_newest_frame_wins_and_the_older_one_is_counted_as_dropped() -> None:
    queue = open_queue("front")
    for stamp_ns in (1, 2, 3):
        queue.put(frame("front", stamp_ns))
    taken = queue.take(0)
    assert taken is not None
    assert taken.stamp_ns == 3
    assert queue.counts() == FrameCounts(received=3, dropped=2, in_progress=1)
    queue.finish("out")
    assert queue.counts() == FrameCounts(received=3, dropped=2, out=1)


def test_a_frame_that_arrives_late_does_not_replace_a_newer_one() -> None:
    queue = open_queue("front")
    queue.put(frame("front", 20))
    queue.put(frame("front", 10))
    taken = queue.take(0)
    assert taken is not None
    assert taken.stamp_ns == 20
    assert queue.counts().dropped == 1


def test_cameras_do_not_displace_each_other_and_the_longest_waiting_goes_first() -> None:
    queue = open_queue("front", "rear")
    queue.put(frame("rear", 1))
    queue.put(frame("front", 2))
    queue.put(frame("rear", 3))
    first, second = queue.take(0), queue.take(0)
    assert first is not None
    assert second is not None
    assert (first.camera, first.stamp_ns) == ("rear", 3)
    assert (second.camera, second.stamp_ns) == ("front", 2)


def test_a_closed_queue_counts_frames_in_and_drops_them() -> None:
    queue = FrameQueue(["front"])
    queue.put(frame("front", 1))
    assert queue.counts() == FrameCounts(received=1, dropped=1)
    queue.open()
    queue.put(frame("front", 2))
    queue.close()
    assert queue.counts() == FrameCounts(received=2, dropped=2)
    assert queue.take(0) is None


def test_a_frame_taken_before_the_queue_was_closed_may_not_be_published_after() -> None:
    queue = open_queue("front")
    queue.put(frame("front", 1))
    queue.take(0)
    assert queue.may_publish
    queue.close()
    assert not queue.may_publish
    queue.open()
    assert not queue.may_publish
    queue.finish("dropped")
    queue.put(frame("front", 2))
    queue.take(0)
    assert queue.may_publish


def test_end_wakes_a_waiting_worker() -> None:
    queue = open_queue("front")
    taken: list[QueuedFrame | None] = []
    worker = threading.Thread(target=lambda: taken.append(queue.take()))
    worker.start()
    queue.end()
    worker.join(timeout=10)
    assert not worker.is_alive()
    assert taken == [None]


def test_an_unknown_camera_is_an_error() -> None:
    with pytest.raises(KeyError, match="side"):
        open_queue("front").put(frame("side", 1))


@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from("ab"), st.integers(0, 9)),
            st.tuples(st.just("take"), st.just(""), st.just(0)),
            st.tuples(st.sampled_from(["out", "refused", "dropped"]), st.just(""), st.just(0)),
            st.tuples(st.sampled_from(["open", "close"]), st.just(""), st.just(0)),
        )
    )
)
def test_every_frame_is_counted_once_whatever_happens(
    actions: list[tuple[str, str, int]],
) -> None:
    queue = open_queue("a", "b")
    for action, camera, stamp_ns in actions:
        if action == "put":
            queue.put(frame(camera, stamp_ns))
        elif action == "take":
            queue.take(0)
        elif action in ("open", "close"):
            getattr(queue, action)()
        elif queue.counts().in_progress:
            queue.finish(action)  # type: ignore[arg-type]  # drawn from the outcomes
        counts = queue.counts()
        assert counts.received == (
            counts.out + counts.dropped + counts.refused + counts.waiting + counts.in_progress
        )
        assert counts.waiting <= 2
        assert min(vars(counts).values()) >= 0
    assert queue.counts().received == sum(action == "put" for action, _, _ in actions)
