# SPDX-License-Identifier: Apache-2.0
"""Samplers on data whose denoiser is known in closed form, and the noise of tokens.

Two kinds of data: a single point, where the network knows x0 whatever it sees, and a Gaussian,
where the reverse process and the probability-flow ODE have exact solutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from camseg_core.diffusion.options import SAMPLERS
from camseg_core.diffusion.process import Schedule, cosine_alphas_cumprod
from camseg_core.diffusion.samplers import (
    LAST_BFLOAT16_TIMESTEP,
    DenoiseStep,
    TokenNoise,
    round_masks,
    sampler,
)
from camseg_core.errors import CamsegError
from camseg_core.models.configs import Prediction

EVERY_SAMPLER = pytest.mark.parametrize("name", SAMPLERS)
ODE_SAMPLERS = pytest.mark.parametrize("name", ["ddim", "dpm-solver++"])
BOTH_PREDICTIONS = pytest.mark.parametrize("prediction", ["epsilon", "v"])

ALPHA_BAR = cosine_alphas_cumprod()

MEAN, DEVIATION = 0.3, 0.5
"""Of the Gaussian data."""


def seeded(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def never(step: int) -> Tensor:
    raise AssertionError(f"step noise {step} was asked for")


class Recorder:
    """A denoiser that keeps what it was asked."""

    def __init__(self, denoise: DenoiseStep) -> None:
        self.denoise = denoise
        self.states: list[Tensor] = []
        self.timesteps: list[int] = []

    def __call__(self, x: Tensor, timestep: int) -> Tensor:
        self.states.append(x.clone())
        self.timesteps.append(timestep)
        return self.denoise(x, timestep)


def answer(prediction: Prediction, x: Tensor, x0: Tensor, alpha_bar: float) -> Tensor:
    """Return what a network predicts that takes x (float64) for a noised x0."""
    signal, noisy = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    epsilon = (x - signal * x0) / noisy
    return epsilon if prediction == "epsilon" else signal * epsilon - noisy * x0


def point_denoiser(
    prediction: Prediction, point: Tensor, share: float = 0.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """All data is ``point``."""

    def denoise(x: Tensor, timestep: int) -> Tensor:
        predicted = answer(prediction, x.double(), point.double(), ALPHA_BAR[timestep])
        return torch.cat([predicted, torch.full_like(predicted, share)], dim=-1).float()

    return denoise


def gaussian_denoiser(
    prediction: Prediction, share_at: Callable[[int], float] = lambda timestep: 0.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """Data is N(MEAN, DEVIATION^2) in each channel: the best guess of x0 is linear in x."""

    def denoise(x: Tensor, timestep: int) -> Tensor:
        at = timestep
        alpha_bar = float(ALPHA_BAR[at])
        variance = alpha_bar * DEVIATION**2 + 1 - alpha_bar
        gain = math.sqrt(alpha_bar) * DEVIATION**2 / variance
        x0 = MEAN + gain * (x.double() - math.sqrt(alpha_bar) * MEAN)
        predicted = answer(prediction, x.double(), x0, alpha_bar)
        return torch.cat([predicted, torch.full_like(predicted, share_at(at))], dim=-1).float()

    return denoise


def gaussian_solution(x: Tensor, first: int, last: int) -> Tensor:
    """Follow the probability flow from x at timestep ``first`` to ``last``, then guess x0.

    In x / sqrt(abar), with s = sqrt((1 - abar) / abar) as time, the flow keeps
    (x - MEAN) / sqrt(DEVIATION^2 + s^2) constant.
    """
    variances = {at: DEVIATION**2 + (1 - ALPHA_BAR[at]) / ALPHA_BAR[at] for at in (first, last)}
    start = x.double() / math.sqrt(ALPHA_BAR[first]) - MEAN
    end = start * math.sqrt(variances[last] / variances[first])
    return MEAN + end * DEVIATION**2 / variances[last]


def error_on_gaussian(name: str, schedule: Schedule, prediction: Prediction = "v") -> float:
    x = seeded(128, 2, seed=0)
    out = sampler(name)(gaussian_denoiser(prediction), x, schedule, prediction, step_noise=never)
    first, last = int(schedule.timesteps[-1]), int(schedule.timesteps[0])
    return float((out.double() - gaussian_solution(x, first, last)).abs().max())


# --- What is asked of the denoiser ---


@EVERY_SAMPLER
@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_denoiser_is_asked_once_per_original_timestep(name: str, steps: int) -> None:
    schedule = Schedule.respaced(steps)
    denoise = Recorder(point_denoiser("v", torch.zeros(2)))
    noise = seeded(3, 2, seed=1)
    sampler(name)(denoise, noise, schedule, "v", step_noise=lambda step: torch.zeros(3, 2))
    assert denoise.timesteps == schedule.timesteps[::-1].tolist()
    assert torch.equal(denoise.states[0], noise)


def test_names_of_the_samplers() -> None:
    assert SAMPLERS == ("ddpm", "ddim", "dpm-solver++")
    assert len({sampler(name) for name in SAMPLERS}) == 3


@pytest.mark.parametrize("name", ["euler", "DDIM", "", "dpm-solver"])
def test_unknown_sampler(name: str) -> None:
    with pytest.raises(CamsegError) as raised:
        sampler(name)
    assert str(raised.value) == (
        f"unknown sampler {name!r}; the samplers are ddpm, ddim, dpm-solver++"
    )


# --- A single point ---


@EVERY_SAMPLER
@BOTH_PREDICTIONS
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50, 1000])
def test_every_sampler_finds_the_only_point(name: str, prediction: Prediction, steps: int) -> None:
    point = torch.tensor([0.7, -1.3, 0.0, 2.0])
    start = 3.0 * seeded(16, 4, seed=2)
    out = sampler(name)(
        point_denoiser(prediction, point),
        start,
        Schedule.respaced(steps),
        prediction,
        step_noise=lambda step: seeded(16, 4, seed=100 + step),
    )
    # From the end in one step, a rounding of epsilon (6e-8 of a start up to 10) grows 20291 times.
    room = 0.05 if (prediction, steps) == ("epsilon", 1) else 2e-5
    torch.testing.assert_close(out, point.expand(16, 4), rtol=0, atol=room)


@ODE_SAMPLERS
@pytest.mark.parametrize("steps", [2, 3, 10, 50, 1000])
@pytest.mark.parametrize(
    ("prediction", "first_timestep", "room"),
    [("v", 999, 1e-4), ("epsilon", 999, 0.02), ("epsilon", 900, 1e-4), ("v", 300, 1e-4)],
)
def test_ode_samplers_keep_the_noise_of_a_point(
    name: str, steps: int, prediction: Prediction, first_timestep: int, room: float
) -> None:
    """The flow to a point is straight: every state has the start's noise, in its own amount."""
    point = torch.tensor([0.7, -1.3, 2.0])
    schedule = Schedule.respaced(steps, first_timestep)
    start = seeded(8, 3, seed=3)
    denoise = Recorder(point_denoiser(prediction, point))
    sampler(name)(denoise, start, schedule, prediction, step_noise=never)
    first = ALPHA_BAR[first_timestep]
    noise = (start.double() - math.sqrt(first) * point) / math.sqrt(1 - first)
    assert len(denoise.states) == len(schedule)
    for at, state in zip(schedule.timesteps[::-1], denoise.states, strict=True):
        expected = math.sqrt(ALPHA_BAR[at]) * point + math.sqrt(1 - ALPHA_BAR[at]) * noise
        torch.testing.assert_close(state.double(), expected, rtol=0, atol=room)


