# SPDX-License-Identifier: Apache-2.0
"""The facade: any image in, classes and confidence out, by seed, sampler, steps and rounds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from camseg_core.diffusion.options import PROFILE_NAMES, SAMPLERS
from camseg_core.diffusion.samplers import TokenNoise, round_masks
from camseg_core.errors import CamsegError
from camseg_core.inference.sampling import LatentSampler
from camseg_core.inference.stage_clock import StageClock
from camseg_core.labels import CITYSCAPES
from camseg_core.models.camseg import CamSeg
from camseg_core.models.transformer import tokens_from_latent
from camseg_core.segmenter import (
    STAGES,
    SamplingOptions,
    Segmentation,
    SegmentationCancelled,
    Segmenter,
)
from camseg_core.weights.loading import LoadedModel

Image = np.ndarray[Any, np.dtype[np.uint8]]
MakeImage = Callable[..., Image]

SIZES = [(1, 1), (1, 300), (300, 1), (33, 97), (200, 300)]
FEW = SamplingOptions(steps=3)


@pytest.fixture(params=["tiny", "parity"])
def segmenter(
    request: pytest.FixtureRequest, tiny_segmenter: Segmenter, parity_segmenter: Segmenter
) -> Segmenter:
    """Both resize policies and both predictions: tiny pads and predicts v, parity squashes."""
    return tiny_segmenter if request.param == "tiny" else parity_segmenter


@pytest.fixture(params=["tiny", "parity", "light"])
def any_segmenter(request: pytest.FixtureRequest) -> Segmenter:
    """Every way to encode and to decode."""
    found = request.getfixturevalue(f"{request.param}_segmenter")
    assert isinstance(found, Segmenter)
    return found


def model_of(segmenter: Segmenter) -> CamSeg:
    return segmenter.networks.at("float32")


def network_input(image: Image) -> Tensor:
    """Bring an image of the model's input size to [-1, 1], [1, 3, H, W]."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def input_image(segmenter: Segmenter, make: MakeImage, seed: int = 0) -> Image:
    config = segmenter.loaded.config.input
    return make(config.height, config.width, seed)


def assert_same(one: Segmentation, two: Segmentation) -> None:
    np.testing.assert_array_equal(one.class_ids, two.class_ids)
    np.testing.assert_array_equal(one.confidence, two.confidence)
    np.testing.assert_array_equal(one.token_probabilities, two.token_probabilities)


def assert_alike(one: Segmentation, two: Segmentation) -> None:
    """Equal but for the last bit of a matrix product.

    Products of another batch size may add up in another order. A pixel that is as near to one
    colour as to another may then change its class, and a confidence its rounding.
    """
    assert np.mean(one.class_ids == two.class_ids) >= 0.999
    for field in ("confidence", "token_probabilities"):
        first, second = (getattr(result, field).astype(int) for result in (one, two))
        assert np.abs(first - second).max() <= 1, field


# The image's latent


def test_the_image_latent_is_the_mean_or_a_sample_by_seed(
    monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter, random_image: MakeImage
) -> None:
    autoencoder = model_of(segmenter).autoencoder
    encode, noises = autoencoder.encode, []

    def recording(image: Tensor, noise: Tensor | None = None) -> Tensor:
        noises.append(noise)
        return encode(image, noise)

    monkeypatch.setattr(autoencoder, "encode", recording)
    image = input_image(segmenter, random_image)
    sampled = SamplingOptions(steps=2, sample_image_latent=True)
    results = [
        segmenter.segment(image, options)
        for options in (FEW, sampled, sampled, replace(sampled, seed=1))
    ]
    mean, first, again, other = noises
    assert mean is None
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    config = segmenter.loaded.config
    stride = config.stride // config.patch_size
    assert first.shape == (
        1, config.autoencoder.latent_channels,
        config.input.height // stride, config.input.width // stride,
    )  # fmt: skip
    assert abs(float(first.mean())) < 0.25
    assert 0.75 < float(first.std()) < 1.25
    assert_same(results[1], results[2])
    assert (results[1].class_probabilities != results[3].class_probabilities).any()


# Sizes, types, ranges


