# SPDX-License-Identifier: Apache-2.0
"""Settings: defaults, file, overrides, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from camseg_core.errors import CamsegError
from camseg_core.training.augmentation import AugmentationConfig
from camseg_core.training.configuration import (
    STAGE_NAMES,
    parse_settings,
    read_configuration,
)


def test_the_defaults_are_the_published_recipe() -> None:
    config = read_configuration(None, ["stage=transformer"])
    optimizer, loss = config.optimizer, config.loss
    assert (optimizer.name, optimizer.beta1, optimizer.beta2) == ("adamw", 0.9, 0.95)
    assert (optimizer.learning_rate, optimizer.weight_decay) == (1e-4, 0.02)
    assert (optimizer.gradient_clip, optimizer.ema_decay, optimizer.decay) == (
        3.0, 0.9999, "constant",
    )  # fmt: skip
    assert (loss.mask_share_mean, loss.mask_share_sd, loss.mask_share_least) == (1.0, 0.25, 0.7)
    assert loss.diffusion_batch_mul == 4
    assert config.max_file_mib == 16
    assert config.data.augmentation == AugmentationConfig()
    assert STAGE_NAMES == ("autoencoder", "transformer", "mask-decoder", "finetune")


def test_a_file_and_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "stage: finetune\nsteps: 10\noptimizer: {learning_rate: 1.0e-3, decay: cosine}\n"
    )
    config = read_configuration(
        file,
        [
            "steps=20", "optimizer.learning_rate=2e-4", "data.augmentation.crop_size=[64, 128]",
            "data.validation_split=", "dropout=0", "gradient_checkpointing=true",
        ],
    )  # fmt: skip
    assert (config.stage, config.steps, config.dropout) == ("finetune", 20, 0)
    assert (config.optimizer.learning_rate, config.optimizer.decay) == (2e-4, "cosine")
    assert config.data.augmentation.crop_size == (64, 128)
    assert config.data.validation_split == ""
    assert config.gradient_checkpointing is True


def test_settings_travel_through_yaml() -> None:
    config = read_configuration(None, ["stage=autoencoder", "data.augmentation.crop_size=[32, 64]"])
    text = yaml.safe_dump(config.to_dict())
    assert parse_settings(yaml.safe_load(text)) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("step=3", "setting: step is not known; known are stage, preset, "),
        ("optimizer.rate=3", "optimizer.rate is not known; known are name, learning_rate"),
        ("data.augmentation.flip=3", "flip"),
        ("steps=many", 'setting: steps is "many": .*integer'),
        ("steps=2.5", "setting: steps is 2.5: .*integer"),
        ("steps=0", "setting: steps is 0; at least 1 is needed"),
        ("batch_size=-1", "setting: batch_size is -1; at least 1 is needed"),
        ("seed=-1", "setting: seed is -1; at least 0 is needed"),
        ("max_file_mib=0", "setting: max_file_mib is 0; at least 1 is needed"),
        ("stage=magic", 'setting: stage is "magic": .*autoencoder.*transformer.*mask-decoder'),
        ("precision=float16", 'setting: precision is "float16": .*float32.*bfloat16'),
        ("optimizer=adamw", 'setting: optimizer is "adamw": input should be an object'),
        ("dropout=much", 'setting: dropout is "much": .*number'),
        ("gradient_checkpointing=1", "gradient_checkpointing is 1: .*boolean"),
        ("optimizer.learning_rate=0", "learning_rate and gradient_clip must be above 0"),
        ("optimizer.ema_decay=1", "optimizer.ema_decay is 1.0; 0..1 is needed"),
        ("loss.mask_share_least=0", "loss.mask_share_least 0.0 lies in 0..1"),
        ("steps", "--set 'steps': NAME=VALUE is needed, e.g. steps=2000"),
        ("steps.more=3", "--set 'steps.more=3': steps is a value, it has nothing inside"),
        ("steps=[", r"^--set 'steps=\[', line 1: not YAML: expected the node content"),
    ],
)
def test_a_wrong_setting_is_said(tmp_path: Path, override: str, message: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("stage: finetune\nsteps: 5\n")
    with pytest.raises(CamsegError, match=message) as raised:
        read_configuration(file, [override])
    assert "\n" not in str(raised.value)


def test_the_stage_must_be_given() -> None:
    with pytest.raises(CamsegError, match="setting: stage is missing"):
        read_configuration(None, [])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[1]", "holds no table of settings"), (b"a: [", "not YAML: "), (b"\xff", "not YAML: ")],
)
def test_a_file_that_is_no_table_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(content)
    with pytest.raises(CamsegError, match=message) as raised:
        read_configuration(file, [])
    assert "\n" not in str(raised.value)
    with pytest.raises(CamsegError, match="cannot read .*absent.yaml"):
        read_configuration(tmp_path / "absent.yaml", [])
