# SPDX-License-Identifier: Apache-2.0
"""The masked transformer: names, start, masking, dropout, position grids, token layout."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from camseg_core.errors import CamsegError
from camseg_core.models.denoiser import Denoiser
from camseg_core.models.part_configs import TransformerConfig
from camseg_core.models.presets import preset
from camseg_core.models.transformer import (
    Attention,
    Block,
    FeedForward,
    MaskedTransformer,
    latent_from_tokens,
    tokens_from_latent,
)
from camseg_core.weights.published_format import published_name

FULL_SIZE_KEYS = Path(__file__).parents[2] / "data" / "parity" / "full_size_keys.tsv"

ROWS, COLUMNS = 3, 4
LENGTH = ROWS * COLUMNS
WIDTH = 16
CONFIG = TransformerConfig(
    width=WIDTH,
    encoder_depth=2,
    decoder_depth=1,
    num_heads=2,
    mlp_ratio=2.0,
    image_token_channels=5,
    token_channels=5,
    grid_height=ROWS,
    grid_width=COLUMNS,
    dropout=0.1,
)


def seeded(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def built(config: TransformerConfig) -> MaskedTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MaskedTransformer(config).eval().requires_grad_(False)


@pytest.fixture
def small() -> MaskedTransformer:
    """A network whose positions and mask token are large enough to matter."""
    model = built(CONFIG)
    for parameter in (
        model.encoder_pos_embed_learned,
        model.decoder_pos_embed_learned,
        model.diffusion_pos_embed_learned,
        model.mask_token,
    ):
        parameter.mul_(25.0)
    return model


@pytest.fixture(scope="module")
def fresh() -> MaskedTransformer:
    """As initialised, large enough for statistics."""
    return built(replace(CONFIG, width=192, mlp_ratio=4.0, grid_height=12, grid_width=16))


def batch(size: int = 3) -> tuple[Tensor, Tensor]:
    """Image tokens and mask tokens, [B, L, Z] each."""
    return seeded(size, LENGTH, 5, seed=1), seeded(size, LENGTH, 5, seed=2)


def random_mask(size: int, hidden: int, seed: int = 3) -> Tensor:
    """Return another order per sample: bool [B, L], ``hidden`` places true in each row."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(LENGTH, generator=generator) < hidden for _ in range(size)]
    return torch.stack(rows)


# --- Names, shapes and start ---


def test_names_and_shapes_are_the_published_ones() -> None:
    with FULL_SIZE_KEYS.open(encoding="utf-8", newline="") as file:
        expected = {
            (row["part"], row["key"]): row["shape"]
            for row in csv.DictReader(file, delimiter="\t")
            if row["part"] == "transformer"
        }
    config = preset("base-768")
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {
            "transformer": MaskedTransformer(config.transformer),
            "denoiser": Denoiser(config.denoiser),
        }
    tensors = {
        published_name(f"{part}.{key}"): tensor
        for part, module in parts.items()
        for key, tensor in module.state_dict().items()
    }
    assert {key: "x".join(map(str, tensor.shape)) for key, tensor in tensors.items()} == expected
    assert len(tensors) == 364
    assert round(sum(tensor.numel() for tensor in tensors.values()) / 1e6, 1) == 217.1


def test_published_size_gives_a_condition_for_each_of_two_times_2304_tokens() -> None:
    with torch.device("meta"):
        model = MaskedTransformer(preset("base-768").transformer)
        condition = model(torch.empty(2, 2304, 16))
    assert condition.shape == (2, 4608, 768)


def test_positions_and_mask_token_start_normal(fresh: MaskedTransformer) -> None:
    for name in ("encoder", "decoder", "diffusion"):
        positions = getattr(fresh, f"{name}_pos_embed_learned")
        assert positions.shape == (1, 2 * 12 * 16, 192)
        count = positions.numel()
        assert abs(positions.std().item() - 0.02) < 5 * 0.02 / math.sqrt(2 * count), name
        assert abs(positions.mean().item()) < 5 * 0.02 / math.sqrt(count), name
        assert positions.abs().max().item() > 3 * 0.02, name  # tails, that a uniform has not
    assert fresh.mask_token.shape == (1, 1, 192)
    assert fresh.mask_token.std().item() == pytest.approx(0.02, rel=5 / math.sqrt(2 * 192))