@pytest.mark.parametrize("size", SIZES)
def test_the_result_has_the_size_of_the_image(
    any_segmenter: Segmenter, random_image: MakeImage, size: tuple[int, int]
) -> None:
    result = any_segmenter.segment(random_image(*size), FEW)
    assert result.class_ids.shape == result.confidence.shape == size
    assert result.class_ids.dtype == result.confidence.dtype == np.uint8
    assert set(np.unique(result.class_ids)) <= {*range(19), 255}
    rows, columns, classes = result.token_probabilities.shape
    assert result.token_probabilities.dtype == np.uint8
    assert classes == 19
    grid = any_segmenter.loaded.config.transformer
    assert 1 <= rows <= grid.grid_height
    assert 1 <= columns <= grid.grid_width
    sums = result.token_probabilities.sum(axis=2, dtype=int)
    assert sums.max() <= 255 + 19 / 2  # each of 19 is rounded by half at most
    assert tuple(result.stage_seconds) == STAGES
    assert min(result.stage_seconds.values()) >= 0.0


@pytest.mark.parametrize(
    ("size", "grid"),
    [((32, 64), (2, 4)), ((64, 64), (2, 2)), ((33, 97), (2, 4)), ((300, 1), (2, 1))],
)
def test_padding_to_the_stride_keeps_the_token_grid_small_and_squashing_gives_the_whole(
    tiny_segmenter: Segmenter,
    parity_segmenter: Segmenter,
    random_image: MakeImage,
    size: tuple[int, int],
    grid: tuple[int, int],
) -> None:
    padded, squashed = (
        one.segment(random_image(*size), FEW) for one in (tiny_segmenter, parity_segmenter)
    )
    assert padded.token_probabilities.shape == (*grid, 19)
    assert squashed.token_probabilities.shape == (4, 4, 19)


def test_a_view_and_a_read_only_image_are_read_by_value(
    any_segmenter: Segmenter, random_image: MakeImage
) -> None:
    image = input_image(any_segmenter, random_image)
    expected = any_segmenter.segment(image, FEW)
    view = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    read_only = image.copy()
    read_only.flags.writeable = False
    before = image.copy()
    assert_same(any_segmenter.segment(view, FEW), expected)
    assert_same(any_segmenter.segment(read_only, FEW), expected)
    np.testing.assert_array_equal(image, before)


def test_the_networks_read_rgb_from_minus_one_to_one(
    monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter, random_image: MakeImage
) -> None:
    autoencoder = model_of(segmenter).autoencoder
    real, seen = autoencoder.encode, []

    def watched(image: Tensor, noise: Tensor | None = None) -> Tensor:
        seen.append(image.clone())
        return real(image, noise)

    monkeypatch.setattr(autoencoder, "encode", watched)
    images = [input_image(segmenter, random_image, seed) for seed in range(2)]
    images[0][0, 0], images[0][0, 1] = (0, 127, 255), (255, 128, 0)
    segmenter.segment_batch(images, SamplingOptions(steps=1))
    (batch,) = seen
    assert batch.dtype == torch.float32
    expected = np.stack(images).transpose(0, 3, 1, 2).astype(np.float64) / 127.5 - 1.0
    np.testing.assert_allclose(batch.numpy(), expected, atol=1e-6)
    assert batch[0, :, 0, 0].tolist() == pytest.approx([-1.0, -1 / 255, 1.0], abs=1e-6)
    assert batch.max() <= 1.0


# What is made of the decoded colours


def segment_as(
    monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter, colors: Image, size: tuple[int, int]
) -> Segmentation:
    """Segment with a decoder that gives ``colors``, uint8 [H', W', 3]."""
    decoded = network_input(colors)
    monkeypatch.setattr(model_of(segmenter).autoencoder, "decode", lambda _latent: decoded)
    return segmenter.segment(np.zeros((*size, 3), np.uint8), SamplingOptions(steps=1))


def confidence_of_a_palette_colour(class_id: int) -> float:
    """The softmax over negative squared distances, divided by 0.01, of a pixel of that colour."""
    colors = np.array([(0, 0, 0), *CITYSCAPES.palette]) / 255
    shares = np.exp(-((colors - colors[class_id + 1]) ** 2).sum(axis=1) / 0.01)
    return float(255 * shares[class_id + 1] / shares.sum())


