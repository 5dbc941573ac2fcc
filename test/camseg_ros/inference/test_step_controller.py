# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_ros.inference import step_controller
from camseg_ros.inference.step_controller import (
    HOLD_FRAMES,
    StepController,
    step_ladder,
)

MS = 10**6


def measured(
    batch_size: int, steps: int, *, fixed_ms: float = 40.0, step_ms: float = 10.0
) -> tuple[int, int, int, int]:
    return batch_size, steps, int(fixed_ms * MS), int(steps * step_ms * MS)


def drive(
    controller: StepController, frames: int, batch_size: int = 1, **times: float
) -> list[int]:
    """Let the controller choose for batches of a machine that takes these times."""
    chosen = []
    for _ in range(frames):
        chosen.append(controller.choose(batch_size))
        controller.record(*measured(batch_size, chosen[-1], **times))
    return chosen


def changes(chosen: list[int]) -> list[int]:
    """Return the places at which the number of steps changed."""
    return [index for index in range(1, len(chosen)) if chosen[index] != chosen[index - 1]]


def test_the_ladder_has_both_ends_and_grows_by_a_third_or_more() -> None:
    assert step_ladder(1, 16) == (1, 2, 3, 4, 6, 8, 12, 16)
    assert step_ladder(5, 10) == (5, 6, 8, 10)
    assert step_ladder(7, 7) == (7,)
    assert step_ladder(1, 1000)[-3:] == (512, 768, 1000)


def test_without_measurements_the_fewest_steps_are_taken() -> None:
    assert StepController(100 * MS, 2, 16).choose(1) == 2


def test_the_warm_up_s_times_decide_the_first_frame() -> None:
    controller = StepController(100 * MS, 1, 16)
    controller.record(*measured(1, 1))
    controller.record(*measured(1, 16))
    assert controller.choose(1) == 6  # 40 + 6 x 10 ms fills the budget exactly
    assert not controller.over_budget


def test_a_heavier_load_is_answered_at_once_and_a_lighter_one_after_a_while() -> None:
    controller = StepController(100 * MS, 1, 16)
    controller.record(*measured(1, 1))
    assert set(drive(controller, 200)) == {6}
    loaded = drive(controller, 60, step_ms=30.0, fixed_ms=60.0)
    assert loaded[0] == 6
    assert loaded[10:] == [1] * 50
    lighter = drive(controller, 400)
    assert lighter[-1] == 4  # 80 ms; 6 steps would need more than 85 % of the budget
    assert lighter[:40] == [1] * 40


def test_over_budget_with_the_fewest_steps_is_told() -> None:
    controller = StepController(100 * MS, 2, 16)
    assert set(drive(controller, 30, fixed_ms=90.0)) == {2}
    assert controller.over_budget


def test_what_diagnostics_ask_and_what_the_worker_learns_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    controller = StepController(100 * MS, 1, 16)
    controller.record(*measured(1, 1))
    controller.choose(1)
    learner = threading.Thread(target=controller.record, args=measured(2, 1))
    real = np.percentile
    waited: list[bool] = []

    def percentile(*arguments: Any, **options: Any) -> Any:
        learner.start()
        learner.join(0.2)
        waited.append(learner.is_alive())
        return real(*arguments, **options)

    monkeypatch.setattr(step_controller.np, "percentile", percentile)
    assert not controller.over_budget
    learner.join()
    assert waited == [True]


def test_the_largest_batch_seen_lately_decides() -> None:
    controller = StepController(150 * MS, 1, 16)
    for size in (1, 3):
        controller.record(*measured(size, 1, fixed_ms=30.0 * size, step_ms=10.0 * size))
    assert controller.choose(1) == 12
    assert controller.choose(3) == 2  # 90 + 2 x 30 ms: 12 steps are far out of the budget
    assert controller.choose(1) == 2
    assert controller.choose(2) == 2


def test_a_batch_size_never_measured_is_scaled_from_the_nearest() -> None:
    controller = StepController(160 * MS, 1, 16)
    controller.record(*measured(1, 1))
    assert controller.choose(2) == 4  # 2 x (40 + 4 x 10) ms


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    budget_ms=st.integers(20, 400),
    fixed_ms=st.floats(5.0, 300.0),
    step_ms=st.floats(0.5, 60.0),
    noise=st.floats(0.0, 0.15),
)
def test_under_constant_load_there_is_at_most_one_change_in_a_hundred_frames(
    seed: int, budget_ms: int, fixed_ms: float, step_ms: float, noise: float
) -> None:
    random = np.random.default_rng(seed)
    controller = StepController(budget_ms * MS, 1, 32)
    chosen = []
    for _ in range(450):
        chosen.append(controller.choose(1))
        factor = float(np.exp(noise * random.standard_normal()))
        times = measured(1, chosen[-1], fixed_ms=fixed_ms * factor, step_ms=step_ms * factor)
        controller.record(*times)
    settled = changes(chosen[HOLD_FRAMES:])
    assert all(later - earlier >= HOLD_FRAMES for earlier, later in pairwise(settled))
    assert set(chosen) <= set(controller.ladder)
    # Without noise nothing moves once it has settled, and the budget is kept where it can be.
    if noise == 0.0:
        assert changes(chosen[2 * HOLD_FRAMES :]) == []
        final = chosen[-1]
        assert final == 1 or fixed_ms + final * step_ms <= budget_ms * 1.001


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1000), st.integers(0, 1000))
def test_a_ladder_is_sorted_within_its_ends_and_short(least: int, extra: int) -> None:
    ladder = step_ladder(least, least + extra)
    assert ladder[0] == least
    assert ladder[-1] == least + extra
    assert list(ladder) == sorted(set(ladder))
    assert len(ladder) <= 22
