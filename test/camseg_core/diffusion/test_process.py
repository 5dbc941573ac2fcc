# SPDX-License-Identifier: Apache-2.0
"""The diffusion process against its formulas, worked out again in Python floats."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from camseg_core.diffusion.loss import masked_mean, training_loss
from camseg_core.diffusion.process import (
    Schedule,
    cosine_alphas_cumprod,
    implied_epsilon,
    noised,
    predicted_x0,
    respaced_timesteps,
    reverse_step,
)
from camseg_core.errors import CamsegError
from camseg_core.models.configs import DiffusionConfig, Prediction

BOTH_PREDICTIONS = pytest.mark.parametrize("prediction", ["epsilon", "v"])
SOME_STEPS = pytest.mark.parametrize("steps", [1, 2, 3, 10, 50, 1000])


def seeded(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- The cosine schedule ---


def cosine(time: float) -> float:
    return math.cos((time / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2


def test_alpha_bar_is_the_squared_cosine_but_at_the_end() -> None:
    alpha_bar = cosine_alphas_cumprod()
    assert alpha_bar.shape == (1000,)
    assert alpha_bar.dtype == np.float64
    expected = [cosine(step + 1) / cosine(0) for step in range(999)]
    np.testing.assert_allclose(alpha_bar[:999], expected, rtol=1e-9)
    # The last beta would be 1; it is capped at 0.999.
    assert alpha_bar[999] == pytest.approx(alpha_bar[998] * 0.001, rel=1e-12)


def test_callers_cannot_spoil_the_schedule_for_each_other() -> None:
    cosine_alphas_cumprod()[:] = 0.0
    assert cosine_alphas_cumprod()[0] > 0.99


# --- Respacing ---


def published_timesteps(steps: int) -> list[int]:
    """Walk from 0.0 by 999 / (n - 1), rounding each place with Python's round."""
    places = [0.0]
    for _ in range(steps - 1):
        places.append(places[-1] + 999 / (steps - 1))
    return [round(place) for place in places]


def test_every_step_count_of_the_full_range() -> None:
    for steps in range(2, 1001):
        timesteps = respaced_timesteps(steps)
        assert timesteps == published_timesteps(steps), steps
        assert len(timesteps) == steps, steps
        assert (timesteps[0], timesteps[-1]) == (0, 999), steps
        assert all(a < b for a, b in pairwise(timesteps)), steps
        assert all(type(timestep) is int for timestep in timesteps), steps


def test_known_timesteps() -> None:
    assert respaced_timesteps(1) == [999]
    assert respaced_timesteps(2) == [0, 999]
    assert respaced_timesteps(4) == [0, 333, 666, 999]
    # 499.5 is halfway: to the even number.
    assert respaced_timesteps(3) == [0, 500, 999]
    # 249.75, 749.25
    assert respaced_timesteps(5) == [0, 250, 500, 749, 999]
    assert respaced_timesteps(10) == list(range(0, 1000, 111))
    assert respaced_timesteps(1000) == list(range(1000))


@given(steps=st.integers(1, 1000), first_timestep=st.integers(0, 999))
@settings(max_examples=200, deadline=None)
def test_any_first_timestep_is_reached(steps: int, first_timestep: int) -> None:
    timesteps = respaced_timesteps(steps, first_timestep)
    assert len(timesteps) == min(steps, first_timestep + 1)
    assert timesteps[-1] == first_timestep
    if steps > 1:
        assert timesteps[0] == 0
    assert timesteps == sorted(set(timesteps))


@pytest.mark.parametrize("steps", [0, -1, 1001, True, False, 2.5, 10.0, "10", None])
def test_bad_step_counts(steps: Any) -> None:
    with pytest.raises(CamsegError) as raised:
        respaced_timesteps(steps)
    assert f"steps is {steps!r}" in str(raised.value)
    assert "from 1 to 1000" in str(raised.value)
    with pytest.raises(CamsegError, match="from 1 to 1000"):
        Schedule.respaced(steps, 900)


# --- The tables ---


