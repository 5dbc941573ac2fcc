# SPDX-License-Identifier: Apache-2.0
"""Stages add up their own time, and none begins once the caller has cancelled."""

from __future__ import annotations

import time

import pytest
import torch

from camseg_core.inference.stage_clock import SegmentationCancelled, StageClock
from camseg_core.segmentation import STAGES

CPU = torch.device("cpu")


def test_a_stage_in_parts_has_the_time_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 10.5, 20.0, 20.25, 30.0, 31.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    clock = StageClock(CPU)
    for name, on_host in (("decoder", False), ("finish", True), ("decoder", False)):
        with clock.stage(name, on_host=on_host):  # type: ignore[arg-type]  # of STAGES
            pass
    assert clock.seconds == {**dict.fromkeys(STAGES, 0.0), "decoder": 1.5, "finish": 0.25}


def test_no_stage_begins_after_the_work_was_cancelled() -> None:
    answers = iter([False, True])
    clock = StageClock(CPU, cancelled=lambda: next(answers))
    with clock.stage("decoder"):
        pass
    with pytest.raises(SegmentationCancelled), clock.stage("finish"):
        pytest.fail("the stage began")