def test_linears_start_xavier_uniform_with_zero_bias(fresh: MaskedTransformer) -> None:
    linears = {name: m for name, m in fresh.named_modules() if isinstance(m, nn.Linear)}
    assert len(linears) == 3 + 3 * 4  # two projections, decoder_embed, four in each block
    for name, linear in linears.items():
        bound = math.sqrt(6 / (linear.in_features + linear.out_features))
        largest = linear.weight.abs().max().item()
        assert 0.98 * bound < largest <= bound * (1 + 1e-6), name
        assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05), name
        assert torch.count_nonzero(linear.bias) == 0, name


# --- Masking ---


@pytest.mark.parametrize("value", [0.0, 1e6, float("nan")])
def test_values_of_hidden_tokens_change_nothing(small: MaskedTransformer, value: float) -> None:
    image, given_tokens = batch()
    mask = random_mask(3, 7)
    changed = torch.where(mask[:, :, None], value, given_tokens)
    plain, other = (small(image, tokens, mask) for tokens in (given_tokens, changed))
    assert torch.equal(plain, other)


def test_without_a_mask_the_whole_mask_half_is_hidden(small: MaskedTransformer) -> None:
    image, given_tokens = batch()
    all_hidden = torch.ones(3, LENGTH, dtype=torch.bool)
    plain = small(image)
    assert small.encode(image).shape == (3, LENGTH, WIDTH)
    torch.testing.assert_close(small(image, given_tokens, all_hidden), plain, rtol=0, atol=1e-6)
    torch.testing.assert_close(small(image, None, all_hidden), plain, rtol=0, atol=1e-6)


def test_the_mask_half_alone_is_the_same(small: MaskedTransformer) -> None:
    image, given_tokens = batch()
    mask = random_mask(3, 7)
    whole = small(image, given_tokens, mask)
    half = small(image, given_tokens, mask, mask_half_only=True)
    assert half.shape == (3, LENGTH, WIDTH)
    torch.testing.assert_close(half, whole[:, LENGTH:], rtol=0, atol=1e-5)


def test_rows_that_hide_different_numbers_are_refused(small: MaskedTransformer) -> None:
    """Three tokens of one sample and five of another would otherwise become four and four."""
    image, given_tokens = batch(2)
    mask = torch.ones(2, LENGTH, dtype=torch.bool)
    mask[0, :3] = False
    mask[1, :5] = False
    with pytest.raises(CamsegError, match="same number"):
        small(image, given_tokens, mask)


