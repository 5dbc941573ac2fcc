# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.segmenter import SegmentationCancelled
from camseg_ros.inference import warm_up as warm_up_module
from camseg_ros.inference.warm_up import InferenceLimit, hang_guard, warm_up

S = 10**9
LIMIT_S = 30.0
IMAGE = np.zeros((24, 40, 3), np.uint8)
FOUR_STEPS = SamplingOptions(steps=4)
WARM = InferenceLimit(slowest_ns=2 * S, evaluations=4, pixels=1000)


@pytest.mark.parametrize(
    ("options", "pixels", "limit_s"),
    [
        (FOUR_STEPS, 1000, 20),
        (SamplingOptions(steps=1), 10, 20),  # less work: not less
        (SamplingOptions(steps=1000, samples=16), 1000, 20 * 4000),
        (SamplingOptions(steps=8, rounds=2), 1000, 80),
        (FOUR_STEPS, 3000, 60),
        (SamplingOptions(steps=8), 2000, 80),
    ],
)
def test_more_work_than_the_warm_up_had_may_take_longer(
    options: SamplingOptions, pixels: int, limit_s: int
) -> None:
    assert WARM.for_batch_ns(options, pixels) == limit_s * S


def test_a_limit_is_ten_seconds_at_least_and_a_given_one_is_kept() -> None:
    assert WARM._replace(slowest_ns=1).for_batch_ns(SamplingOptions(steps=1000), 10**7) == 10 * S
    assert InferenceLimit().for_batch_ns(FOUR_STEPS, 1) == 10 * S
    assert WARM._replace(given_ns=S).for_batch_ns(SamplingOptions(steps=1000), 10**7) == S


@given(st.integers(1, 1000), st.integers(1, 64), st.integers(1, 10**8))
def test_no_limit_is_below_the_warm_up_s(steps: int, samples: int, pixels: int) -> None:
    options = SamplingOptions(steps=steps, samples=samples)
    assert WARM.for_batch_ns(options, pixels) >= 20 * S


def test_a_cold_batch_has_a_limit_only_where_one_is_given() -> None:
    assert WARM.cold_ns == 0
    assert InferenceLimit(given_ns=S).cold_ns == 60 * S
    assert InferenceLimit(given_ns=20 * S).cold_ns == 200 * S


def segmenter(run: Callable[..., None]) -> Any:
    def segment_batch(images: Any, options: Any, cancelled: Callable[[], bool]) -> Any:
        run(len(images), options.steps, cancelled)
        return [SimpleNamespace(stage_seconds={"denoiser": 0.0})]

    return SimpleNamespace(segment_batch=segment_batch)


def run(
    segmenter: Any, limit: InferenceLimit = WARM, cancelled: Callable[[], bool] = lambda: False
) -> tuple[InferenceLimit, list[tuple[int, ...]], list[str]]:
    times: list[tuple[int, ...]] = []
    hangs: list[str] = []
    runs = [(size, SamplingOptions(steps=steps, samples=3)) for size in (1, 2) for steps in (2, 5)]
    found = warm_up(
        segmenter, IMAGE, runs, limit,
        measured=lambda *told: times.append(told), cancelled=cancelled, on_hang=hangs.append,
    )  # fmt: skip
    return found, times, hangs


def test_the_first_run_of_a_batch_size_is_done_twice_and_the_second_one_measured() -> None:
    ran: list[tuple[int, int]] = []
    found, times, hangs = run(segmenter(lambda size, steps, _: ran.append((size, steps))))
    assert ran == [(1, 2), (1, 2), (1, 5), (2, 2), (2, 2), (2, 5)]
    assert [told[:2] for told in times] == [(1, 2), (1, 5), (2, 2), (2, 5)]
    assert (found.evaluations, found.pixels) == (15, 960)
    assert 0 < found.slowest_ns < S
    assert hangs == []


def test_a_cancellation_is_asked_for_in_every_batch() -> None:
    ran: list[int] = []

    def cancelled() -> bool:
        return len(ran) > 2

    def batch(size: int, steps: int, asked: Callable[[], bool]) -> None:
        if asked():
            raise SegmentationCancelled
        ran.append(size)

    with pytest.raises(SegmentationCancelled):
        run(segmenter(batch), cancelled=cancelled)
    assert len(ran) == 3


@pytest.mark.parametrize("hanging_batch", [0, 1])
def test_a_warm_up_that_hangs_is_told(hanging_batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up_module, "LEAST_COLD_LIMIT_NS", S // 20)
    told = threading.Event()
    reasons: list[str] = []
    batches = iter(range(2))

    def hang(*_: Any) -> None:
        if next(batches) < hanging_batch:
            return
        assert told.wait(LIMIT_S)
        raise SegmentationCancelled

    def on_hang(reason: str) -> None:
        reasons.append(reason)
        told.set()

    with pytest.raises(SegmentationCancelled):
        warm_up(
            segmenter(hang), IMAGE, [(1, FOUR_STEPS)], InferenceLimit(given_ns=1),
            measured=lambda *_: None, cancelled=lambda: False, on_hang=on_hang,
        )  # fmt: skip
    assert reasons == ["inference hangs in the warm-up: a batch has taken more than 0.1 s"]


def test_a_guard_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())
    for limit_ns in (0, 60 * S):
        with hang_guard(limit_ns, on_hang=lambda _: pytest.fail("nothing hangs")):
            pass
    assert set(threading.enumerate()) == before
