# SPDX-License-Identifier: Apache-2.0
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_ros.bag.contents import BagMessage, BagTopic
from camseg_ros.bag.file_scan import FileScan


def message(topic: str, log_ns: int) -> BagMessage:
    return BagMessage(topic, "std_msgs/msg/String", log_ns, b"", "cdr")


def test_without_messages_there_is_no_time() -> None:
    assert FileScan.of([]) == FileScan({}, None, None)  # type: ignore[arg-type]


def test_one_message_is_start_and_end() -> None:
    scan = FileScan.of([message("/a", 7)])
    assert (scan.counts, scan.start_ns, scan.end_ns) == ({"/a": 1}, 7, 7)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2**63 - 1)), min_size=1))
@settings(max_examples=50, deadline=None)
def test_counts_and_extremes_in_any_order(found: list[tuple[str, int]]) -> None:
    scan = FileScan.of(message(topic, time) for topic, time in found)
    topics, times = zip(*found, strict=True)
    assert scan.counts == {topic: topics.count(topic) for topic in set(topics)}
    assert (scan.start_ns, scan.end_ns) == (min(times), max(times))


def test_topics_without_messages_are_topics() -> None:
    scan = FileScan.of([message("/a", 7), message("/a", 8)])
    kind = "std_msgs/msg/String"
    assert scan.topics([("/a", kind), ("/b", kind)]) == {
        "/a": BagTopic("/a", kind, 2), "/b": BagTopic("/b", kind, 0),
    }  # fmt: skip