@pytest.mark.parametrize("hidden", [0, 5, LENGTH])
def test_by_the_published_formula(small: MaskedTransformer, hidden: int) -> None:
    """The whole network again, from its description, one sample at a time, in float64."""
    image, given_tokens = batch()
    mask = random_mask(3, hidden)
    weights = {name: tensor.double() for name, tensor in small.state_dict().items()}

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        centered = x - x.mean(dim=1, keepdim=True)
        unit = centered / (centered.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
        return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attention(name: str, x: Tensor) -> Tensor:
        q, k, v = linear(f"{name}.qkv", x).split(WIDTH, dim=1)
        heads = []
        for start in range(0, WIDTH, WIDTH // 2):
            channels = slice(start, start + WIDTH // 2)
            scores = q[:, channels] @ k[:, channels].T / math.sqrt(WIDTH // 2)
            heads.append(torch.softmax(scores, dim=1) @ v[:, channels])
        return linear(f"{name}.proj", torch.cat(heads, dim=1))

    def block(name: str, x: Tensor) -> Tensor:
        x = x + attention(f"{name}.attn", norm(f"{name}.norm1", x))
        inner = linear(f"{name}.mlp.fc1", norm(f"{name}.norm2", x))
        return x + linear(f"{name}.mlp.fc2", inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2))))

    actual = small(image, given_tokens, mask)
    for sample in range(3):
        tokens = torch.cat(
            [
                linear("z_proj1", image[sample].double()),
                linear("z_proj2", given_tokens[sample].double()),
            ]
        )
        x = norm("z_proj_ln", tokens + weights["encoder_pos_embed_learned"][0])
        visible = torch.cat([torch.ones(LENGTH, dtype=torch.bool), ~mask[sample]])
        x = x[visible]
        for index in range(2):
            x = block(f"encoder_blocks.{index}", x)
        x = linear("decoder_embed", norm("encoder_norm", x))
        full = weights["mask_token"][0].repeat(2 * LENGTH, 1)
        full[visible] = x
        full = block("decoder_blocks.0", full + weights["decoder_pos_embed_learned"][0])
        expected = norm("decoder_norm", full) + weights["diffusion_pos_embed_learned"][0]
        torch.testing.assert_close(actual[sample].double(), expected, rtol=1e-4, atol=2e-5)


# --- Dropout ---


@contextmanager
def seeded_dropout(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def test_dropout_is_in_training_mode_only(small: MaskedTransformer) -> None:
    image, _ = batch()
    first = small(image)
    assert torch.equal(small(image), first)
    small.train()
    with seeded_dropout(0):
        trained, again = small(image), small(image)
    assert not torch.allclose(trained, again, atol=1e-3)
    assert not torch.allclose(trained, first, atol=1e-3)
    small.eval()
    assert torch.equal(small(image), first)


def copying(linear: nn.Linear) -> None:
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)


DROPPED = 0.1
TRIALS = 40000
ROOM = 5 * math.sqrt(DROPPED * (1 - DROPPED) / TRIALS)


def test_attention_drops_weights_and_outputs() -> None:
    """One token attends to itself with weight 1: the two dropouts can be told apart."""
    attention = Attention(8, num_heads=1, dropout=DROPPED).train().requires_grad_(False)
    attention.qkv.weight.zero_()
    attention.qkv.bias.copy_(torch.cat([torch.zeros(16), torch.ones(8)]))  # values are 1
    copying(attention.proj)
    with seeded_dropout(1):
        out = attention(torch.zeros(TRIALS, 1, 8))[:, 0]
    weight_dropped = out.abs().amax(dim=1) == 0
    assert abs(weight_dropped.float().mean().item() - DROPPED) < ROOM
    kept = out[~weight_dropped]
    assert abs((kept == 0).float().mean().item() - DROPPED) < ROOM
    expected = torch.full_like(kept[kept > 0], 1 / (1 - DROPPED) ** 2)
    torch.testing.assert_close(kept[kept > 0], expected)


def test_feed_forward_drops_hidden_and_outputs() -> None:
    forward = FeedForward(1, 1, dropout=DROPPED).train().requires_grad_(False)
    copying(forward.fc1)
    copying(forward.fc2)
    with seeded_dropout(2):
        out = forward(torch.full((TRIALS, 1, 1), 20.0))  # where GELU is the identity
    share_of_zero = (out == 0).float().mean().item()
    assert abs(share_of_zero - (1 - (1 - DROPPED) ** 2)) < 2 * ROOM
    expected = torch.full_like(out[out > 0], 20.0 / (1 - DROPPED) ** 2)
    torch.testing.assert_close(out[out > 0], expected)


# --- Position grids ---


def show_positions(model: MaskedTransformer) -> None:
    """Make the decoder's norm zero: what is left are the last position embeddings."""
    model.decoder_norm.weight.zero_()
    model.decoder_norm.bias.zero_()


def test_own_grid_is_the_default(small: MaskedTransformer) -> None:
    image, given_tokens = batch()
    mask = random_mask(3, 5)
    assert torch.equal(small(image, grid=(ROWS, COLUMNS)), small(image))
    assert torch.equal(
        small(image, given_tokens, mask, grid=(ROWS, COLUMNS)), small(image, given_tokens, mask)
    )


def test_positions_are_added_last_unchanged(small: MaskedTransformer) -> None:
    show_positions(small)
    image, _ = batch(2)
    expected = small.diffusion_pos_embed_learned.expand(2, -1, -1)
    assert torch.equal(small(image), expected)


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), hidden_share=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_other_grids_give_one_condition_per_token(
    rows: int, columns: int, hidden_share: float
) -> None:
    model = built(CONFIG)
    length = rows * columns
    mask = torch.zeros(2, length, dtype=torch.bool)
    mask[:, : round(hidden_share * length)] = True
    image, given_tokens = (seeded(2, length, 5, seed=seed) for seed in (4, 5))
    assert model(image, grid=(rows, columns)).shape == (2, 2 * length, WIDTH)
    condition = model(image, given_tokens, mask, grid=(rows, columns))
    assert condition.shape == (2, 2 * length, WIDTH)
    assert torch.isfinite(condition).all()