@SOME_STEPS
def test_tables_of_a_schedule(steps: int) -> None:
    """Each table again from alpha-bar by Bayes' rule, entry by entry."""
    schedule = Schedule.respaced(steps)
    timesteps = respaced_timesteps(steps)
    alpha_bar = cosine_alphas_cumprod()
    assert len(schedule) == steps
    assert schedule.timesteps.tolist() == timesteps
    log_variances = []
    for index, timestep in enumerate(timesteps):
        here = alpha_bar[timestep]
        previous = alpha_bar[timesteps[index - 1]] if index > 0 else 1.0
        alpha = here / previous
        beta = 1 - alpha
        assert schedule.alphas_cumprod[index] == pytest.approx(here, rel=1e-9)
        assert schedule.alphas_cumprod_previous[index] == pytest.approx(previous, rel=1e-9)
        assert schedule.betas[index] == pytest.approx(beta, rel=1e-9)
        if index == 0:
            # x0 is known exactly there.
            assert schedule.posterior_mean_x0[0] == pytest.approx(1.0, abs=1e-12)
            assert schedule.posterior_mean_x[0] == pytest.approx(0.0, abs=1e-12)
            continue
        # x_(t-1) ~ N(sqrt(previous) x0, 1 - previous), x_t ~ N(sqrt(alpha) x_(t-1), beta).
        variance = 1 / (1 / (1 - previous) + alpha / beta)
        log_variances.append(math.log(variance))
        by_x0 = variance * math.sqrt(previous) / (1 - previous)
        by_x = variance * math.sqrt(alpha) / beta
        assert schedule.posterior_mean_x0[index] == pytest.approx(by_x0, rel=1e-7)
        assert schedule.posterior_mean_x[index] == pytest.approx(by_x, rel=1e-7)
    first = log_variances[0] if steps > 1 else math.log(schedule.betas[0])
    expected = [first, *log_variances]
    np.testing.assert_allclose(schedule.posterior_log_variance, expected, rtol=0, atol=1e-7)


def test_one_step_from_another_timestep() -> None:
    schedule = Schedule.respaced(1, 900)
    assert schedule.timesteps.tolist() == [900]
    assert schedule.alphas_cumprod[0] == pytest.approx(cosine_alphas_cumprod()[900], rel=1e-12)
    assert schedule.alphas_cumprod_previous.tolist() == [1.0]
    assert schedule.posterior_log_variance[0] == pytest.approx(math.log(schedule.betas[0]))


@pytest.mark.parametrize("index", [0, 3, 9])
def test_the_part_that_starts_at_an_index(index: int) -> None:
    whole = Schedule.respaced(10)
    part = whole.from_index(index)
    assert len(part) == index + 1
    assert part.timesteps.tolist() == whole.timesteps[: index + 1].tolist()
    for name in ("betas", "alphas_cumprod", "posterior_log_variance", "posterior_mean_x"):
        assert getattr(part, name).tolist() == getattr(whole, name)[: index + 1].tolist(), name


# --- What predictions mean ---