def test_colours_become_classes_at_the_size_of_the_image(
    monkeypatch: pytest.MonkeyPatch, parity_segmenter: Segmenter
) -> None:
    ids = np.random.default_rng(0).choice(np.array([*range(19), 255], np.uint8), (64, 64))
    colors = CITYSCAPES.color_image(ids)
    result = segment_as(monkeypatch, parity_segmenter, colors, (128, 192))
    np.testing.assert_array_equal(result.class_ids, ids.repeat(2, axis=0).repeat(3, axis=1))
    for class_id in range(19):
        confidence = result.confidence[result.class_ids == class_id].astype(float)
        assert np.abs(confidence - confidence_of_a_palette_colour(class_id)).max() < 1.0, class_id
    assert result.confidence[result.class_ids == 255].max() < 3
    assert confidence_of_a_palette_colour(9) > 254.9
    assert 130 < confidence_of_a_palette_colour(15) < 170  # bus and train are near each other


def test_tokens_have_the_mean_over_their_pixels(
    monkeypatch: pytest.MonkeyPatch, parity_segmenter: Segmenter
) -> None:
    ids = np.full((64, 64), 9, np.uint8)
    ids[:16, 12:16] = 7  # a quarter of the first token is traffic sign, the rest is terrain
    ids[48:, 48:] = 255  # the last token is void
    colors = CITYSCAPES.color_image(ids)
    tokens = segment_as(monkeypatch, parity_segmenter, colors, (64, 64)).token_probabilities
    assert tokens[0, 0, 9] == 191
    assert tokens[0, 0, 7] == 64
    assert tokens[0, 1, 9] == tokens[1, 0, 9] == 255
    assert tokens[0, 1, 7] == tokens[1, 0, 7] == 0
    assert tokens[3, 3].max() < 3


def test_pixels_have_the_probabilities_behind_their_confidence(
    any_segmenter: Segmenter, random_image: MakeImage
) -> None:
    for size in SIZES:
        result = any_segmenter.segment(random_image(*size), FEW)
        probabilities = result.class_probabilities
        assert probabilities.dtype == np.float32
        assert probabilities.shape == (19, *size)
        np.testing.assert_array_equal(
            np.round(probabilities.max(axis=0) * np.float32(255.0)), result.confidence
        )
        labeled = result.class_ids != 255
        picked = np.take_along_axis(probabilities, result.class_ids[None] % 255, axis=0)[0]
        np.testing.assert_array_equal(picked[labeled], probabilities.max(axis=0)[labeled])
        assert probabilities.sum(axis=0).max() <= 1.0 + 1e-5


def test_padding_does_not_leak_into_a_result(
    monkeypatch: pytest.MonkeyPatch, tiny_segmenter: Segmenter
) -> None:
    # 24 x 60 fits as 26 x 64 into 32 x 64: the last six rows are padding.
    ids = np.full((32, 64), 9, np.uint8)
    ids[26:] = 7
    result = segment_as(monkeypatch, tiny_segmenter, CITYSCAPES.color_image(ids), (24, 60))
    assert (result.class_ids == 9).all()
    assert (result.confidence == 255).all()
    assert result.token_probabilities.shape == (2, 4, 19)
    assert (result.token_probabilities[..., 9] == 255).all()
    assert (result.token_probabilities[..., 7] == 0).all()


def test_decoded_not_a_number_is_unlabeled_without_confidence(
    monkeypatch: pytest.MonkeyPatch, parity_segmenter: Segmenter
) -> None:
    decoded = network_input(CITYSCAPES.color_image(np.full((64, 64), 9, np.uint8)))
    decoded[..., :32] = torch.nan
    monkeypatch.setattr(model_of(parity_segmenter).autoencoder, "decode", lambda _latent: decoded)
    result = parity_segmenter.segment(np.zeros((64, 64, 3), np.uint8), SamplingOptions(steps=1))
    assert (result.class_ids[:, :32] == 255).all()
    assert (result.confidence[:, :32] == 0).all()
    assert (result.class_ids[:, 32:] == 9).all()
    assert (result.confidence[:, 32:] == 255).all()
    assert result.has_no_number
    decoded[..., :32] = 0.0
    result = parity_segmenter.segment(np.zeros((64, 64, 3), np.uint8), SamplingOptions(steps=1))
    assert not result.has_no_number


# Batches


@pytest.mark.parametrize("options", [FEW, SamplingOptions(steps=2, rounds=2)], ids=str)
def test_a_batch_gives_what_each_image_gives_alone(
    any_segmenter: Segmenter, random_image: MakeImage, options: SamplingOptions
) -> None:
    images = [input_image(any_segmenter, random_image, seed) for seed in range(3)]
    alone = [any_segmenter.segment(image, options) for image in images]
    assert (alone[0].confidence != alone[1].confidence).any()
    for chosen in ([1, 0], [0, 1, 2]):
        batch = any_segmenter.segment_batch([images[index] for index in chosen], options)
        assert len(batch) == len(chosen)
        for result, index in zip(batch, chosen, strict=True):
            assert_alike(result, alone[index])


