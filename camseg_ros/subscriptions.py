# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that tell how many messages DDS lost, where the middleware can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import (  # type: ignore[no-redef]
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )


def subscribe(
    node: Any,
    message_type: type,
    topic: str,
    callback: Callable[[Any], None],
    quality: Any,
    on_lost: Callable[[int], None],
) -> tuple[Any, bool]:
    """Subscribe on ``node``; ``on_lost`` hears how many messages were lost since it last heard.

    Returns:
        The subscription, and whether the middleware tells of lost messages at all.
    """
    events = SubscriptionEventCallbacks(
        message_lost=lambda status: on_lost(status.total_count_change)
    )
    try:
        subscription = node.create_subscription(
            message_type, topic, callback, quality, event_callbacks=events
        )
    except UnsupportedEventTypeError:
        return node.create_subscription(message_type, topic, callback, quality), False
    return subscription, True
