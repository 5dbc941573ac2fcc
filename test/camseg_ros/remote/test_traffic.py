# SPDX-License-Identifier: Apache-2.0
import time

import numpy as np
import pytest

from camseg_ros.remote.traffic import (
    CameraTraffic,
    budget_shortfall,
    frame_counts,
    node_percentiles_ms,
)

COUNTS = {"in": 2, "out": 2, "dropped": 0, "refused": 0}


def traffic(sent: list[int], masks: list[int]) -> CameraTraffic:
    found = CameraTraffic()
    for stamp in sent:
        found.on_sent(stamp)
    for stamp in masks:
        found.on_mask(stamp, time.monotonic_ns())
    return found


def test_a_node_that_keeps_its_promises() -> None:
    found = traffic([10**9, 2 * 10**9, 10**9], [10**9, 2 * 10**9])
    assert found.problems(COUNTS) == []
    assert (found.played, found.rate_hz()) == (3, 1.0)
    assert traffic([], [7]).problems({**COUNTS, "in": 3}) == []  # of another player; still at work


@pytest.mark.parametrize(
    ("sent", "masks", "counts", "problems"),
    [
        ([1, 2], [], COUNTS, ["no mask came back"]),
        ([1, 2], [1, 9], COUNTS, ["a mask carries a stamp that no frame had"]),
        ([1, 2], [1, 1], COUNTS, ["a frame's mask came back more often than the frame was played"]),
        ([1, 2], [1], {}, ["the node sent no diagnostics"]),
        (
            [1, 2], [1], {**COUNTS, "in": 3},
            ["in is not out + dropped + refused: {'in': 3, 'out': 2, 'dropped': 0, 'refused': 0}"],
        ),
        ([1, 2, 3], [1, 2, 3], COUNTS, ["the node counts 2 out, 3 masks arrived"]),
    ],
)  # fmt: skip
def test_broken_promises(
    sent: list[int], masks: list[int], counts: dict[str, int], problems: list[str]
) -> None:
    assert traffic(sent, masks).problems(counts) == problems


def test_latency_is_from_the_last_time_that_a_frame_was_played_to_its_first_mask() -> None:
    found = CameraTraffic()
    found.on_sent(7)  # dropped in the first loop
    found.on_sent(7)
    sent_ns = found.sent_ns[7]
    for stamp, after_ns in ((7, 10**6), (7, 5 * 10**6), (8, 0)):
        found.on_mask(stamp, sent_ns + after_ns)
    assert found.latency_ns == {7: 10**6}
    assert found.latency_ms() == dict.fromkeys(("p50", "p95", "p99"), 1.0)
    found.latency_ns = {n: n * 10**6 for n in range(101)}
    assert found.latency_ms() == pytest.approx({"p50": 50, "p95": 95, "p99": 99})
    assert CameraTraffic().latency_ms() == {}
    assert np.isclose(CameraTraffic().rate_hz(), 0.0)


def test_what_the_node_says() -> None:
    values = {"frames_in": "3", "frames_out": "x", "steps": "4", "age_p99_ms": "7.5"}
    assert frame_counts(values) == {"in": 3}
    assert node_percentiles_ms({**values, "age_p50_ms": ""}) == {"age": {"p99": 7.5}}


def test_a_budget_that_more_than_a_tenth_of_the_frames_missed_was_not_kept() -> None:
    values = {"latency_budget_ms": "80", "frames_over_budget": "11", "frames_out": "100"}
    assert budget_shortfall(values) == (
        "the latency budget of 80 ms was not kept: 11 of 100 frames took longer in the node"
    )
    assert budget_shortfall(values | {"frames_over_budget": "10"}) == ""
    assert budget_shortfall(values | {"latency_budget_ms": "0"}) == ""
    assert budget_shortfall({}) == ""
