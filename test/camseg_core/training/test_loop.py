# SPDX-License-Identifier: Apache-2.0
"""Whole runs: losses fall, resuming is exact, two processes equal one, and what stops a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tiny_models import tiny_config_of_colors, tiny_with_codebook
from torch import Tensor
from training_runs import (
    assert_equal_tensors,
    log_of,
    tensors_of,
    train,
    train_with_two_processes,
    write_settings,
)

from camseg_core.training.__main__ import main
from camseg_core.training.stages import TransformerStage
from camseg_core.training.train_state import last_checkpoint, list_checkpoints, load_state
from camseg_core.weights.loading import random_model, save_model

Settings = Callable[..., dict[str, Any]]


# Each stage learns


@pytest.mark.parametrize(
    ("stage", "steps", "rate"),
    [("autoencoder", 40, 2e-3), ("transformer", 60, 2e-3), ("mask-decoder", 40, 4e-3),
     ("finetune", 40, 2e-3)],
)  # fmt: skip
def test_the_loss_of_every_stage_falls(
    tmp_path: Path, settings: Settings, stage: str, steps: int, rate: float
) -> None:
    init_from = ""
    if stage != "autoencoder":
        before = train(tmp_path, settings("autoencoder", steps=40, optimizer__learning_rate=4e-3))
        init_from = str(tmp_path / "autoencoder.safetensors")
        assert main(["--export", str(before), "--which", "last", "--out", init_from]) == 0
    run = train(
        tmp_path,
        settings(
            stage, steps=steps, batch_size=8, save_every=steps, init_from=init_from,
            optimizer__learning_rate=rate, data__validation_split="all",
        ),
    )  # fmt: skip
    losses = [entry["loss"] for entry in log_of(run)]
    assert len(losses) == steps
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < 0.85 * first, (first, last)
    (validation,) = log_of(run, "validation")
    assert 0.0 <= validation["score"] <= 1.0
    assert 0.0 <= validation["score_without_average"] <= 1.0
    assert validation["step"] == steps


# Resuming


@pytest.mark.parametrize("stage", ["autoencoder", "transformer", "mask-decoder", "finetune"])
def test_resuming_changes_no_bit(tmp_path: Path, settings: Settings, stage: str) -> None:
    whole = train(tmp_path, settings(stage, steps=5))
    stopped = train(tmp_path, settings(stage, steps=3))
    assert last_checkpoint(stopped) == stopped / "checkpoints" / "step-00000003"
    assert (
        main(["--resume", stopped.name, "--output-dir", str(stopped.parent), "--set", "steps=5"])
        == 0
    )
    assert_equal_tensors(tensors_of(whole), tensors_of(stopped))
    assert [entry["loss"] for entry in log_of(whole)] == [e["loss"] for e in log_of(stopped)]


def test_a_run_that_is_over_is_not_continued(tmp_path: Path, settings: Settings) -> None:
    run = train(tmp_path, settings(steps=2))
    before = tensors_of(run)
    assert main(["--resume", str(run)]) == 0
    assert_equal_tensors(before, tensors_of(run))


def test_time_that_is_over_saves_and_stops(tmp_path: Path, settings: Settings) -> None:
    run = train(tmp_path, settings(steps=10_000, max_minutes=0.02))
    reached = load_state(list_checkpoints(run)[-1]).step
    assert 1 <= reached < 10_000
    assert log_of(run)[-1]["step"] == reached


def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path: Path, settings: Settings) -> None:
    steps = 15
    whole = train(tmp_path, settings(steps=steps, save_every=steps))
    content = settings(steps=steps, save_every=1, output_dir=str(tmp_path / "killed"))
    arguments = [sys.executable, "-m", "camseg_core.training"]
    kills = 0
    command = [*arguments, "--config", str(write_settings(tmp_path, content))]
    while True:
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as process:  # fmt: skip
            if kills == 2:
                assert process.wait(120) == 0
                break
            checkpoints = tmp_path / "killed"
            target = 5 * (kills + 1)
            limit = time.monotonic() + 90
            # As soon as a checkpoint's files begin to appear, so that a save is under way.
            while not any(
                int(path.name.removeprefix("step-")) >= target
                for path in checkpoints.glob("*/checkpoints/step-*")
            ):
                assert time.monotonic() < limit
                assert process.poll() is None
                time.sleep(0.0005)
            workers = psutil.Process(process.pid).children()
            process.send_signal(signal.SIGKILL)
        assert workers  # what reads images ends with the run
        assert not psutil.wait_procs(workers, timeout=30)[1]
        kills += 1
        command = [*arguments, "--resume", "last", "--output-dir", str(tmp_path / "killed")]
    (run,) = (tmp_path / "killed").iterdir()
    assert_equal_tensors(tensors_of(whole), tensors_of(run))
    assert [entry["loss"] for entry in log_of(whole)] == [entry["loss"] for entry in log_of(run)]


# Several processes


def test_two_processes_equal_one(tmp_path: Path, settings: Settings) -> None:
    content = settings(
        "transformer", steps=10, batch_size=4, dropout=0.0, save_every=10,
        optimizer__name="sgd", optimizer__learning_rate=0.05,
    )  # fmt: skip
    one = train(tmp_path, content)
    two = train_with_two_processes(tmp_path, content | {"output_dir": str(tmp_path / "two")})
    pairs = list(zip(log_of(one), log_of(two), strict=True))
    assert len(pairs) == 10
    for alone, together in pairs:
        assert alone["loss"] == pytest.approx(together["loss"], rel=1e-5, abs=1e-5)
    ours, theirs = tensors_of(one), tensors_of(two)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-5, msg=name)
    assert any(
        not torch.equal(ours[name], ours[name.replace("average/", "model/")])
        for name in ours
        if name.startswith("average/")
    )  # something was learned


def test_accumulation_equals_a_whole_batch(tmp_path: Path, settings: Settings) -> None:
    # Batch norms see each part by itself, so that a stage with them would differ.
    path = tmp_path / "colors.safetensors"
    save_model(random_model(tiny_config_of_colors()), path)
    content = settings("autoencoder", steps=3, optimizer__name="sgd", init_from=str(path))
    whole = tensors_of(train(tmp_path, content))
    cut = tensors_of(train(tmp_path, content | {"accumulation": 4}))
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, cut[name], rtol=1e-4, atol=1e-5, msg=name)


def test_gradient_checkpointing_changes_nothing(tmp_path: Path, settings: Settings) -> None:
    content = settings("transformer", steps=3)
    plain = tensors_of(train(tmp_path, content))
    again = tensors_of(train(tmp_path, content | {"gradient_checkpointing": True}))
    for name, tensor in plain.items():
        torch.testing.assert_close(tensor, again[name], rtol=1e-5, atol=1e-6, msg=name)


# What stops a run


def test_a_loss_that_is_no_number_stops_the_run(
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real, calls = TransformerStage.forward, []

    def broken(self: TransformerStage, batch: Any) -> dict[str, Tensor]:
        losses = real(self, batch)
        calls.append(batch)
        if len(calls) == 4:
            losses["loss"] = losses["loss"] * float("nan")
        return losses

    monkeypatch.setattr(TransformerStage, "forward", broken)
    content = settings(steps=6, save_every=2)
    assert main(["--config", str(write_settings(tmp_path, content))]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("camseg: the loss of step 3 is nan; its images are images/")
    assert message.count(".png") == 4
    (run,) = Path(content["output_dir"]).iterdir()
    assert f"the last good checkpoint is {run / 'checkpoints' / 'step-00000002'}" in message


def test_a_batch_that_cannot_be_cut_is_refused(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    content = settings(batch_size=6, accumulation=4)
    assert main(["--config", str(write_settings(tmp_path, content))]) == 2
    assert (
        "batch_size 6 cannot be cut into 1 processes x 4 accumulations" in capsys.readouterr().err
    )


def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    content = settings(output_dir=str(tmp_path / "file"))
    assert main(["--config", str(write_settings(tmp_path, content))]) == 2
    assert f"camseg: cannot make {tmp_path / 'file'}" in capsys.readouterr().err


def test_a_checkpoint_of_another_stage_is_refused(tmp_path: Path, settings: Settings) -> None:
    run = train(tmp_path, settings("transformer", steps=2))
    assert main(["--resume", str(run), "--set", "stage=finetune", "steps=4"]) == 2


# The result


def test_a_trained_autoencoder_gives_latents_of_standard_deviation_one(
    tmp_path: Path, settings: Settings
) -> None:
    from camseg_core.weights.loading import load_model

    run = train(tmp_path, settings("autoencoder", steps=4))
    out = tmp_path / "model.safetensors"
    assert main(["--export", str(run), "--out", str(out)]) == 0
    scale = load_model(out).config.autoencoder.latent_scale
    assert scale == round(1.0 / log_of(run)[-1]["latent_sd"], 4)
    assert scale != 1.0


# A codebook in place of the KL bottleneck: its codes and their usage are state of a run too


@pytest.fixture
def quantizing_weights(tmp_path: Path) -> str:
    path = tmp_path / "vq.safetensors"
    save_model(tiny_with_codebook(24), path)
    return str(path)


@pytest.fixture
def frequent_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camseg_core.models.quantizer.USAGE_DECAY", 0.5)


@pytest.mark.usefixtures("frequent_restarts")
def test_resuming_a_codebook_changes_no_bit(
    tmp_path: Path, settings: Settings, quantizing_weights: str
) -> None:
    content = settings("autoencoder", steps=10, init_from=quantizing_weights)
    whole = train(tmp_path, content)
    stopped = train(tmp_path, content | {"steps": 6})
    arguments = ["--resume", stopped.name, "--output-dir", str(stopped.parent)]
    assert main([*arguments, "--set", "steps=10"]) == 0
    assert_equal_tensors(tensors_of(whole), tensors_of(stopped))
    assert log_of(whole) == log_of(stopped)
    assert {entry["used_codes"] for entry in log_of(whole)} <= set(range(1, 25))


def test_two_processes_share_a_codebook(
    tmp_path: Path, settings: Settings, quantizing_weights: str
) -> None:
    content = settings(
        "autoencoder", steps=3, save_every=3, init_from=quantizing_weights,
        optimizer__name="sgd", optimizer__learning_rate=0.05,
    )  # fmt: skip
    one = train(tmp_path, content)
    two = train_with_two_processes(tmp_path, content | {"output_dir": str(tmp_path / "two")})
    for alone, together in zip(log_of(one), log_of(two), strict=True):
        for name in ("loss", "perplexity", "used_codes"):
            assert alone[name] == pytest.approx(together[name], rel=1e-5, abs=1e-5), name
    ours, theirs = tensors_of(one), tensors_of(two)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-3, msg=name)