@pytest.mark.parametrize("grid", [(6, 8), (5, 3), (1, 1), (2, 9)])
def test_halves_are_interpolated_apart(small: MaskedTransformer, grid: tuple[int, int]) -> None:
    show_positions(small)
    small.diffusion_pos_embed_learned[:, :LENGTH] = 1.0
    small.diffusion_pos_embed_learned[:, LENGTH:] = -2.0
    length = grid[0] * grid[1]
    out = small(seeded(1, length, 5, seed=1), grid=grid)
    torch.testing.assert_close(out[:, :length], torch.full((1, length, WIDTH), 1.0))
    torch.testing.assert_close(out[:, length:], torch.full((1, length, WIDTH), -2.0))


def test_interpolation_keeps_rows_rows_and_columns_columns(small: MaskedTransformer) -> None:
    """Each channel rises along one side; it rises along the same side of the larger grid."""
    show_positions(small)
    row, column = torch.meshgrid(
        torch.arange(float(ROWS)), torch.arange(float(COLUMNS)), indexing="ij"
    )
    small.diffusion_pos_embed_learned.zero_()
    small.diffusion_pos_embed_learned[0, :LENGTH, 0] = row.flatten()
    small.diffusion_pos_embed_learned[0, LENGTH:, 1] = column.flatten()
    rows, columns = 3 * ROWS, 3 * COLUMNS
    out = small(seeded(1, rows * columns, 5, seed=1), grid=(rows, columns))[0]
    by_row = out[: rows * columns, 0].reshape(rows, columns)
    by_column = out[rows * columns :, 1].reshape(rows, columns)
    assert torch.all(by_row.diff(dim=0).sum(dim=0) > 1.5)
    torch.testing.assert_close(by_row, by_row[:, :1].expand(rows, columns), rtol=0, atol=1e-5)
    assert torch.all(by_column.diff(dim=1).sum(dim=1) > 2.5)
    torch.testing.assert_close(by_column, by_column[:1].expand(rows, columns), rtol=0, atol=1e-5)
    # Tokens are areas: of the three that divide an old one, the middle one has its centre.
    torch.testing.assert_close(by_row[1::3, 0], torch.arange(float(ROWS)))
    torch.testing.assert_close(by_column[0, 1::3], torch.arange(float(COLUMNS)))
    # The halves' other channels stay zero.
    assert torch.count_nonzero(out[: rows * columns, 1:]) == 0
    assert torch.count_nonzero(out[rows * columns :, [0, *range(2, WIDTH)]]) == 0


# --- Token layout ---


@given(
    patch_size=st.integers(1, 3),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    channels=st.integers(1, 4),
    size=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_tokens_and_latents_are_inverse(
    patch_size: int, rows: int, columns: int, channels: int, size: int
) -> None:
    latent = seeded(size, channels, rows * patch_size, columns * patch_size, seed=9)
    tokens = tokens_from_latent(latent, patch_size)
    assert tokens.shape == (size, rows * columns, channels * patch_size**2)
    assert torch.equal(latent_from_tokens(tokens, (rows, columns), patch_size), latent)
    mixed = seeded(*tokens.shape, seed=10)
    back = tokens_from_latent(latent_from_tokens(mixed, (rows, columns), patch_size), patch_size)
    assert torch.equal(back, mixed)


@pytest.mark.parametrize("patch_size", [1, 2])
def test_tokens_are_row_major(patch_size: int) -> None:
    rows, columns, channels = 2, 3, 2
    height, width = rows * patch_size, columns * patch_size
    latent = np.arange(2 * channels * height * width).reshape(2, channels, height, width)
    tokens = tokens_from_latent(torch.from_numpy(latent), patch_size).numpy()
    for row in range(rows):
        for column in range(columns):
            cut = latent[
                :,
                :,
                row * patch_size : (row + 1) * patch_size,
                column * patch_size : (column + 1) * patch_size,
            ]
            # Inside a token: channel, then the patch's rows, then its columns.
            assert (tokens[:, row * columns + column] == cut.reshape(2, -1)).all()


def test_a_block_in_portions_of_tokens_is_the_block() -> None:
    block = Block(CONFIG).eval()
    x = torch.randn(2, 13, CONFIG.width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = block(x, 4)
        block.tokens_at_once = 5
        torch.testing.assert_close(block(x, 4), expected)
