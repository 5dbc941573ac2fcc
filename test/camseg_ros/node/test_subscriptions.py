# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from camseg_ros.node.camera_port import UnsupportedEventTypeError, subscribe


class Node:
    """Remembers what was subscribed; tells of no events if ``knows_events`` is false."""

    def __init__(self, knows_events: bool) -> None:
        self.knows_events = knows_events
        self.given: list[tuple[Any, ...]] = []
        self.events: Any = None

    def create_subscription(self, *given: Any, event_callbacks: Any = None) -> str:
        if event_callbacks is not None and not self.knows_events:
            raise UnsupportedEventTypeError("message lost")
        self.given.append(given)
        self.events = event_callbacks
        return "subscription"


def test_lost_messages_are_told_by_how_many() -> None:
    node, lost = Node(knows_events=True), list[int]()
    assert subscribe(node, str, "images", print, 1, lost.append) == ("subscription", True)
    assert node.given == [(str, "images", print, 1)]
    node.events.message_lost(SimpleNamespace(total_count=7, total_count_change=3))
    assert lost == [3]


def test_a_middleware_that_tells_nothing_still_gives_messages() -> None:
    node, lost = Node(knows_events=False), list[int]()
    assert subscribe(node, str, "images", print, 1, lost.append) == ("subscription", False)
    assert node.given == [(str, "images", print, 1)]
    assert node.events is None
