# SPDX-License-Identifier: Apache-2.0
"""The autoencoder's shapes, names, layout and latent scale; parity is in ``test_verify.py``."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from camseg_core.models import autoencoder
from camseg_core.models.autoencoder import (
    AttentionBlock,
    Autoencoder,
    Downsample,
    GaussianPosterior,
    Upsample,
    convolve_in_place,
)
from camseg_core.models.part_configs import AutoencoderConfig
from camseg_core.models.presets import preset
from camseg_core.weights.published_format import published_name

FULL_SIZE_KEYS = Path(__file__).parents[2] / "data" / "parity" / "full_size_keys.tsv"

SMALL = AutoencoderConfig(
    channels=32,
    channel_multipliers=(1, 1, 2),
    num_res_blocks=1,
    latent_channels=4,
    resolution=64,
    attention_resolutions=(16,),
    latent_scale=0.2325,
)


@pytest.fixture(scope="module")
def small() -> Autoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Autoencoder(SMALL).eval().requires_grad_(False)


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def on_meta(config: AutoencoderConfig) -> Autoencoder:
    with torch.device("meta"):
        return Autoencoder(config)


def test_names_and_shapes_are_the_published_ones() -> None:
    with FULL_SIZE_KEYS.open(encoding="utf-8", newline="") as file:
        expected = {
            (row["part"], row["key"]): row["shape"]
            for row in csv.DictReader(file, delimiter="\t")
            if row["part"] == "autoencoder"
        }
    model = on_meta(preset("base-768").autoencoder)
    ours = {
        published_name(f"autoencoder.{key}"): "x".join(map(str, tensor.shape))
        for key, tensor in model.state_dict().items()
    }
    assert ours == expected
    assert len(ours) == 342
    assert round(sum(tensor.numel() for tensor in model.state_dict().values()) / 1e6, 1) == 69.6


@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (32, 64), (64, 32), (20, 84), (4, 4), (16, 256)]
)
def test_image_of_any_aspect_to_latent_and_back(
    small: Autoencoder, height: int, width: int
) -> None:
    image = images(2, 3, height, width)
    posterior = small.posterior(image)
    assert posterior.mean.shape == (2, 4, height // 4, width // 4)
    assert posterior.log_variance.shape == posterior.mean.shape
    assert small.decode(small.encode(image)).shape == image.shape


@pytest.mark.parametrize(
    ("resolution", "attention_resolutions", "levels_with_attention"),
    [
        (64, (16,), {2}),
        (16, (16,), {0}),
        (64, (64, 32), {0, 1}),
        (64, (), set()),
        (256, (16,), set()),
    ],
)
def test_attention_follows_the_configured_resolution(
    resolution: int, attention_resolutions: tuple[int, ...], levels_with_attention: set[int]
) -> None:
    model = on_meta(
        replace(
            SMALL,
            num_res_blocks=2,
            resolution=resolution,
            attention_resolutions=attention_resolutions,
        )
    )
    counts = {"encoder.down": 2, "decoder.up": 3}
    names = set(model.state_dict())
    for levels, blocks in counts.items():
        found = {
            (level, block)
            for level in range(3)
            for block in range(5)
            if f"{levels}.{level}.attn.{block}.q.weight" in names
        }
        assert found == {(level, b) for level in levels_with_attention for b in range(blocks)}
    assert "encoder.mid.attn_1.q.weight" in names
    assert "decoder.mid.attn_1.q.weight" in names


def test_shortcut_exists_only_where_the_channels_change() -> None:
    names = set(on_meta(SMALL).state_dict())
    shortcuts = {name for name in names if name.endswith("nin_shortcut.weight")}
    assert shortcuts == {
        "encoder.down.2.block.0.nin_shortcut.weight",
        "decoder.up.1.block.0.nin_shortcut.weight",
    }


def test_resampling_is_at_every_level_but_the_last() -> None:
    names = set(on_meta(SMALL).state_dict())
    assert {name for name in names if name.endswith("sample.conv.weight")} == {
        "encoder.down.0.downsample.conv.weight",
        "encoder.down.1.downsample.conv.weight",
        "decoder.up.1.upsample.conv.weight",
        "decoder.up.2.upsample.conv.weight",
    }


def test_every_group_norm_has_32_groups_and_a_small_eps() -> None:
    norms = [module for module in on_meta(SMALL).modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) > 10
    assert {(norm.num_groups, norm.eps) for norm in norms} == {(32, 1e-6)}


def test_down_sampling_pads_right_and_bottom_only() -> None:
    down = Downsample(1)
    with torch.no_grad():
        down.conv.bias.zero_()
        down.conv.weight.zero_()
        down.conv.weight[0, 0, 0, 0] = 1.0  # the window's first place
        down.conv.weight[0, 0, 2, 2] = 100.0  # and its last
    image = torch.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    # Windows start at even places. Their last place is two further: outside, and zero, but once.
    expected = torch.tensor([[1.0 + 100 * 11.0, 3.0], [9.0, 11.0]])
    assert torch.equal(down(image)[0, 0].detach(), expected)


def test_up_sampling_repeats_each_pixel() -> None:
    up = Upsample(1)
    with torch.no_grad():
        up.conv.bias.zero_()
        up.conv.weight.zero_()
        up.conv.weight[0, 0, 1, 1] = 1.0  # the convolution copies
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = [[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert up(image)[0, 0].tolist() == expected


def test_attention_block_by_its_formula() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        block = AttentionBlock(64, 32).double().requires_grad_(False)
    x = 3 * images(2, 64, 3, 5).double() + 1
    groups = x.reshape(2, 32, 2 * 15)
    centered = groups - groups.mean(dim=2, keepdim=True)
    normed = centered / (groups.var(dim=2, unbiased=False, keepdim=True) + 1e-6).sqrt()
    flat = normed.reshape(2, 64, 15)

    def project(conv: nn.Conv2d, tokens: Tensor) -> Tensor:
        assert conv.bias is not None
        return conv.weight[:, :, 0, 0] @ tokens + conv.bias[:, None]  # [B, C, hw]

    query, key, value = (project(conv, flat) for conv in (block.q, block.k, block.v))
    weights = torch.softmax(query.transpose(1, 2) @ key / 8.0, dim=2)  # sqrt(64)
    attended = value @ weights.transpose(1, 2)
    expected = x + project(block.proj_out, attended).reshape(x.shape)
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_log_variance_is_clamped_and_the_mean_is_not(small: Autoencoder) -> None:
    image = images(1, 3, 16, 16)
    plain = small.posterior(image)
    bias = small.quant_conv.bias
    assert bias is not None
    before = bias.clone()
    try:
        bias += torch.tensor([100.0, -100.0, 0.0, 0.0, 100.0, -100.0, 0.0, 0.0])
        shifted = small.posterior(image)
    finally:
        bias.copy_(before)
    offset = torch.tensor([100.0, -100.0, 0.0, 0.0])[:, None, None]
    torch.testing.assert_close(shifted.mean[0], plain.mean[0] + offset, rtol=0, atol=1e-4)
    assert torch.equal(shifted.log_variance[0, 0], torch.full((4, 4), 20.0))
    assert torch.equal(shifted.log_variance[0, 1], torch.full((4, 4), -30.0))
    assert torch.equal(shifted.log_variance[0, 2:], plain.log_variance[0, 2:])


def test_posterior_sample_by_value() -> None:
    posterior = GaussianPosterior(
        mean=torch.tensor([1.0, -2.0, 0.5]), log_variance=torch.log(torch.tensor([4.0, 9.0, 1.0]))
    )
    sample = posterior.sample(torch.tensor([1.0, -1.0, 0.0]))
    torch.testing.assert_close(sample, torch.tensor([3.0, -5.0, 0.5]))


def test_encode_gives_the_scaled_mean_or_with_noise_the_scaled_sample(small: Autoencoder) -> None:
    image = images(2, 3, 16, 32)
    posterior = small.posterior(image)
    torch.testing.assert_close(small.encode(image), posterior.mean * 0.2325)
    noise = torch.randn(2, 4, 4, 8, generator=torch.Generator().manual_seed(5))
    expected = (posterior.mean + torch.exp(posterior.log_variance / 2) * noise) * 0.2325
    torch.testing.assert_close(small.encode(image, noise), expected)
    assert not torch.allclose(small.encode(image, noise), small.encode(image))


def test_the_scale_is_the_configured_one() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(replace(SMALL, latent_scale=2.0)).eval().requires_grad_(False)
    image = images(1, 3, 8, 8)
    torch.testing.assert_close(model.encode(image), 2.0 * model.posterior(image).mean)
    latent = images(1, 4, 2, 2)
    torch.testing.assert_close(model.decode(latent), model.decode_raw(latent / 2.0))


def test_decoded_image_is_not_clamped(small: Autoencoder) -> None:
    latent = images(1, 4, 4, 4)
    plain = small.decode(latent)
    bias = small.decoder.conv_out.bias
    assert bias is not None
    before = bias.clone()
    try:
        bias += 7.0
        shifted = small.decode(latent)
    finally:
        bias.copy_(before)
    torch.testing.assert_close(shifted, plain + 7.0, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 8, 1, 5), (1, 8, 3, 4), (2, 8, 37, 16)])
def test_a_convolution_in_bands_of_rows_is_the_convolution(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoencoder, "BAND_BYTES", 2 * 8 * 16 * 4 * 3)  # three rows of the last
    conv = nn.Conv2d(8, 8, kernel_size=3, padding=1)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = conv(x)
        found = convolve_in_place(conv, x)
    assert found is x
    torch.testing.assert_close(found, expected)