def test_images_of_several_sizes_batch_where_their_input_is_of_one(
    tiny_segmenter: Segmenter, random_image: MakeImage
) -> None:
    images = [random_image(32, 64), random_image(100, 200, 1), random_image(30, 60, 2)]
    batch = tiny_segmenter.segment_batch(images, FEW)
    for image, result in zip(images, batch, strict=True):
        assert result.class_ids.shape == image.shape[:2]
        assert_alike(result, tiny_segmenter.segment(image, FEW))


def test_without_options_the_weights_decide_how_to_sample(
    light_segmenter: Segmenter, random_image: MakeImage
) -> None:
    profiles = {
        name: SamplingOptions(steps=1, seed=seed) for seed, name in enumerate(PROFILE_NAMES)
    }
    segmenter = Segmenter(replace(light_segmenter.loaded, stated_profiles=profiles))
    image = random_image(32, 64)
    found = segmenter.segment(image)
    assert_same(found, segmenter.segment(image, segmenter.profiles["balanced"]))
    for other in (segmenter.profiles["accurate"], SamplingOptions()):
        assert not np.array_equal(found.confidence, segmenter.segment(image, other).confidence)


def test_an_empty_batch_is_empty(any_segmenter: Segmenter) -> None:
    assert any_segmenter.segment_batch([]) == []


def test_inputs_of_several_sizes_are_refused(
    tiny_segmenter: Segmenter, random_image: MakeImage
) -> None:
    with pytest.raises(
        CamsegError,
        match=r"^a batch needs images of one model input size; these have "
        r"\[\(32, 32\), \(32, 64\)\] \(height, width\)$",
    ):
        tiny_segmenter.segment_batch([random_image(32, 64), random_image(40, 40)])


def test_one_bad_image_refuses_the_batch(any_segmenter: Segmenter, random_image: MakeImage) -> None:
    good = input_image(any_segmenter, random_image)
    for bad, message in (
        (good[..., 0], "an image is uint8 of shape .* RGB is needed"),
        (good[:0], "has no pixels"),
        (good.astype(np.float32), "an image is float32"),
        (good.tolist(), "an image is a list"),
    ):
        with pytest.raises(CamsegError, match=message):
            any_segmenter.segment_batch([good, bad])


# Seeds and samplers


def test_results_are_a_function_of_the_seed(
    any_segmenter: Segmenter, random_image: MakeImage
) -> None:
    image = input_image(any_segmenter, random_image)
    options = [SamplingOptions(steps=5, seed=seed) for seed in (0, 1, 2**63 - 1)]
    first = [any_segmenter.segment(image, option) for option in options]
    torch.manual_seed(123)
    again = [any_segmenter.segment(image, option) for option in options]
    for one, two in zip(first, again, strict=True):
        assert_same(one, two)
    for index in (1, 2):
        assert (first[0].confidence != first[index].confidence).any()


@pytest.mark.parametrize("rounds", [1, 3])
def test_no_global_generator_is_touched(
    any_segmenter: Segmenter, random_image: MakeImage, rounds: int
) -> None:
    image = input_image(any_segmenter, random_image)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    any_segmenter.segment(image, SamplingOptions(steps=3, rounds=rounds))
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_equal(np.random.get_state(), states[1])
    assert random.getstate() == states[2]


def test_every_sampler_runs_and_takes_its_own_way(
    any_segmenter: Segmenter, random_image: MakeImage
) -> None:
    image = network_input(input_image(any_segmenter, random_image))
    with torch.inference_mode():
        tokens = [
            any_segmenter.mask_latent_tokens(image, SamplingOptions(steps=8, sampler=name))
            for name in SAMPLERS
        ]
    assert SAMPLERS == ("ddpm", "ddim", "dpm-solver++")
    for index, one in enumerate(tokens):
        assert one.isfinite().all()
        assert all(not torch.allclose(one, other) for other in tokens[:index])


