# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: whole or absent, in small files, with a hash each."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from camseg_core.errors import CamsegError, CamsegWarning
from camseg_core.training import train_state
from camseg_core.training.train_state import (
    TrainState,
    cpu_copy,
    last_checkpoint,
    list_checkpoints,
    load_state,
    save_state,
)


def state_of(step: int) -> TrainState:
    generator = torch.Generator().manual_seed(step)
    tensors = {f"model/{name}": torch.randn(300, generator=generator) for name in "abcd"}
    tensors["optimizer/a/step"] = torch.tensor(float(step))
    return TrainState(step, tensors, {"best": 0.5, "stage": "finetune"})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state = state_of(7)
    folder = save_state(tmp_path, state, 1 << 20)
    assert folder == tmp_path / "checkpoints" / "step-00000007"
    loaded = load_state(folder)
    assert (loaded.step, loaded.facts) == (7, state.facts)
    assert set(loaded.tensors) == set(state.tensors)
    for name, tensor in state.tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
        assert loaded.tensors[name].dtype == tensor.dtype


def test_files_are_no_larger_than_asked(tmp_path: Path) -> None:
    folder = save_state(tmp_path, state_of(1), 4096)
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    assert len(sizes) > 1
    assert max(sizes) <= 4096
    assert sum(sizes) >= 4 * 300 * 4


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step in (5, 100, 20):
        save_state(tmp_path, state_of(step), 1 << 20, keep=5)
    save_state(tmp_path, state_of(101), 1 << 20)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000100", "step-00000101"]
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step-00000101"


@pytest.mark.parametrize("failing", ["save_file", "_sync", "sha256_of_file"])
def test_a_save_that_fails_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    earlier = save_state(tmp_path, state_of(1), 1 << 20)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train_state, failing, full)
    with pytest.raises(
        CamsegError,
        match=rf"cannot write checkpoint .*step-00000002: No space left on device; the last good "
        rf"one is {earlier}",
    ):
        save_state(tmp_path, state_of(2), 1 << 20)
    monkeypatch.undo()
    assert list_checkpoints(tmp_path) == [earlier]
    assert list(earlier.parent.iterdir()) == [earlier]
    assert load_state(earlier).step == 1


def test_a_folder_that_a_kill_left_is_no_checkpoint(tmp_path: Path) -> None:
    good = save_state(tmp_path, state_of(1), 1 << 20)
    shutil.copytree(good, good.parent / ".0123")
    torn = good.parent / "step-00000002"
    shutil.copytree(good, torn)
    (torn / "state.json").unlink()
    assert last_checkpoint(tmp_path) == good


def test_a_damaged_last_checkpoint_is_left_for_the_one_before(tmp_path: Path) -> None:
    good, last = (save_state(tmp_path, state_of(step), 1 << 20) for step in (1, 2))
    part = last / "part-000.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.warns(CamsegWarning, match=f"its hash differs.*; {good} before it is taken"):
        assert last_checkpoint(tmp_path, tells=True) == good
    save_state(tmp_path, state_of(2), 1 << 20)  # the run comes to that step again
    assert last_checkpoint(tmp_path) == last
    for folder in (good, last):
        (folder / "state.json").write_text("")
    with pytest.raises(CamsegError, match="step-00000002.*; .*step-00000001"):
        last_checkpoint(tmp_path)


def test_damage_is_said(tmp_path: Path) -> None:
    folder = save_state(tmp_path, state_of(1), 1 << 20)
    part = folder / "part-000.safetensors"
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    with pytest.raises(CamsegError, match=r"part-000\.safetensors is not what was written: its h"):
        load_state(folder)
    (folder / "state.json").write_text(json.dumps({"step": 1}))
    with pytest.raises(CamsegError, match=r"state\.json is no training checkpoint: KeyError"):
        load_state(folder)
    (folder / "state.json").unlink()
    with pytest.raises(CamsegError, match="cannot read .*state.json: No such file"):
        load_state(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CamsegError, match="cannot write checkpoint .*: Permission denied"):
        save_state(tmp_path, state_of(1), 1 << 20)


def test_a_copy_does_not_change_with_its_tensor() -> None:
    tensor = torch.zeros(3)
    copy = cpu_copy(tensor)
    tensor += 1
    assert torch.equal(copy, torch.zeros(3))
