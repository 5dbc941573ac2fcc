# SPDX-License-Identifier: Apache-2.0
"""The executables of the ROS programs: what ends them while they import, and their help."""

from __future__ import annotations

import signal

import pytest
from signals import signalled_at_import

from camseg_ros import programs
from camseg_ros.node.parameters import PARAMETERS

NOTHING_SCORED = f"evaluate_node: {programs.NOTHING_SCORED}\n"


@pytest.mark.parametrize(
    ("name", "number", "library", "status", "told"),
    [
        ("segment_node", signal.SIGINT, "numpy", 0, ""),
        ("segment_node", signal.SIGTERM, "torch._C", 0, ""),
        ("segment_node", signal.SIGINT, "rclpy.lifecycle", 0, ""),
        ("play_node", signal.SIGTERM, "rosbags", 0, ""),
        ("evaluate_node", signal.SIGINT, "rclpy", 2, NOTHING_SCORED),
    ],
)
def test_a_signal_while_the_libraries_are_imported_ends_a_program(
    name: str, number: signal.Signals, library: str, status: int, told: str
) -> None:
    ended = signalled_at_import(library, number, f"camseg_ros.programs:{name}")
    assert ended == (status, "", told)


@pytest.mark.parametrize("name", ["segment_node", "play_node", "evaluate_node"])
def test_help_is_printed_and_status_0(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [name, "--help"])
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as ended:
            getattr(programs, name)()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {name} --ros-args [--params-file FILE]")
    if name == "segment_node":
        assert all(f"\n  {spec.name}: {spec.description}" in text for spec in PARAMETERS)