def test_one_step_is_the_same_for_every_sampler(
    segmenter: Segmenter, random_image: MakeImage
) -> None:
    """One step reads x0 at t = 999 and adds no noise; for v, x0 is within 5e-5 of -v."""
    image = input_image(segmenter, random_image)
    prepared = network_input(image)
    model = model_of(segmenter)
    with torch.inference_mode():
        tokens = [
            segmenter.mask_latent_tokens(prepared, SamplingOptions(steps=1, sampler=name))
            for name in SAMPLERS
        ]
        image_tokens = tokens_from_latent(model.autoencoder.encode(prepared), 1)
        length, channels = image_tokens.shape[1:]
        condition = model.transformer(image_tokens)[0, length:]
        x = TokenNoise(0, length, channels)(0)
        output = model.denoiser(x, torch.full((length,), 999), condition)[:, :channels]
    alpha_bar = alphas_cumprod()[999]
    if model.config.diffusion.prediction == "v":
        expected = -output
        tolerance = 1e-3
    else:
        expected = (x.double() - (1 - alpha_bar) ** 0.5 * output) / alpha_bar**0.5
        tolerance = 1e-4 * float(expected.std())
    for one in tokens:
        assert (one[0] - expected).abs().max() <= tolerance
    results = [
        segmenter.segment(image, SamplingOptions(steps=1, sampler=name)) for name in SAMPLERS
    ]
    for result in results[1:]:
        assert_alike(result, results[0])


def test_temperature_scales_ddpms_step_noise_and_without_first_noise_others_know_no_seed(
    tiny_segmenter: Segmenter, random_image: MakeImage
) -> None:
    image = network_input(random_image(32, 64))

    def tokens(sampler: str, **options: Any) -> Tensor:
        with torch.inference_mode():
            return tiny_segmenter.mask_latent_tokens(
                image, SamplingOptions(steps=6, sampler=sampler, **options)
            )

    assert not torch.allclose(tokens("ddpm", temperature=0.0), tokens("ddpm", temperature=1.0))
    assert not torch.allclose(tokens("ddpm", temperature=0.5), tokens("ddpm", temperature=1.0))
    for sampler in ("ddim", "dpm-solver++"):
        assert torch.equal(tokens(sampler, temperature=0.0), tokens(sampler, temperature=1.0))
        one, two = (tokens(sampler, seed=seed, initial_noise_scale=0.0) for seed in (1, 2))
        assert torch.equal(one, two)
        assert not torch.allclose(tokens(sampler, seed=1), tokens(sampler, seed=2))


# Mask tokens only