@BOTH_PREDICTIONS
@given(timestep=st.integers(0, 999), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_prediction_and_noise_are_inverse(prediction: Prediction, timestep: int, seed: int) -> None:
    alpha_bar = cosine_alphas_cumprod()[timestep]
    x0, epsilon = (seeded(6, 3, seed=seed + offset).double() for offset in (0, 5000))
    x = math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * epsilon
    v = math.sqrt(alpha_bar) * epsilon - math.sqrt(1 - alpha_bar) * x0
    output = {"epsilon": epsilon, "v": v}[prediction]
    room = 1e-13 / math.sqrt(alpha_bar)  # 2e-9 at the end
    torch.testing.assert_close(noised(x0, epsilon, alpha_bar), x, rtol=0, atol=1e-14)
    found = predicted_x0(prediction, output, x, alpha_bar)
    torch.testing.assert_close(found, x0, rtol=0, atol=room)
    back = implied_epsilon(x, found, alpha_bar)
    torch.testing.assert_close(back, epsilon, rtol=0, atol=1e-13 / math.sqrt(1 - alpha_bar))


@BOTH_PREDICTIONS
def test_alpha_bar_may_differ_by_row(prediction: Prediction) -> None:
    alpha_bar = cosine_alphas_cumprod()[[0, 400, 950]]
    x, output = seeded(3, 4, seed=1), seeded(3, 4, seed=2)
    together = predicted_x0(prediction, output, x, alpha_bar[:, None])
    noisy = noised(x, output, alpha_bar[:, None])
    noise = implied_epsilon(x, output, alpha_bar[:, None])
    assert together.dtype == noisy.dtype == noise.dtype == torch.float32
    for row in range(3):
        alone = predicted_x0(prediction, output[row], x[row], alpha_bar[row])
        torch.testing.assert_close(together[row], alone)
        torch.testing.assert_close(noisy[row], noised(x[row], output[row], alpha_bar[row]))
        torch.testing.assert_close(noise[row], implied_epsilon(x[row], output[row], alpha_bar[row]))


# --- One reverse step ---


@BOTH_PREDICTIONS
@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_mean_of_the_last_step_is_x0(prediction: Prediction, steps: int) -> None:
    schedule = Schedule.respaced(steps)
    x, output = seeded(4, 3, seed=1), seeded(4, 6, seed=2)
    step = reverse_step(prediction, schedule, 0, output, x)
    expected = predicted_x0(prediction, output[:, :3], x, schedule.alphas_cumprod[0])
    assert torch.equal(step.x0, expected)
    torch.testing.assert_close(step.mean, expected, rtol=1e-6, atol=1e-6)


@BOTH_PREDICTIONS
@pytest.mark.parametrize("index", [1, 4, 9])
def test_mean_is_that_of_the_true_posterior(prediction: Prediction, index: int) -> None:
    """Multiply the two Gaussians that meet at x_(t-1)."""
    schedule = Schedule.respaced(10)
    here, previous = (float(schedule.alphas_cumprod[place]) for place in (index, index - 1))
    x0, epsilon = seeded(4, 3, seed=3).double(), seeded(4, 3, seed=4).double()
    x = math.sqrt(here) * x0 + math.sqrt(1 - here) * epsilon
    v = math.sqrt(here) * epsilon - math.sqrt(1 - here) * x0
    output = torch.cat([{"epsilon": epsilon, "v": v}[prediction], torch.zeros(4, 3)], dim=1)
    step = reverse_step(prediction, schedule, index, output, x)
    torch.testing.assert_close(step.x0, x0, rtol=0, atol=1e-7)
    alpha = here / previous
    precision = 1 / (1 - previous) + alpha / (1 - alpha)
    weighted = math.sqrt(previous) / (1 - previous) * x0 + math.sqrt(alpha) / (1 - alpha) * x
    torch.testing.assert_close(step.mean, weighted / precision, rtol=0, atol=1e-7)


@pytest.mark.parametrize("index", [0, 1, 5, 9])
def test_variance_share_runs_from_posterior_to_beta(index: int) -> None:
    schedule = Schedule.respaced(10)
    small = float(schedule.posterior_log_variance[index])
    large = math.log(float(schedule.betas[index]))
    share = torch.tensor([[-1.0, 1.0, 0.0, 3.0, -5.0]])
    output = torch.cat([torch.zeros(1, 5), share], dim=1)
    step = reverse_step("epsilon", schedule, index, output, torch.zeros(1, 5))
    # Not clamped: a share of 3 is twice the way, -5 is twice the way back.
    expected = [small, large, (small + large) / 2, 2 * large - small, 3 * small - 2 * large]
    assert step.log_variance[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_x0_is_not_clipped() -> None:
    schedule = Schedule.respaced(10)
    step = reverse_step("epsilon", schedule, 9, torch.zeros(1, 2), torch.tensor([[3.0]]))
    assert step.x0.item() == pytest.approx(3 * 20291, rel=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_noise_is_scaled_by_the_deviation_and_the_temperature(temperature: float) -> None:
    schedule = Schedule.respaced(10)
    x, output = seeded(2, 3, seed=1), seeded(2, 6, seed=2)
    step = reverse_step("epsilon", schedule, 4, output, x)
    noise = seeded(2, 3, seed=3)
    expected = step.mean + temperature * torch.sqrt(torch.exp(step.log_variance)) * noise
    torch.testing.assert_close(step.sample(noise, temperature), expected)


# --- The training loss ---


def likelihood_bits(x0: float, mean: float, deviation: float) -> float:
    """Bits of a Gaussian that is discretised to 255 levels, as the published code has it."""

    def cumulative(z: float) -> float:
        return 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))

    lower = cumulative((x0 - 1 / 255 - mean) / deviation) if x0 >= -0.999 else 0.0
    upper = cumulative((x0 + 1 / 255 - mean) / deviation) if x0 <= 0.999 else 1.0
    return -math.log2(max(upper - lower, 1e-12))


def divergence_bits(mean: float, variance: float, other_mean: float, other: float) -> float:
    """KL of N(mean, variance) from N(other_mean, other)."""
    difference = (mean - other_mean) ** 2
    return 0.5 * (math.log(other / variance) + (variance + difference) / other - 1) / math.log(2)


def reference_loss(
    prediction: Prediction,
    x0: list[float],
    timestep: int,
    noise: list[float],
    predicted: list[float],
    share: list[float],
) -> float:
    """The loss of one token, in Python floats."""
    alpha_bar = cosine_alphas_cumprod()
    here = float(alpha_bar[timestep])
    previous = float(alpha_bar[timestep - 1]) if timestep > 0 else 1.0
    # At 0 the posterior's variance is that of 1.
    place = max(timestep, 1)
    beta_there = 1 - alpha_bar[place] / alpha_bar[place - 1]
    variance = beta_there * (1 - alpha_bar[place - 1]) / (1 - alpha_bar[place])
    beta = 1 - here / previous
    signal, noisy = math.sqrt(here), math.sqrt(1 - here)
    total = 0.0
    for clean, epsilon, guess, part in zip(x0, noise, predicted, share, strict=True):
        x = signal * clean + noisy * epsilon
        if prediction == "epsilon":
            target, guessed_x0 = epsilon, (x - noisy * guess) / signal
        else:
            target, guessed_x0 = signal * epsilon - noisy * clean, signal * x - noisy * guess
        fraction = (part + 1) / 2
        model_variance = beta**fraction * variance ** (1 - fraction)
        if timestep == 0:
            bits = likelihood_bits(clean, guessed_x0, math.sqrt(model_variance))
        else:
            by_x0 = beta * math.sqrt(previous) / (1 - here)
            by_x = (1 - previous) * math.sqrt(1 - beta) / (1 - here)
            bits = divergence_bits(
                by_x0 * clean + by_x * x, variance, by_x0 * guessed_x0 + by_x * x, model_variance
            )
        total += (target - guess) ** 2 + bits
    return total / len(x0)


def answering(output: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a network that answers ``output``, whatever it is asked."""
    return lambda x, timestep: output


def loss_of(
    prediction: Prediction,
    x0: Tensor,
    timestep: Tensor,
    noise: Tensor,
    predicted: Tensor,
    share: Tensor,
) -> Tensor:
    config = DiffusionConfig(prediction=prediction, first_timestep=999)
    output = torch.cat([predicted, share], dim=1)
    return training_loss(answering(output), config, x0, timestep, noise)


def true_target(prediction: Prediction, x0: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
    if prediction == "epsilon":
        return noise
    alpha_bar = torch.from_numpy(cosine_alphas_cumprod())[timestep][:, None]
    return (alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x0).to(x0.dtype)


@BOTH_PREDICTIONS
def test_loss_of_each_token_is_the_reference(prediction: Prediction) -> None:
    timesteps = [0, 0, 1, 2, 10, 250, 500, 750, 900, 990, 998, 999]
    count, channels = len(timesteps), 5
    x0 = 0.5 * seeded(count, channels, seed=1)
    noise, share = seeded(count, channels, seed=2), seeded(count, channels, seed=3)
    timestep = torch.tensor(timesteps)
    target = true_target(prediction, x0, timestep, noise)
    predicted = target + 0.3 * seeded(count, channels, seed=4)
    loss = loss_of(prediction, x0, timestep, noise, predicted, share)
    expected = [
        reference_loss(prediction, *row)
        for row in zip(
            x0.tolist(),
            timesteps,
            noise.tolist(),
            predicted.tolist(),
            share.tolist(),
            strict=True,
        )
    ]
    assert loss.shape == (count,)
    assert loss.tolist() == pytest.approx(expected, rel=2e-3)
    # float32 noise passes through 1 / sqrt(abar) at the end alone: elsewhere it is far closer.
    assert loss[:-2].tolist() == pytest.approx(expected[:-2], rel=1e-4)


@BOTH_PREDICTIONS
def test_loss_in_double_precision_is_the_reference(prediction: Prediction) -> None:
    x0, noise, share = (0.5 * seeded(40, 4, seed=seed).double() for seed in (1, 2, 3))
    timestep = torch.arange(0, 1000, 25)
    predicted = true_target(prediction, x0, timestep, noise) + 0.1 * seeded(40, 4, seed=4).double()
    loss = loss_of(prediction, x0, timestep, noise, predicted, share)
    rows = zip(
        x0.tolist(),
        timestep.tolist(),
        noise.tolist(),
        predicted.tolist(),
        share.tolist(),
        strict=True,
    )
    assert loss.tolist() == pytest.approx(
        [reference_loss(prediction, *row) for row in rows], rel=1e-6
    )


@pytest.mark.parametrize("share", [-1.0, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("x0", [-1.2, -1.0, -0.9985, -0.5, 0.0, 0.7, 0.9985, 1.0, 1.5])
@pytest.mark.parametrize("miss", [-0.01, 0.0, 0.004])
def test_first_timestep_is_a_discretised_likelihood(x0: float, share: float, miss: float) -> None:
    alpha_bar = cosine_alphas_cumprod()
    here = float(alpha_bar[0])
    beta = 1 - here
    variance = (1 - alpha_bar[1] / here) * (1 - here) / (1 - alpha_bar[1])
    deviation = math.sqrt(beta ** ((share + 1) / 2) * variance ** ((1 - share) / 2))
    noise = 0.3
    error = miss / math.sqrt((1 - here) / here)  # moves the predicted x0 by -miss
    loss = loss_of(
        "epsilon",
        torch.tensor([[x0]]).double(),
        torch.tensor([0]),
        torch.tensor([[noise]]).double(),
        torch.tensor([[noise + error]]).double(),
        torch.tensor([[share]]).double(),
    )
    expected = error**2 + likelihood_bits(x0, x0 - miss, deviation)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("x0", [-1.0, 0.0, 1.0])
def test_probability_is_clamped(x0: float) -> None:
    """An impossible value costs 39.86 bits, and its gradient is a number."""
    error = -1000.0 if x0 < 0 else 1000.0  # away from the open end
    predicted = torch.tensor([[error]], requires_grad=True)
    share = torch.zeros(1, 1, requires_grad=True)
    loss = loss_of(
        "epsilon", torch.tensor([[x0]]), torch.tensor([0]), torch.zeros(1, 1), predicted, share
    )
    assert loss.item() - error**2 == pytest.approx(-math.log2(1e-12), abs=0.1)
    loss.sum().backward()
    assert predicted.grad is not None
    assert predicted.grad.item() == pytest.approx(2 * error, rel=1e-6)
    assert share.grad is not None
    assert share.grad.item() == 0.0


@BOTH_PREDICTIONS
def test_variational_gradient_reaches_the_variance_and_not_the_mean(
    prediction: Prediction,
) -> None:
    timesteps = [0, 1, 2, 5, 30]  # later ones hardly depend on the variance
    timestep = torch.tensor(timesteps)
    x0, noise = 0.3 * seeded(5, 4, seed=1).double(), seeded(5, 4, seed=2).double()
    target = true_target(prediction, x0, timestep, noise)
    predicted = (target + 0.2 * seeded(5, 4, seed=3).double()).requires_grad_(True)
    share = (0.5 * seeded(5, 4, seed=4).double()).requires_grad_(True)
    loss_of(prediction, x0, timestep, noise, predicted, share).sum().backward()
    assert predicted.grad is not None
    assert share.grad is not None
    squared_part = 2 * (predicted - target).detach() / 4
    torch.testing.assert_close(predicted.grad, squared_part, rtol=1e-9, atol=1e-12)
    for row, at in enumerate(timesteps):
        for channel in range(4):
            around = []
            for sign in (1, -1):
                moved = share[row].detach().clone()
                moved[channel] += sign * 1e-4
                around.append(
                    reference_loss(
                        prediction,
                        x0[row].tolist(),
                        at,
                        noise[row].tolist(),
                        predicted[row].tolist(),
                        moved.tolist(),
                    )
                )
            slope = (around[0] - around[1]) / 2e-4
            assert share.grad[row, channel].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)
    assert torch.all(share.grad.abs().amax(dim=1) > 1e-4)


@BOTH_PREDICTIONS
def test_network_is_asked_once_about_the_noised_tokens(prediction: Prediction) -> None:
    timestep = torch.tensor([0, 400, 999])
    x0, noise = seeded(3, 2, seed=1), seeded(3, 2, seed=2)
    asked: list[tuple[Tensor, Tensor]] = []

    def denoise(x: Tensor, at: Tensor) -> Tensor:
        asked.append((x, at))
        return torch.zeros(3, 4)

    config = DiffusionConfig(prediction=prediction, first_timestep=999)
    training_loss(denoise, config, x0, timestep, noise)
    ((x, at),) = asked
    alpha_bar = torch.from_numpy(cosine_alphas_cumprod())[timestep][:, None]
    expected = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise
    torch.testing.assert_close(x.double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(at, timestep)


def test_tokens_do_not_touch_each_other() -> None:
    timestep = torch.tensor([0, 10, 999, 500])
    x0, noise, predicted, share = (seeded(4, 3, seed=seed) for seed in range(4))
    together = loss_of("v", x0, timestep, noise, predicted, share)
    for row in range(4):
        one = slice(row, row + 1)
        alone = loss_of("v", x0[one], timestep[one], noise[one], predicted[one], share[one])
        torch.testing.assert_close(together[one], alone)


def test_masked_mean_by_hand() -> None:
    loss = torch.tensor([1.0, 2.0, 4.0, 100.0])
    assert masked_mean(loss, torch.tensor([1.0, 0.0, 1.0, 0.0])).item() == 2.5
    assert masked_mean(loss, torch.ones(4)).item() == 26.75
    assert masked_mean(loss, torch.tensor([0.0, 0.0, 1.0, 0.0])).shape == ()
