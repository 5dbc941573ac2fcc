# SPDX-License-Identifier: Apache-2.0
"""Several stages after one another: names, origins, going on, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from camseg_core.data.label_set_files import find_label_set
from camseg_core.diffusion.options import ONE_STEP_PROFILES, V_PROFILES
from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES
from camseg_core.training.recipe import read_recipe, run_recipe
from camseg_core.weights.loading import load_model, random_model, save_model

Settings = Callable[..., dict[str, Any]]

RECIPES = Path(__file__).parents[3] / "config" / "training"


def write_recipe(path: Path, common: dict[str, Any], *stages: dict[str, Any]) -> Path:
    common = {name: value for name, value in common.items() if name not in ("stage", "output_dir")}
    path.write_text(yaml.safe_dump({"common": common, "stages": list(stages)}))
    return path


@pytest.fixture
def recipe(settings: Settings, tmp_path: Path) -> Path:
    return write_recipe(
        tmp_path / "recipe.yaml",
        settings(),
        {"stage": "autoencoder", "steps": 2},
        {"stage": "transformer", "steps": 3, "optimizer": {"learning_rate": 0.002}},
        {"name": "tuned", "stage": "finetune", "init_from": "transformer", "steps": 2},
    )


def test_stages_take_common_settings_and_their_own(recipe: Path) -> None:
    stages = read_recipe(recipe, ["seed=5"])
    assert [(stage.name, stage.init_from) for stage in stages] == [
        ("autoencoder", ""),
        ("transformer", "autoencoder"),
        ("tuned", "transformer"),
    ]
    assert [stage.config.steps for stage in stages] == [2, 3, 2]
    assert {stage.config.seed for stage in stages} == {5}
    assert stages[1].config.optimizer.learning_rate == 0.002
    assert stages[1].config.optimizer.warmup_steps == 0  # the common one stays
    assert stages[2].config.optimizer.learning_rate == 0.001


def test_the_first_stage_starts_from_any_weights(settings: Settings, tmp_path: Path) -> None:
    save_model(random_model("tiny", seed=8), tmp_path / "given.safetensors")
    given = {"stage": "mask-decoder", "init_from": str(tmp_path / "given.safetensors"), "steps": 1}
    file = write_recipe(tmp_path / "recipe.yaml", settings(), given)
    trained = load_model(run_recipe(file, [], tmp_path / "out")).model.state_dict()
    expected = random_model("tiny", seed=8).model.state_dict()
    frozen = [name for name in expected if name.startswith("transformer.")]
    assert frozen
    assert [name for name in frozen if not expected[name].equal(trained[name])] == []


def test_each_stage_starts_from_the_one_before(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    weights = run_recipe(recipe, [], folder)
    assert weights == folder / "tuned.safetensors"
    first, second, third = (
        load_model(folder / f"{name}.safetensors")
        for name in ("autoencoder", "transformer", "tuned")
    )
    # Only the first stage trains the autoencoder, only the others the transformer.
    one, two, three = (loaded.model.state_dict() for loaded in (first, second, third))
    assert all(one[name].equal(three[name]) for name in one if name.startswith("autoencoder."))
    assert not one["transformer.mask_token"].equal(two["transformer.mask_token"])
    assert [stage["stage"] for stage in third.provenance["stages"]] == [
        "autoencoder",
        "transformer",
        "finetune",
    ]
    assert second.profiles == V_PROFILES
    assert third.profiles == ONE_STEP_PROFILES
    before = weights.stat().st_mtime_ns
    assert run_recipe(recipe, [], folder) == weights  # nothing left to do
    assert weights.stat().st_mtime_ns == before


def test_cut_into_slices_it_gives_the_same_weights(recipe: Path, tmp_path: Path) -> None:
    whole = run_recipe(recipe, [], tmp_path / "whole")
    calls, given = 0, tmp_path
    while given.suffix != ".safetensors":
        given = run_recipe(recipe, ["max_minutes=1e-4"], tmp_path / "slices")  # one step a call
        calls += 1
        assert calls <= 20
    assert calls >= 3
    expected, found = (load_model(path).model.state_dict() for path in (whole, given))
    assert [name for name in expected if not expected[name].equal(found[name])] == []


def test_a_stage_is_not_continued_with_other_settings(recipe: Path, tmp_path: Path) -> None:
    run_recipe(recipe, ["max_minutes=1e-4"], tmp_path / "out")
    with pytest.raises(
        CamsegError, match="out/autoencoder was begun with seed 0, now it is 1; give another folder"
    ):
        run_recipe(recipe, ["seed=1"], tmp_path / "out")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            [{"stage": "autoencoder"}, {"stage": "transformer", "init_from": "x"}],
            "stage transformer: init_from 'x' is no stage before it; there are autoencoder",
        ),
        ([{"stage": "finetune"}] * 2, "stage 2: the name 'finetune' is taken or unusable"),
        ([{"stage": "finetune", "name": "a/b"}], "stage 1: the name 'a/b' is taken or unusable"),
        ([{"stage": "finetune", "step": 3}], "setting: step is not known"),
        ([3], "stage 1: a table of settings is needed"),
    ],
)
def test_what_is_wrong_is_named(
    settings: Settings, tmp_path: Path, stages: list[Any], message: str
) -> None:
    file = write_recipe(tmp_path / "recipe.yaml", settings(), *stages)
    with pytest.raises(CamsegError, match=message):
        run_recipe(file, [], tmp_path / "out")


def test_a_recipe_has_stages_and_a_folder(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("steps: 3\n")
    with pytest.raises(CamsegError, match="other.yaml holds steps; common and a list stages are"):
        read_recipe(tmp_path / "other.yaml", [])
    (tmp_path / "other.yaml").write_text("{common: demo, stages: [{name: a}]}")
    with pytest.raises(CamsegError, match="common is 'demo': a table of settings is needed"):
        read_recipe(tmp_path / "other.yaml", [])
    with pytest.raises(CamsegError, match="--recipe needs --output-dir FOLDER"):
        run_recipe(recipe, [], None)


@pytest.mark.parametrize(("name", "stages"), [("demo", 6), ("camvid", 2), ("bottlenecks", 6)])
def test_the_recipes_that_ship_can_be_read(name: str, stages: int) -> None:
    recipe = read_recipe(RECIPES / f"{name}.yaml", [])
    assert len(recipe) == stages
    assert [stage.config.stage for stage in recipe][-1] == "finetune"


def test_camvid_is_read_as_classes_of_cityscapes() -> None:
    label_set = find_label_set(str(RECIPES / "camvid_as_cityscapes.yaml"))
    assert label_set.names == CITYSCAPES.names
    assert label_set.palette == CITYSCAPES.palette
    assert label_set.source_ids is not None
    found = {
        CAMVID.names[source]: label_set.names[ours] for source, ours in label_set.source_ids.items()
    }
    assert len(found) == 11
    assert {name: ours for name, ours in found.items() if name != ours} == {
        "pavement": "sidewalk", "tree": "vegetation", "sign": "traffic sign",
        "pedestrian": "person", "bicyclist": "rider",
    }  # fmt: skip