def alphas_cumprod() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Cosine schedule, offset 0.008, beta at most 0.999."""
    time = np.arange(1001) / 1000
    squared = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(1.0 - np.minimum(1.0 - squared[1:] / squared[:-1], 0.999))


def ancestral_chain(
    model: CamSeg, condition: Tensor, noise: Callable[[int], Tensor], steps: int, temperature: float
) -> Tensor:
    """Ancestral sampling of all tokens [N, Z] by the design's formulas, written out on their own.

    ``noise(0)`` starts, ``noise(1 + i)`` is added at the i-th step from the noisiest.
    """
    # Respaced: from 0.0 in equal steps in float64, each rounded.
    place, kept = 0.0, []
    for _ in range(steps):
        kept.append(round(place))
        place += 999 / (steps - 1)
    bars = alphas_cumprod()[kept]
    previous = np.concatenate([[1.0], bars[:-1]])
    betas = 1.0 - bars / previous
    variance = betas * (1.0 - previous) / (1.0 - bars)
    variance[0] = variance[1]
    x = noise(0)
    for step, index in enumerate(reversed(range(steps))):
        output = model.denoiser(x, torch.full((len(x),), kept[index]), condition)
        predicted, share = output.chunk(2, dim=1)
        bar = bars[index]
        if model.config.diffusion.prediction == "v":
            x0 = bar**0.5 * x - (1 - bar) ** 0.5 * predicted
        else:
            x0 = (x - (1 - bar) ** 0.5 * predicted) / bar**0.5
        mean = (
            betas[index] * previous[index] ** 0.5 / (1 - bar) * x0
            + (1 - previous[index]) * (1 - betas[index]) ** 0.5 / (1 - bar) * x
        )
        fraction = (share + 1) / 2
        log_variance = fraction * np.log(betas[index]) + (1 - fraction) * np.log(variance[index])
        x = mean
        if index > 0:
            x = mean + temperature * torch.exp(log_variance / 2) * noise(1 + step)
    return x


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("steps", [2, 10])
def test_denoising_mask_tokens_only_equals_denoising_all(
    segmenter: Segmenter, random_image: MakeImage, steps: int, temperature: float
) -> None:
    """As published: denoise all 2L tokens, image tokens too, with noise for each; keep the last L.

    The noise of the mask half is the same in both. Both ways of this code differ by nothing but
    the size of matrix products; the chain that is written out above rounds elsewhere too. Where the
    network predicts epsilon, a rounding error grows 20000 times at the first step.
    """
    model = model_of(segmenter)
    image = network_input(input_image(segmenter, random_image))
    options = SamplingOptions(steps=steps, seed=5, temperature=temperature)
    with torch.inference_mode():
        image_tokens = tokens_from_latent(model.autoencoder.encode(image), 1)
        length, channels = image_tokens.shape[1:]
        condition = model.transformer(image_tokens)[0]  # [2L, D]
        mask_noise = TokenNoise(5, length, channels)
        image_noise = TokenNoise(6, length, channels)

        def noise_for_all(draw: int) -> Tensor:
            return torch.cat([image_noise(draw), mask_noise(draw)])

        sampler, clock = LatentSampler(segmenter.networks), StageClock(segmenter.device)
        only = sampler.denoise(condition[None, length:], mask_noise, options, clock)
        every = sampler.denoise(condition[None], noise_for_all, options, clock)
        chain = ancestral_chain(model, condition, noise_for_all, steps, temperature)
        whole = segmenter.mask_latent_tokens(image, options)
    assert every.shape == (1, 2 * length, channels)
    assert only.shape == whole.shape == (1, length, channels)
    expected = chain[length:]
    is_epsilon = model.config.diffusion.prediction == "epsilon"
    tight, loose = (
        share * expected.std() for share in ((1e-4, 5e-4) if is_epsilon else (1e-5, 2e-5))
    )
    assert (only - every[:, length:]).abs().max() <= tight
    assert (only - whole).abs().max() <= tight
    assert (only[0] - expected).abs().max() <= loose


def test_the_network_is_called_with_mask_tokens_only(
    monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter, random_image: MakeImage
) -> None:
    model = model_of(segmenter)
    calls: list[tuple[int, ...]] = []
    real = model.denoiser.denoise

    def watched(x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        calls.append(tuple(x.shape))
        return real(x, timestep, condition)

    monkeypatch.setattr(model.denoiser, "denoise", watched)
    images = [input_image(segmenter, random_image, seed) for seed in range(2)]
    segmenter.segment_batch(images, SamplingOptions(steps=4))
    grid = model.config.transformer
    assert calls == [(2, grid.num_tokens, grid.token_channels)] * 4


def test_images_of_a_batch_have_the_same_noise(
    any_segmenter: Segmenter, random_image: MakeImage
) -> None:
    image = network_input(input_image(any_segmenter, random_image)).expand(2, -1, -1, -1)
    with torch.inference_mode():
        one, two = any_segmenter.mask_latent_tokens(image, FEW)
    torch.testing.assert_close(one, two, rtol=0.0, atol=1e-4 * float(one.std()))


# Rounds


def test_rounds_feed_earlier_tokens_back(segmenter: Segmenter, random_image: MakeImage) -> None:
    model = model_of(segmenter)
    image = network_input(input_image(segmenter, random_image))
    options = SamplingOptions(steps=4, rounds=3, seed=9)
    with torch.inference_mode():
        image_tokens = tokens_from_latent(model.autoencoder.encode(image), 1)
        length, channels = image_tokens.shape[1:]
        expected = torch.zeros(1, length, channels)
        for index, (hidden, generated) in enumerate(round_masks(length, 3, 9)):
            condition = model.transformer(image_tokens, expected, hidden[None])[0, length:]
            chain = ancestral_chain(
                model, condition, TokenNoise(9, length, channels, index), 4, 1.0
            )
            expected = torch.where(generated[None, :, None], chain[None], expected)
        actual = segmenter.mask_latent_tokens(image, options)
        single = segmenter.mask_latent_tokens(image, SamplingOptions(steps=4, seed=9))
    assert (actual - expected).abs().max() <= 1e-3 * expected.std()
    assert not torch.allclose(actual, single)


def test_several_rounds_run_and_differ_from_one(
    any_segmenter: Segmenter, random_image: MakeImage
) -> None:
    image = input_image(any_segmenter, random_image)
    grid = any_segmenter.loaded.config.transformer
    one, three, most = (
        any_segmenter.segment(image, SamplingOptions(steps=3, rounds=rounds))
        for rounds in (1, 3, grid.num_tokens)
    )
    assert (one.confidence != three.confidence).any()
    assert (three.confidence != most.confidence).any()


def test_more_rounds_than_tokens_are_refused(
    tiny_segmenter: Segmenter, random_image: MakeImage
) -> None:
    with pytest.raises(CamsegError, match="^rounds is 9; from 1 to 8, the number of tokens of the"):
        tiny_segmenter.segment(random_image(32, 64), SamplingOptions(steps=1, rounds=9))
    # A square image has a smaller grid here.
    with pytest.raises(CamsegError, match="^rounds is 8; from 1 to 4, the number of tokens of the"):
        tiny_segmenter.segment(random_image(32, 32), SamplingOptions(steps=1, rounds=8))


# Options and devices


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0; a whole number from 1 to 1000 is needed"),
        ({"steps": 2.0}, "steps is 2.0; a whole number from 1 to 1000 is needed"),
        ({"steps": True}, "steps is True; a whole number from 1 to 1000 is needed"),
        ({"seed": -1}, "seed is -1; a whole number from 0 to 9223372036854775807 is needed"),
        ({"seed": 2**63}, "seed is 9223372036854775808; a whole number from 0 to "),
        ({"rounds": 0}, "rounds is 0; a whole number from 1 to "),
        ({"temperature": float("nan")}, "temperature is nan; a finite number of at least 0"),
        ({"temperature": -0.1}, "temperature is -0.1; a finite number of at least 0"),
        ({"initial_noise_scale": -1.0}, "initial_noise_scale is -1.0; a finite number of at lea"),
        (
            {"sampler": "euler"},
            r"unknown sampler 'euler'; the samplers are ddpm, ddim, dpm-solver\+\+",
        ),
    ],
)
def test_an_option_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CamsegError, match=f"^{message}"):
        SamplingOptions(**changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_the_device_is_looked_at_before_weights_are_loaded(tiny_model: LoadedModel) -> None:
    with pytest.raises(CamsegError, match="device 'cuda:1'"):
        Segmenter(tiny_model, "cuda:1")
    with pytest.raises(CamsegError, match="device 'cuda:1'"):
        Segmenter.load("no such weights", device="cuda:1")


def test_cancelling_does_not_wait_for_all_the_steps(
    tiny_segmenter: Segmenter, random_image: MakeImage
) -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 20

    with pytest.raises(SegmentationCancelled):
        tiny_segmenter.segment(random_image(8, 8), SamplingOptions(steps=1000), cancelled)
    assert len(asked) == 21


def test_work_ends_early_where_nobody_waits_for_it(
    tiny_segmenter: Segmenter, random_image: MakeImage
) -> None:
    answers = iter([False, False, True])
    with pytest.raises(SegmentationCancelled):
        tiny_segmenter.segment(random_image(8, 8), cancelled=lambda: next(answers))
    assert next(answers, None) is None


# Mask decoder, several samples, precision


def test_the_mask_decoder_is_read_where_there_is_one(
    light_segmenter: Segmenter, tiny_segmenter: Segmenter, random_image: MakeImage
) -> None:
    image = input_image(light_segmenter, random_image)
    auto, mask = (
        light_segmenter.segment(image, replace(FEW, decoder=decoder))
        for decoder in ("auto", "mask")
    )
    assert_same(auto, mask)
    with pytest.raises(CamsegError, match="encodes classes, not colours: it has no palette"):
        light_segmenter.segment(image, replace(FEW, decoder="palette"))
    assert mask.class_ids.max() < 19  # it knows no void
    np.testing.assert_allclose(mask.class_probabilities.sum(axis=0), 1.0, atol=1e-5)
    with pytest.raises(
        CamsegError, match="decoder 'mask' was asked for, but the model has none; use palette or"
    ):
        tiny_segmenter.segment(image, replace(FEW, decoder="mask"))


def test_logits_become_probabilities_that_are_enlarged(
    monkeypatch: pytest.MonkeyPatch, light_segmenter: Segmenter
) -> None:
    logits = torch.randn(1, 19, 8, 16, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(model_of(light_segmenter), "decode_classes", lambda *_: logits)
    result = light_segmenter.segment(np.zeros((32, 64, 3), np.uint8), FEW)
    enlarged = torch.nn.functional.interpolate(logits, (32, 64), mode="bilinear")
    expected = enlarged.softmax(dim=1)[0]
    np.testing.assert_allclose(result.class_probabilities, expected.numpy(), atol=1e-6)
    np.testing.assert_array_equal(result.class_ids, expected.argmax(dim=0).numpy())
    np.testing.assert_array_equal(
        result.confidence, (255 * result.class_probabilities.max(axis=0)).round()
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_no_number_are_unlabeled_without_confidence(
    monkeypatch: pytest.MonkeyPatch, light_segmenter: Segmenter, value: float
) -> None:
    logits = torch.zeros(1, 19, 8, 16)
    logits[:, 0] = 1.0
    logits[:, 5, :, 12:] = value
    monkeypatch.setattr(model_of(light_segmenter), "decode_classes", lambda *_: logits)
    result = light_segmenter.segment(np.zeros((32, 64, 3), np.uint8), FEW)
    assert (result.class_ids[:, 50:] == 255).all()
    assert (result.confidence[:, 50:] == 0).all()
    assert (result.class_ids[:, :44] == 0).all()
    assert result.has_no_number
    logits[:, 5, :, 12:] = 0.0
    assert not light_segmenter.segment(np.zeros((32, 64, 3), np.uint8), FEW).has_no_number


def test_several_samples_are_the_mean_of_single_ones(
    light_segmenter: Segmenter, random_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = model_of(light_segmenter), random_image(32, 64)
    decode, logits = model.decode_classes, []

    def recording(*arguments: Any) -> Tensor:
        logits.append(decode(*arguments))
        return logits[-1]

    monkeypatch.setattr(model, "decode_classes", recording)
    single = light_segmenter.segment(image, FEW)
    averaged = light_segmenter.segment(image, replace(FEW, samples=3))
    alone, *sampled = [one.softmax(dim=1) for one in logits]
    torch.testing.assert_close(alone, sampled[0])
    assert len(sampled) == 3
    assert not torch.equal(sampled[0], sampled[1])
    assert not torch.equal(sampled[1], sampled[2])
    assert (single.class_probabilities != averaged.class_probabilities).any()
    mean = (sampled[0] + sampled[1] + sampled[2]) / 3
    enlarged = torch.nn.functional.interpolate(mean.log(), (32, 64), mode="bilinear")
    expected = enlarged.softmax(dim=1)[0]
    np.testing.assert_allclose(averaged.class_probabilities, expected.numpy(), atol=1e-5)
    np.testing.assert_array_equal(averaged.class_ids, expected.argmax(dim=0).numpy())


def test_several_samples_of_decoded_colours_are_averaged_as_shares(
    monkeypatch: pytest.MonkeyPatch, parity_segmenter: Segmenter
) -> None:
    colors = [CITYSCAPES.color_image(np.full((64, 64), ids, np.uint8)) for ids in (9, 9, 7)]
    decoded = iter([network_input(color) for color in colors])
    monkeypatch.setattr(model_of(parity_segmenter).autoencoder, "decode", lambda _: next(decoded))
    image = np.zeros((64, 64, 3), np.uint8)
    result = parity_segmenter.segment(image, SamplingOptions(steps=1, samples=3))
    assert (result.class_ids == 9).all()
    np.testing.assert_allclose(result.class_probabilities[9], 2 / 3, atol=1e-3)
    np.testing.assert_allclose(result.class_probabilities[7], 1 / 3, atol=1e-3)


def test_bfloat16_is_near_float32(any_segmenter: Segmenter, random_image: MakeImage) -> None:
    image = input_image(any_segmenter, random_image)
    full, half = (
        any_segmenter.segment(image, replace(FEW, precision=precision)).class_probabilities
        for precision in ("float32", "bfloat16")
    )
    assert half.dtype == np.float32
    assert (full != half).any()
    assert np.abs(full - half).mean() < 0.02


def test_a_denoiser_that_predicts_epsilon_starts_in_float32(
    segmenter: Segmenter, random_image: MakeImage
) -> None:
    computed: list[torch.dtype] = []
    hooks = [
        segmenter.networks.at(precision).denoiser.final_layer.register_forward_hook(
            lambda _module, _inputs, out: computed.append(out.dtype)
        )
        for precision in ("float32", "bfloat16")
    ]
    options = SamplingOptions(steps=4, precision="bfloat16")  # timesteps 999, 666, 333, 0
    segmenter.segment(input_image(segmenter, random_image), options)
    for hook in hooks:
        hook.remove()
    predicts_v = segmenter.loaded.config.diffusion.prediction == "v"
    first = torch.bfloat16 if predicts_v else torch.float32
    assert computed == [first, *[torch.bfloat16] * 3]