@BOTH_PREDICTIONS
@pytest.mark.parametrize("share", [-1.0, 0.25, 1.0])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("steps", [2, 5, 40])
def test_ddpm_states_are_draws_from_the_posterior(
    prediction: Prediction, share: float, temperature: float, steps: int
) -> None:
    """Each state again from the one before, by Bayes' rule."""
    point = torch.tensor([0.7, -1.3, 2.0])
    schedule = Schedule.respaced(steps, 900)
    noises = seeded(steps, 8, 3, seed=4)
    denoise = Recorder(point_denoiser(prediction, point, share))
    sampler("ddpm")(
        denoise,
        seeded(8, 3, seed=5),
        schedule,
        prediction,
        step_noise=noises.__getitem__,
        temperature=temperature,
    )
    timesteps = schedule.timesteps[::-1].tolist()
    for step in range(steps - 1):
        here, previous = ALPHA_BAR[timesteps[step]], ALPHA_BAR[timesteps[step + 1]]
        alpha = here / previous
        beta = 1 - alpha
        variance = 1 / (alpha / beta + 1 / (1 - previous))
        state = denoise.states[step].double()
        mean = variance * (
            math.sqrt(alpha) / beta * state + math.sqrt(previous) / (1 - previous) * point
        )
        learned = beta ** ((1 + share) / 2) * variance ** ((1 - share) / 2)
        expected = mean + temperature * math.sqrt(learned) * noises[step]
        torch.testing.assert_close(denoise.states[step + 1].double(), expected, rtol=0, atol=1e-4)


