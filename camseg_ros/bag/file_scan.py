# SPDX-License-Identifier: Apache-2.0
"""Counts and times of messages, for files whose own summary is lost or not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from camseg_ros.bag.contents import BagMessage, BagTopic

LARGEST_RECORD_BYTES = 2**30
"""Of a file that is read record by record: a longer one is damage, not data."""


@dataclass(frozen=True)
class FileScan:
    """What was met on the way through a file.

    Attributes:
        counts: messages per topic.
        start_ns, end_ns: least and largest log time; None without messages.
    """

    counts: Counter[str]
    start_ns: int | None
    end_ns: int | None

    @classmethod
    def of(cls, messages: Iterable[BagMessage]) -> FileScan:
        """Go through all messages."""
        counts: Counter[str] = Counter()
        start_ns = end_ns = None
        for message in messages:
            time_ns = message.log_ns
            start_ns = time_ns if start_ns is None else min(start_ns, time_ns)
            end_ns = time_ns if end_ns is None else max(end_ns, time_ns)
            counts[message.topic] += 1
        return cls(counts, start_ns, end_ns)

    def topics(self, types: Iterable[tuple[str, str]]) -> dict[str, BagTopic]:
        """Return the topics by name, of pairs of name and message type; some without messages."""
        return {name: BagTopic(name, kind, self.counts.get(name, 0)) for name, kind in types}
