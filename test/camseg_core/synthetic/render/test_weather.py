# SPDX-License-Identifier: Apache-2.0
"""Light and weather: the laws they follow and what they leave alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from camseg_core.data.sample import CONDITIONS
from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.randomness import Draw
from camseg_core.synthetic.render.light import Light, make_light
from camseg_core.synthetic.render.weather import add_fog, add_headlights, add_reflections, develop


def light(condition: str = "clear") -> Light:
    return make_light(0, 0, condition)


def test_fog_follows_koschmieder() -> None:
    foggy = dataclasses.replace(light(), fog_density=0.05, fog=(0.5, 0.6, 0.7))
    image = np.full((1, 3, 3), 0.2, np.float32)
    add_fog(image, np.array([[0.0, 20.0, np.inf]], np.float32), foggy)
    share = np.exp(-1.0)
    np.testing.assert_allclose(image[0, 0], [0.2] * 3, rtol=1e-6)
    expected = [0.2 * share + air * (1 - share) for air in (0.5, 0.6, 0.7)]
    np.testing.assert_allclose(image[0, 1], expected, rtol=1e-5)
    np.testing.assert_allclose(image[0, 2], [0.5, 0.6, 0.7], rtol=1e-5)


def test_wet_ground_mirrors_what_is_above_the_horizon() -> None:
    camera = Camera(8, 40, 30.0, 4.0, 20.0, (0.0, 0.0, 1.5), 0.0, 0.0)
    image = np.zeros((40, 8, 3), np.float32)
    image[:20] = 1.0
    mirror = np.zeros((40, 8), np.float32)
    mirror[25:] = 0.5
    add_reflections(image, mirror, camera)
    assert (image[20:25] == 0).all()
    np.testing.assert_allclose(image[26:38], 0.5, atol=1e-6)


def test_headlights_reach_what_is_near_and_ahead() -> None:
    camera = Camera(64, 32, 40.0, 32.0, 16.0, (0.0, 0.0, 1.5), 0.0, 0.0)
    night = light("night")
    dim = np.broadcast_to(np.array(night.ambient, np.float32) * 0.3, (32, 64, 3)).copy()
    near, far = dim.copy(), dim.copy()
    add_headlights(near, np.full((32, 64), 8.0, np.float32), camera, night)
    add_headlights(far, np.full((32, 64), 80.0, np.float32), camera, night)
    assert near[18, 32, 1] > 4 * far[18, 32, 1] > 4 * dim[18, 32, 1]
    assert near[18, 0, 1] < near[18, 32, 1]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_are_what_they_say(condition: str) -> None:
    for sequence in range(8):
        given = make_light(1, sequence, condition)
        assert given.night == (condition == "night")
        assert (given.snow > 0) == (condition == "snow")
        assert (given.wet > 0) == (condition == "rain")
        low, high = {"fog": (0.018, 0.075), "clear": (0, 0.0018), "night": (0.002, 0.002)}.get(
            condition, (0.004, 0.02)
        )
        assert low <= given.fog_density <= high
        assert np.linalg.norm(given.to_sun) == pytest.approx(1.0, abs=0.01)


def test_clear_light_varies() -> None:
    lights = [make_light(2, sequence, "clear") for sequence in range(80)]
    overcast = [given.horizon[0] for given in lights if given.softness == 3.5]
    assert min(overcast) < 0.8 < 1.0 < max(overcast)  # grey and white skies
    sunny = [given for given in lights if given.softness < 3.5]
    assert min(given.cover for given in sunny) < 0.2 < 0.5 < max(given.cover for given in sunny)
    assert any(given.to_sun[2] < 0.35 and given.sun[2] < 0.4 * given.sun[0] for given in sunny)
    assert len({given.exposure for given in lights}) == 80


def test_a_photograph_is_exposed_by_what_it_shows() -> None:
    """A scene twice as bright gives the same picture; twice the exposure a brighter one."""
    random = np.random.default_rng(0)
    scene = random.uniform(0.05, 0.4, (64, 64, 3)).astype(np.float32)
    grain = np.zeros((64, 64, 3), np.float32)
    given = dataclasses.replace(light(), exposure=1.0)
    pictures = [
        develop(scene.copy() * gain, dataclasses.replace(given, exposure=exposure), Draw(0), grain)
        for gain, exposure in ((1, 1.0), (2, 1.0), (1, 2.0))
    ]
    assert pictures[0].dtype == np.uint8
    assert 60 < pictures[0].mean() < 190
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 2
    assert pictures[2].mean() > pictures[0].mean() + 20