# --- Gaussian data ---


@pytest.mark.parametrize("schedule", ["from 999", "from 900", "900 to 100"])
@BOTH_PREDICTIONS
def test_ode_samplers_converge_to_the_flow(schedule: str, prediction: Prediction) -> None:
    many = {
        "from 999": Schedule.respaced(500),
        "from 900": Schedule.respaced(500, 900),
        "900 to 100": Schedule.from_timesteps(list(range(100, 901, 2))),
    }[schedule]
    assert error_on_gaussian("ddim", many, prediction) < 0.008
    assert error_on_gaussian("dpm-solver++", many, prediction) < 0.0005


def interior(steps: int) -> Schedule:
    """Even steps between timesteps 900 and 100, away from both ends of the schedule."""
    return Schedule.from_timesteps(list(range(100, 901, 800 // steps)))


@pytest.mark.parametrize("steps", [20, 40, 80])
def test_dpm_solver_is_of_second_order(steps: int) -> None:
    ratio = error_on_gaussian("dpm-solver++", interior(steps)) / error_on_gaussian(
        "dpm-solver++", interior(2 * steps)
    )
    assert 3.3 < ratio < 5.2


def test_dpm_solver_looks_half_a_step_ahead() -> None:
    """The second step extends the line through the last two guesses to its own middle.

    Both in lambda, the log of sqrt(abar / (1 - abar)), which these timesteps space unevenly.
    """
    timesteps = [850, 600, 500, 0]
    denoise = Recorder(gaussian_denoiser("v"))
    schedule = Schedule.from_timesteps(timesteps[::-1])
    sampler("dpm-solver++")(denoise, seeded(8, 3, seed=9), schedule, "v", step_noise=never)
    signal, noisy = (np.sqrt(part[timesteps]) for part in (ALPHA_BAR, 1 - ALPHA_BAR))
    place = np.log(signal / noisy)
    guesses = []
    for at, state in zip(timesteps[:2], denoise.states[:2], strict=True):
        v = gaussian_denoiser("v")(state, torch.tensor([at])).double()[:, :3]
        guesses.append(math.sqrt(ALPHA_BAR[at]) * state - math.sqrt(1 - ALPHA_BAR[at]) * v)
    slope = (guesses[1] - guesses[0]) / (place[1] - place[0])
    ahead = guesses[1] + slope * (place[2] - place[1]) / 2
    # The guess is held over the step: the noise that remains is that of x around it.
    noise = (denoise.states[1].double() - signal[1] * ahead) / noisy[1]
    expected = signal[2] * ahead + noisy[2] * noise
    torch.testing.assert_close(denoise.states[2].double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [20, 40, 80])
def test_ddim_is_of_first_order(steps: int) -> None:
    ratio = error_on_gaussian("ddim", interior(steps)) / error_on_gaussian(
        "ddim", interior(2 * steps)
    )
    assert 1.8 < ratio < 2.2


@EVERY_SAMPLER
def test_one_step_is_the_guess_of_x0(name: str) -> None:
    x = seeded(16, 3, seed=7)
    out = sampler(name)(gaussian_denoiser("v"), x, Schedule.respaced(1), "v", step_noise=never)
    # Nothing of the data is left at the end of the schedule: the guess is its mean.
    torch.testing.assert_close(out, torch.full((16, 3), MEAN), rtol=0, atol=1e-4)


def exact_share(schedule: Schedule) -> Callable[[int], float]:
    """Return the variance share with which each ancestral step on Gaussian data is exact."""
    timesteps = schedule.timesteps.tolist()

    def share_at(timestep: int) -> float:
        index = timesteps.index(timestep)
        if index == 0:
            return 0.0
        here, previous = float(ALPHA_BAR[timestep]), float(ALPHA_BAR[timesteps[index - 1]])
        beta = 1 - here / previous
        posterior = beta * (1 - previous) / (1 - here)
        spread = DEVIATION**2 * (1 - here) / (here * DEVIATION**2 + 1 - here)  # of x0 given x
        by_x0 = beta * math.sqrt(previous) / (1 - here)
        reverse = posterior + by_x0**2 * spread
        return 2 * math.log(reverse / posterior) / math.log(beta / posterior) - 1

    return share_at


@BOTH_PREDICTIONS
@pytest.mark.parametrize("steps", [2, 5, 20])
def test_ddpm_samples_have_the_datas_mean_and_variance(prediction: Prediction, steps: int) -> None:
    schedule = Schedule.respaced(steps)
    generator = torch.Generator().manual_seed(8)
    shape = (40000, 4)
    out = sampler("ddpm")(
        gaussian_denoiser(prediction, exact_share(schedule)),
        torch.randn(shape, generator=generator),
        schedule,
        prediction,
        step_noise=lambda step: torch.randn(shape, generator=generator),
    ).double()
    count = out.numel()
    assert abs(out.mean().item() - MEAN) < 5 * DEVIATION / math.sqrt(count)
    expected = DEVIATION**4 / (DEVIATION**2 + (1 - ALPHA_BAR[0]) / ALPHA_BAR[0])
    assert abs(out.var().item() / expected - 1) < 5 * math.sqrt(2 / count)
    # Still a Gaussian, and channels do not know of each other.
    standard = (out - MEAN) / math.sqrt(expected)
    assert abs(standard.pow(3).mean().item()) < 5 * math.sqrt(15 / count)
    assert abs(standard.pow(4).mean().item() - 3) < 5 * math.sqrt(96 / count)
    assert abs((standard[:, 0] * standard[:, 1]).mean().item()) < 5 / math.sqrt(shape[0])


# --- Step noise and temperature ---


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
def test_ddpm_asks_for_the_noise_of_each_step_but_the_last(steps: int) -> None:
    asked: list[int] = []

    def step_noise(step: int) -> Tensor:
        asked.append(step)
        return torch.zeros(2, 3)

    denoise = point_denoiser("v", torch.zeros(3))
    noise = seeded(2, 3, seed=1)
    sampler("ddpm")(denoise, noise, Schedule.respaced(steps), "v", step_noise=step_noise)
    assert asked == list(range(steps - 1))


def test_step_noise_is_shared_by_the_images_of_a_batch() -> None:
    denoise, schedule = gaussian_denoiser("v"), Schedule.respaced(5)
    noise, steps = seeded(7, 3, seed=1), seeded(4, 7, 3, seed=2)
    out = sampler("ddpm")(
        denoise, noise.expand(3, 7, 3), schedule, "v", step_noise=steps.__getitem__
    )
    alone = sampler("ddpm")(denoise, noise, schedule, "v", step_noise=steps.__getitem__)
    assert out.shape == (3, 7, 3)
    for image in out:
        torch.testing.assert_close(image, alone)


# --- Precision ---


@EVERY_SAMPLER
@pytest.mark.parametrize("steps", [2, 4, 10, 100])
def test_bfloat16_epsilon_does_no_harm_from_the_last_bfloat16_timestep_on(
    name: str, steps: int
) -> None:
    exact = gaussian_denoiser("epsilon")
    schedule, noise, draws = Schedule.respaced(steps), seeded(4000, 1, seed=1), range(steps)
    step_noise = [seeded(4000, 1, seed=2 + draw) for draw in draws]

    def error(last_rounded: int) -> float:
        """Return the error of x0 where epsilon is rounded, relative to the spread of x0."""

        def rounded(x: Tensor, timestep: int) -> Tensor:
            out = exact(x, timestep)
            return out.bfloat16().float() if timestep <= last_rounded else out

        x0, expected = (
            sampler(name)(denoise, noise, schedule, "epsilon", step_noise=step_noise.__getitem__)
            for denoise in (rounded, exact)
        )
        return float((x0 - expected).std() / expected.std())

    assert error(LAST_BFLOAT16_TIMESTEP) < 0.005
    if name != "ddpm":  # whose fresh noise hides much of an early error
        assert error(999) > 0.4


@EVERY_SAMPLER
@BOTH_PREDICTIONS
def test_arithmetic_stays_float32_under_a_bfloat16_denoiser(
    name: str, prediction: Prediction
) -> None:
    exact = gaussian_denoiser(prediction)
    schedule, noise, steps = Schedule.respaced(8), seeded(5, 3, seed=1), seeded(7, 5, 3, seed=2)

    def run(denoise: DenoiseStep) -> Tensor:
        return sampler(name)(denoise, noise, schedule, prediction, step_noise=steps.__getitem__)

    coarse = Recorder(lambda x, timestep: exact(x, timestep).bfloat16())
    out = run(coarse)
    assert out.dtype == torch.float32
    assert {state.dtype for state in coarse.states} == {torch.float32}
    # As if the same rounded answers had come as float32: nothing else is rounded.
    assert torch.equal(out, run(lambda x, timestep: exact(x, timestep).bfloat16().float()))
    assert not torch.equal(out, out.bfloat16().float())


@EVERY_SAMPLER
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_noise_of_any_precision_starts_a_float32_chain(name: str, dtype: torch.dtype) -> None:
    denoise = Recorder(gaussian_denoiser("v"))
    noise = seeded(5, 3, seed=1).to(dtype)
    out = sampler(name)(
        denoise, noise, Schedule.respaced(4), "v", step_noise=lambda step: torch.zeros(5, 3)
    )
    assert out.dtype == torch.float32
    assert {state.dtype for state in denoise.states} == {torch.float32}
    assert torch.equal(denoise.states[0], noise.float())


@EVERY_SAMPLER
def test_the_callers_noise_is_left_alone(name: str) -> None:
    noise = seeded(5, 3, seed=1)
    before = noise.clone()
    sampler(name)(
        gaussian_denoiser("v"),
        noise,
        Schedule.respaced(4),
        "v",
        step_noise=lambda step: torch.ones(5, 3),
    )
    assert torch.equal(noise, before)


# --- The noise of tokens ---


SEEDS = st.integers(0, 2**63 - 1)
SMALL = st.integers(0, 2000)


@given(
    one=st.tuples(SEEDS, SMALL, SMALL),
    other=st.tuples(SEEDS, SMALL, SMALL),
    change=st.sampled_from(["seed", "round", "draw", "all"]),
)
@settings(max_examples=100, deadline=None)
def test_token_noise_differs_with_seed_round_and_draw(
    one: tuple[int, int, int], other: tuple[int, int, int], change: str
) -> None:
    changed = {
        "seed": (other[0], one[1], one[2]),
        "round": (one[0], other[1], one[2]),
        "draw": (one[0], one[1], other[2]),
        "all": other,
    }[change]

    def noise(place: tuple[int, int, int]) -> Tensor:
        seed, round_index, draw = place
        return TokenNoise(seed, num_tokens=4, channels=16, round_index=round_index)(draw)

    same = torch.equal(noise(one), noise(changed))
    assert same == (one == changed)


def test_token_noise_does_not_mix_up_seed_round_and_draw() -> None:
    places = [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 0)]
    drawn = {
        tuple(TokenNoise(seed, 1, 4, round_index)(draw).flatten().tolist())
        for seed, round_index, draw in places
    }
    assert len(drawn) == len(places)


@pytest.mark.parametrize("seed", [2**32, 5 * 2**32, 2**62])
def test_large_seeds_do_not_run_into_the_round(seed: int) -> None:
    low, high = seed % 2**32, seed // 2**32
    large = TokenNoise(seed, num_tokens=4, channels=16, round_index=0)(0)
    small = TokenNoise(low, num_tokens=4, channels=16, round_index=high)(0)
    assert not torch.equal(large, small)


@pytest.mark.parametrize("channels", [4, 5, 16, 64])
@pytest.mark.parametrize(("few", "many"), [(1, 2), (3, 10), (9, 30), (100, 101), (288, 2304)])
def test_token_noise_does_not_depend_on_the_number_of_tokens(
    channels: int, few: int, many: int
) -> None:
    some = TokenNoise(seed=1, num_tokens=few, channels=channels)(2)
    all_of_them = TokenNoise(seed=1, num_tokens=many, channels=channels)(2)
    assert torch.equal(all_of_them[:few], some)


def test_token_noise_is_standard_normal() -> None:
    drawn = torch.stack(
        [TokenNoise(seed, 2304, 16, part)(draw) for seed, part, draw in np.ndindex(2, 2, 2)]
    ).double()
    count = drawn.numel()
    assert abs(drawn.mean().item()) < 5 / math.sqrt(count)
    assert abs(drawn.var().item() - 1) < 5 * math.sqrt(2 / count)
    assert abs(drawn.pow(3).mean().item()) < 5 * math.sqrt(15 / count)
    assert abs(drawn.pow(4).mean().item() - 3) < 5 * math.sqrt(96 / count)
    for bound in (0.5, 1.0, 2.0, 3.0):
        share = math.erf(bound / math.sqrt(2))
        found = (drawn.abs() < bound).double().mean().item()
        assert abs(found - share) < 5 * math.sqrt(share * (1 - share) / count)


@EVERY_SAMPLER
def test_samplers_leave_the_global_generator_alone(name: str) -> None:
    steps = seeded(4, 5, 3, seed=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(98)
        before = torch.random.get_rng_state()
        sampler(name)(
            gaussian_denoiser("v"),
            seeded(5, 3, seed=1),
            Schedule.respaced(5),
            "v",
            step_noise=steps.__getitem__,
        )
        assert torch.equal(torch.random.get_rng_state(), before)


# --- Rounds of generation ---


def mar_mask_lengths(length: int, rounds: int) -> list[int]:
    """Return how many tokens stay hidden after each round, as MAR computes it; 0 after the last."""
    remaining, lengths = length, []
    for step in range(rounds - 1):
        share = np.cos(np.pi / 2.0 * (step + 1) / rounds)
        remaining = int(max(1, min(remaining - 1, np.floor(length * share))))
        lengths.append(remaining)
    return [*lengths, 0]


@st.composite
def lengths_and_rounds(draw: st.DrawFn) -> tuple[int, int]:
    length = draw(st.integers(1, 300))
    return length, draw(st.integers(1, length))


@settings(max_examples=100, deadline=None)
@given(lengths_and_rounds(), st.integers(0, 2**63 - 1))
def test_each_token_is_generated_exactly_once(case: tuple[int, int], seed: int) -> None:
    length, rounds = case
    count = torch.zeros(length, dtype=torch.int64)
    number = 0
    for hidden, generated in round_masks(length, rounds, seed):
        assert hidden.dtype == generated.dtype == torch.bool
        assert hidden.shape == generated.shape == (length,)
        assert generated.any()
        assert not (generated & ~hidden).any()
        # Hidden are exactly the tokens that no earlier round generated.
        assert torch.equal(hidden, count == 0)
        count += generated
        number += 1
    assert number == rounds
    assert (count == 1).all()


@settings(max_examples=100, deadline=None)
@given(lengths_and_rounds(), st.integers(0, 1000))
def test_the_schedule_is_mars(case: tuple[int, int], seed: int) -> None:
    length, rounds = case
    left = [
        int((hidden & ~generated).sum()) for hidden, generated in round_masks(length, rounds, seed)
    ]
    assert left == mar_mask_lengths(length, rounds)


@pytest.mark.parametrize("rounds", [0, -1, 9, 1000])
def test_other_numbers_of_rounds_are_refused(rounds: int) -> None:
    with pytest.raises(
        CamsegError, match=rf"rounds is {rounds}; from 1 to 8, the number of tokens of the image"
    ):
        next(iter(round_masks(8, rounds, 0)))


def test_the_order_is_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = [generated for _, generated in round_masks(64, 5, seed=4)]
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again = [generated for _, generated in round_masks(64, 5, seed=4)]
    other = [generated for _, generated in round_masks(64, 5, seed=5)]
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())  # the global generator was not drawn from
