# SPDX-License-Identifier: Apache-2.0
"""The denoiser: its start, its timestep features, and that it sees one token at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from camseg_core.models.denoiser import Denoiser, timestep_features
from camseg_core.models.part_configs import DenoiserConfig
from camseg_core.models.presets import preset

CONFIG = DenoiserConfig(width=64, depth=2, token_channels=5, condition_channels=24)


def seeded(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def fresh() -> Denoiser:
    """As initialised, large enough for statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Denoiser(
            DenoiserConfig(width=192, depth=2, token_channels=16, condition_channels=96)
        ).requires_grad_(False)


@pytest.fixture(scope="module")
def random() -> Denoiser:
    """All weights random: as initialised it gives zeros, whatever it is fed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Denoiser(CONFIG).eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.06)
    return model


def inputs(count: int, seed: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    timestep = torch.randint(0, 1000, (count,), generator=torch.Generator().manual_seed(seed))
    return seeded(count, 5, seed=seed + 1), timestep, seeded(count, 24, seed=seed + 2)


# --- Shapes ---


def test_published_size_in_and_out() -> None:
    with torch.device("meta"):
        model = Denoiser(preset("base-768").denoiser)
        out = model(torch.empty(7, 16), torch.zeros(7, dtype=torch.long), torch.empty(7, 768))
    assert out.shape == (7, 32)
    assert len(model.res_blocks) == 6


# --- Initialisation ---


def is_modulation(name: str) -> bool:
    return "adaLN_modulation" in name


def test_last_linear_and_modulation_start_at_zero(fresh: Denoiser) -> None:
    zero = {
        name
        for name, parameter in fresh.named_parameters()
        if is_modulation(name) or name.startswith("final_layer.linear")
    }
    assert len(zero) == 2 * (2 + 1 + 1)  # weight and bias of two blocks, final layer, last linear
    for name, parameter in fresh.named_parameters():
        if name in zero:
            assert torch.count_nonzero(parameter) == 0, name


def test_time_mlp_starts_normal(fresh: Denoiser) -> None:
    weights = [module.weight for module in fresh.time_embed.modules() if hasattr(module, "weight")]
    assert [tuple(weight.shape) for weight in weights] == [(192, 256), (192, 192)]
    for weight in weights:
        count = weight.numel()
        assert abs(weight.std().item() - 0.02) < 5 * 0.02 / math.sqrt(2 * count)
        assert abs(weight.mean().item()) < 5 * 0.02 / math.sqrt(count)
        assert weight.abs().max().item() > 3 * 0.02  # a normal has tails, a uniform has none


def test_other_linears_start_xavier_uniform(fresh: Denoiser) -> None:
    linears = {
        name: module
        for name, module in fresh.named_modules()
        if isinstance(module, nn.Linear)
        and not is_modulation(name)
        and not name.startswith(("time_embed", "final_layer"))
    }
    assert len(linears) == 2 + 2 * 2  # condition, input, two in each block
    for name, linear in linears.items():
        bound = math.sqrt(6 / (linear.in_features + linear.out_features))
        largest = linear.weight.abs().max().item()
        assert 0.98 * bound < largest <= bound * (1 + 1e-6), name
        spread = linear.weight.std().item()
        assert spread == pytest.approx(bound / math.sqrt(3), rel=0.05), name


def test_biases_start_at_zero_and_norms_at_one(fresh: Denoiser) -> None:
    for name, module in fresh.named_modules():
        if isinstance(module, nn.Linear):
            assert torch.count_nonzero(module.bias) == 0, name
        if isinstance(module, nn.LayerNorm) and module.elementwise_affine:
            assert torch.equal(module.weight, torch.ones(192)), name
            assert torch.count_nonzero(module.bias) == 0, name


# --- Timestep features ---


@pytest.mark.parametrize("timestep", [0, 1, 2, 10, 250, 999])
def test_timestep_features_in_closed_form(timestep: int) -> None:
    features = timestep_features(torch.tensor([timestep]))
    assert features.shape == (1, 256)
    assert features.dtype == torch.float32
    angles = [timestep * math.exp(-math.log(10000) * i / 128) for i in range(128)]
    expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
    # The angle, a float32, is right to a few units in its last place.
    room = 1e-6 + 4e-7 * timestep
    assert features[0].tolist() == pytest.approx(expected, rel=0, abs=room)


# --- One token at a time ---


@given(permutation=st.permutations(range(13)))
@settings(max_examples=20, deadline=None)
def test_permuted_tokens_give_permuted_outputs(random: Denoiser, permutation: list[int]) -> None:
    x, timestep, condition = inputs(13)
    out = random(x, timestep, condition)
    permuted = random(x[permutation], timestep[permutation], condition[permutation])
    torch.testing.assert_close(permuted, out[permutation], rtol=0, atol=1e-6)


def test_embedding_the_condition_once_is_the_same(random: Denoiser) -> None:
    x, timestep, condition = inputs(9)
    embedded = random.embed_condition(condition)
    assert embedded.shape == (9, 64)
    assert torch.equal(random.denoise(x, timestep, embedded), random(x, timestep, condition))


def test_one_timestep_serves_all_tokens(random: Denoiser) -> None:
    x, _, condition = inputs(9)
    each = random(x, torch.full((9,), 321), condition)
    one = random(x, torch.tensor([321]), condition)
    torch.testing.assert_close(one, each, rtol=0, atol=1e-6)


def test_by_the_published_formula(random: Denoiser) -> None:
    """The whole network again, from its description, in float64."""
    x, timestep, condition = inputs(4)
    weights = {name: tensor.double() for name, tensor in random.state_dict().items()}

    def linear(name: str, value: Tensor) -> Tensor:
        return value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def silu(value: Tensor) -> Tensor:
        return value / (1 + torch.exp(-value))

    def norm(value: Tensor) -> Tensor:
        centered = value - value.mean(dim=1, keepdim=True)
        return centered / (centered.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()

    time = linear(
        "time_embed.mlp.2",
        silu(linear("time_embed.mlp.0", timestep_features(timestep).double())),
    )
    y = time + linear("cond_embed", condition.double())
    h = linear("input_proj", x.double())
    for block in ("res_blocks.0", "res_blocks.1"):
        modulation = linear(f"{block}.adaLN_modulation.1", silu(y))
        shift, scale, gate = modulation[:, :64], modulation[:, 64:128], modulation[:, 128:]
        normed = norm(h) * weights[f"{block}.in_ln.weight"] + weights[f"{block}.in_ln.bias"]
        inner = normed * (1 + scale) + shift
        h = h + gate * linear(f"{block}.mlp.2", silu(linear(f"{block}.mlp.0", inner)))
    modulation = linear("final_layer.adaLN_modulation.1", silu(y))
    shift, scale = modulation[:, :64], modulation[:, 64:]
    expected = linear("final_layer.linear", norm(h) * (1 + scale) + shift)
    actual = random(x, timestep, condition)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-5)
