# SPDX-License-Identifier: Apache-2.0
"""What a weights file, folder or preset is said to be."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from camseg_core.errors import CamsegError
from camseg_core.models.presets import PRESETS
from camseg_core.weights.camseg_format import bundled_hashes, bundled_path
from camseg_core.weights.describe import describe_weights, published_keys
from camseg_core.weights.loading import LoadedModel, save_model
from camseg_core.weights.unpickling import load_without_code


def described(source: str | Path) -> str:
    return "\n".join(describe_weights(str(source)))


def first_line(path: Path) -> str:
    size = path.stat().st_size / 1e6
    return f"{path}: {size:.1f} MB, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("name", ["transformer.pth", "transformer_torchrun.pth"])
def test_a_transformer_file_tells_its_tables_and_sizes(parity: Path, name: str) -> None:
    lines = described(parity / name).split("\n")
    content = load_without_code(parity / name)
    numbers = {
        variant: sum(tensor.numel() for tensor in content[variant].values()) / 1e6
        for variant in ("model", "model_ema")
    }
    assert lines[0] == first_line(parity / name)
    assert {
        *(
            f"  {key}: {len(content[key])} tensors, {number:.3f} M numbers"
            for key, number in numbers.items()
        ),
        f"  epoch: {content['epoch']}",
        f"  args: {vars(content['args'])}",
    } < set(lines)
    assert lines[-2:] == [
        "a published CAM-Seg transformer with its denoiser (no tensor tells num_heads)",
        "  width=48, encoder_depth=2, decoder_depth=2, mlp_ratio=4.0, image_token_channels=16, "
        "token_channels=16, grid_height=4, grid_width=4, dropout=0.1",
    ]


def test_an_autoencoder_file_tells_its_sizes(parity: Path) -> None:
    lines = described(parity / "vae.ckpt").split("\n")
    assert lines[0] == first_line(parity / "vae.ckpt")
    assert "  callbacks: a table of 1" in lines
    assert lines[-2] == "a published CAM-Seg autoencoder (tensors under loss. are left out)"
    assert lines[-1].startswith("  channels=32, channel_multipliers=(1, 1, 1, 1, 2), num_res_blo")


def test_our_file_tells_its_configuration(
    tiny_model: LoadedModel, parity_model: LoadedModel, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_model(tiny_model, path)
    text = described(path)
    tensors = tiny_model.model.state_dict()
    numbers = sum(tensor.numel() for tensor in tensors.values())
    assert text.startswith(first_line(path) + "\na camseg model, format version 1\n")
    assert f"\n{len(tensors)} tensors, {numbers / 1e6:.1f} M parameters\n" in text
    assert "the weights are RANDOM: nothing was trained" in text
    assert "label set: cityscapes, 19 classes" in text
    assert 'provenance: {"random_seed": 0}' in text
    assert "  name: tiny\n" in text
    assert "  diffusion: prediction=v, first_timestep=999\n" in text
    assert "  input: resize=pad, height=32, width=64\n" in text
    assert "  palette_temperature: 0.01" in text
    save_model(parity_model, path)
    text = described(path)
    assert "RANDOM" not in text
    assert "  diffusion: prediction=epsilon, first_timestep=999\n" in text


def test_a_folder_is_a_whole_model(parity: Path, parity_model: LoadedModel) -> None:
    text = described(parity)
    assert text.startswith(f"{parity / 'transformer.pth'} + {parity / 'vae.ckpt'}: a whole model\n")
    assert f"weights sha256: {parity_model.weights_sha256}\n" in text
    assert "num_heads=4" in text


def test_a_folder_of_an_unpublished_width_does_not_advise_what_inspect_cannot_do(
    parity: Path, tmp_path: Path
) -> None:
    for name in ("transformer.pth", "vae.ckpt"):
        shutil.copyfile(parity / name, tmp_path / name)
    try:
        text = described(tmp_path)
    except CamsegError as error:  # inspect has no --heads
        assert "--heads" not in str(error)  # either is good
    else:
        assert "width=48" in text


def test_a_name_of_shipped_weights_is_the_weights_not_the_preset() -> None:
    first, *_ = described("demo").split("\n")
    assert first.startswith(f"{bundled_path('demo')}: ")
    assert first.endswith(f"sha256 {bundled_hashes()['demo']}")


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - bundled_hashes().keys()))
def test_a_preset_tells_its_configuration(name: str) -> None:
    lines = described(name).split("\n")
    assert lines[0] == f"{name}: a preset"
    config = PRESETS[name].transformer
    (line,) = [line for line in lines if line.startswith("  transformer: ")]
    assert f"width={config.width}, encoder_depth={config.encoder_depth}" in line


def test_the_keys_of_a_preset_are_those_it_would_have(tiny_model: LoadedModel) -> None:
    lines = list(published_keys("tiny"))
    assert len(lines) == 1 + len(tiny_model.model.state_dict())
    assert "transformer\tdiffloss.net.input_proj.weight\t128x16" in lines
    assert "transformer\tmask_token\t1x1x64" in lines
    assert "autoencoder\tstem.conv.weight\t8x20x3x3" in lines
    assert lines[0] == "part\tkey\tshape"


@pytest.mark.parametrize("source", ["none", "none.safetensors", "random:tiny", "n" * 300])
def test_what_is_not_there_is_one_line(source: str) -> None:
    with pytest.raises(CamsegError, match="^no such file, folder or preset: ") as caught:
        described(source)
    assert source in str(caught.value)
    assert "the presets are tiny, demo, base-768" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_of_something_else_is_no_camseg_file(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save({"optimizer": {"a": 1}, "weight": torch.ones(2, 3), "x": [1]}, path)
    lines = described(path).split("\n")[1:]
    assert lines == [
        "  optimizer: a table of 1",
        "  weight: a tensor of shape (2, 3)",
        "  x: list",
        "no CAM-Seg file: it has neither 'model' nor 'state_dict'",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds a list, not a table of tensors"),
        ({"model": torch.ones(1)}, "it has no 'model' table of tensors"),
    ],
)
def test_a_file_of_another_model_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "file.pth"
    torch.save(content, path)
    with pytest.raises(CamsegError, match=f"^{re.escape(str(path))} .*{message}"):
        described(path)
