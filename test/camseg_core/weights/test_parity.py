# SPDX-License-Identifier: Apache-2.0
"""Our code equals the published vectors; what differs from them, data or code, is found."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from camseg_core.diffusion import process as diffusion
from camseg_core.errors import CamsegError
from camseg_core.models.camseg import CamSeg
from camseg_core.weights import parity as verify
from camseg_core.weights.loading import LoadedModel, load_published
from camseg_core.weights.parity import Verification, _Verifier, verify_folder

PARITY = Path(__file__).parents[2] / "data" / "parity"
README_TOLERANCES = {
    "vae": 2e-5,
    "transformer": 2e-5,
    "denoiser": 2e-5,
    "schedule": 1e-12,
    "step": 2e-5,
    "sample.mid": 1e-4,
    "sample": 1e-4,
    "loss": 1e-5,
    "loss.grad": 1e-4,
    "e2e": 1e-4,
}

LONGEST = ("sample.ddpm.100.", "sample.ddim.100.", "sample.mid.ddpm.100.temp0.0.")
"""Chains of a hundred steps, which take most of the time; one remains."""

Vectors = dict[str, Tensor]
Folder = Callable[[Vectors], Path]


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return load_file(PARITY / "vectors.safetensors")


@pytest.fixture(scope="module")
def unchanged() -> Verification:
    return verify_folder(PARITY)


@pytest.fixture
def folder_with(tmp_path: Path) -> Folder:
    """Make a parity folder with one transformer file and these vectors."""

    def make(vectors: Vectors) -> Path:
        for name in ("config.json", "transformer.pth", "vae.ckpt"):
            (tmp_path / name).symlink_to(PARITY / name)
        save_file(vectors, tmp_path / "vectors.safetensors")
        return tmp_path

    return make


def without(vectors: Vectors, *prefixes: str) -> Vectors:
    return {name: tensor for name, tensor in vectors.items() if not name.startswith(prefixes)}


def failed(result: Verification) -> set[str]:
    """Return the vectors that failed."""
    return {
        item.vector for items in result.comparisons.values() for item in items if not item.passed
    }


def failed_groups(result: Verification) -> set[str]:
    return {
        item.group for items in result.comparisons.values() for item in items if not item.passed
    }


# --- The published vectors ---


def test_published_vectors_are_met(unchanged: Verification) -> None:
    assert failed(unchanged) == set()
    assert unchanged.uncovered == []
    assert unchanged.passed


def test_every_transformer_file_is_checked_with_every_vector(unchanged: Verification) -> None:
    assert sorted(unchanged.comparisons) == ["transformer.pth", "transformer_torchrun.pth"]
    plain, torchrun = unchanged.comparisons.values()
    assert [item.vector for item in plain] == [item.vector for item in torchrun]


def test_results_and_inputs_are_told_apart(unchanged: Verification, vectors: Vectors) -> None:
    """Everything that the published code computed is compared, once."""
    inputs = {
        *(name for name in vectors if name.startswith(("vae.image", "vae.latent_in"))),
        *(name for name in vectors if name.endswith((".init", ".start", ".start_index", ".x"))),
        *(name for name in vectors if name.endswith((".noise", ".mask", ".mask_tokens"))),
        *(f"denoiser.{name}" for name in ("t", "condition", "true_latent")),
        *(f"loss.{name}" for name in ("condition", "t", "target")),
    }
    for items in unchanged.comparisons.values():
        compared = [item.vector for item in items]
        assert len(compared) == len(set(compared))
        assert set(compared) == set(vectors) - inputs


def test_every_group_has_vectors(unchanged: Verification) -> None:
    for items in unchanged.comparisons.values():
        assert {item.group for item in items} == {*README_TOLERANCES, "e2e.class_ids"}
        assert len(items) == 110


def test_tolerances_are_those_of_the_vectors_readme(
    unchanged: Verification, vectors: Vectors
) -> None:
    for items in unchanged.comparisons.values():
        for item in items:
            if item.vector == "sample.ddpm.5.temp1.0.out":
                assert item.tolerance == 1e-3
            elif item.vector.endswith("log_variance"):
                # Near-constant: its spread is less than a float32 can show. Two units there.
                largest = vectors[item.vector].abs().max().item()
                spread = vectors[item.vector].double().std().item()
                assert item.tolerance * spread <= 5e-7 * largest + 2e-5 * spread
            elif item.group == "e2e.class_ids":
                assert item.tolerance <= 1e-3
            else:
                assert item.tolerance == README_TOLERANCES[item.group], item.vector


def test_report_names_files_groups_and_verdicts(unchanged: Verification) -> None:
    lines = list(unchanged.lines())
    assert lines[-1] == "PASS"
    assert "transformer.pth" in lines
    assert "transformer_torchrun.pth" in lines
    for group in (*README_TOLERANCES, "e2e.class_ids"):
        rows = [line.split() for line in lines if line.startswith(f"  {group} ")]
        assert len(rows) == 2, group
        for row in rows:
            count = sum(item.group == group for item in unchanged.comparisons["transformer.pth"])
            assert row[1] == str(count)
            assert float(row[2]) <= float(row[3])
            assert row[4:] == ["PASS"]
    assert not [line for line in lines if "FAIL" in line or "not covered" in line]


# --- Changed vectors ---

CHANGED = [
    ("vae", "vae.posterior_mean"),
    ("vae", "vae.posterior_logvar"),
    ("vae", "vae.posterior_mean_wide"),
    ("vae", "vae.decoded"),
    ("transformer", "transformer.image_tokens"),
    ("transformer", "transformer.full.encoder"),
    ("transformer", "transformer.part.condition"),
    ("denoiser", "denoiser.out"),
    ("schedule", "schedule.21.betas"),
    ("schedule", "schedule.100.posterior_log_variance_clipped"),
    ("step", "step.10.0.log_variance"),
    ("step", "step.100.44.mean"),
    ("sample.mid", "sample.mid.ddim.10.out"),
    ("sample.mid", "sample.mid.ddpm.100.temp1.0.out"),
    ("sample", "sample.ddim.5.out"),
    ("sample", "sample.ddpm.5.temp1.0.out"),
    ("loss", "loss.value"),
    ("loss.grad", "loss.grad.net.input_proj.weight"),
    ("e2e", "e2e.decoded"),
]


def test_every_changed_vector_alone_is_found(vectors: Vectors, folder_with: Folder) -> None:
    """All at once: each must fail, and nothing else, but what a changed input moves."""
    changed = {name: tensor.clone() for name, tensor in vectors.items()}
    for _, name in CHANGED:
        changed[name] *= 1 + 1.5e-3
    result = verify_folder(folder_with(changed))
    assert not result.passed
    moved = {"transformer.full.encoder", "transformer.full.condition", "transformer.part.encoder"}
    assert failed(result) - moved == {name for _, name in CHANGED} - moved
    groups = {item.vector: item.group for item in result.comparisons["transformer.pth"]}
    assert [groups[name] for _, name in CHANGED] == [group for group, _ in CHANGED]


ONE_OF_EACH_GROUP = {group: name for group, name in CHANGED if name != "transformer.image_tokens"}


@pytest.mark.parametrize("group", ONE_OF_EACH_GROUP)
def test_a_thousandth_in_one_vector_is_found(
    group: str, vectors: Vectors, folder_with: Folder
) -> None:
    name = ONE_OF_EACH_GROUP[group]
    scale = 1 + 2e-3 if name == "sample.ddpm.5.temp1.0.out" else 1 + 1e-3
    changed = {**vectors, name: vectors[name] * scale}
    result = verify_folder(folder_with(without(changed, *LONGEST)))
    assert not result.passed
    assert failed(result) == {name}
    lines = list(result.lines())
    assert lines[-1] == "FAIL"
    verdicts = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert verdicts[group].endswith(f"FAIL ({name})")
    assert [line for line in lines[:-1] if "FAIL" in line] == [verdicts[group]]


def test_wrong_classes_are_found(vectors: Vectors, folder_with: Folder) -> None:
    class_ids = vectors["e2e.class_ids"].clone()
    class_ids[:4, :8] = (class_ids[:4, :8] + 1) % 20
    result = verify_folder(folder_with({**vectors, "e2e.class_ids": class_ids}))
    assert failed(result) == {"e2e.class_ids"}
    (item,) = [item for item in result.comparisons["transformer.pth"] if not item.passed]
    assert item.error == pytest.approx(32 / 64**2)


def test_wrong_timesteps_are_found(vectors: Vectors, folder_with: Folder) -> None:
    timesteps = vectors["schedule.333.timesteps"].clone()
    timesteps[100] += 1
    result = verify_folder(folder_with({**vectors, "schedule.333.timesteps": timesteps}))
    assert failed(result) == {"schedule.333.timesteps"}


def test_another_shape_is_found(vectors: Vectors, folder_with: Folder) -> None:
    result = verify_folder(folder_with({**vectors, "vae.decoded": vectors["vae.decoded"][:1]}))
    assert failed(result) == {"vae.decoded"}
    assert [line for line in result.lines() if line.endswith("FAIL (vae.decoded)")]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["denoiser.out", "sample.ddim.5.out", "loss.value", "step.5.1.x0"])
def test_one_number_that_is_none_is_found(
    name: str, value: float, vectors: Vectors, folder_with: Folder
) -> None:
    spoilt = vectors[name].clone()
    spoilt.view(-1)[-1] = value
    result = verify_folder(folder_with({**vectors, name: spoilt}))
    assert failed(result) == {name}
    assert not result.passed
    assert list(result.lines())[-1] == "FAIL"
    assert [line for line in result.lines() if line.endswith(f"FAIL ({name})")]


def test_not_a_number_among_inputs_is_found(vectors: Vectors, folder_with: Folder) -> None:
    spoilt = vectors["denoiser.x"].clone()
    spoilt[3, 2] = float("nan")
    result = verify_folder(folder_with({**vectors, "denoiser.x": spoilt}))
    assert failed(result) == {"denoiser.out"}


@pytest.mark.parametrize(
    "name",
    [
        "extra",
        "vae.surprise",
        "transformer.full.attention",
        "denoiser.hidden",
        "schedule.10.sigmas",
        "step.10.4.kl",
        "sample.heun.10.out",
        "sample.mid.heun.5.out",
        "loss.grad.net.unknown.weight",
        "e2e.logits",
    ],
)
def test_a_result_that_no_check_knows_is_named(
    name: str, vectors: Vectors, folder_with: Folder
) -> None:
    few = without(vectors, "sample", "e2e", "vae.d", "vae.p")  # many names are tried
    result = verify_folder(folder_with({**few, name: torch.zeros(3)}))
    assert failed(result) == set()
    assert result.uncovered == [name]
    assert not result.passed
    lines = list(result.lines())
    assert f"not covered: {name}" in lines
    assert lines[-1] == "FAIL"


def test_no_vectors_at_all_do_not_pass(folder_with: Folder) -> None:
    result = verify_folder(folder_with({"denoiser.condition": torch.zeros(1)}))
    assert not result.passed
    assert list(result.lines())[-1] == "FAIL"


@pytest.mark.parametrize(
    "name",
    [
        "vae.image",
        "denoiser.t",
        "denoiser.condition",
        "step.10.4.noise",
        "sample.ddim.5.init",
        "sample.mid.ddim.5.start_index",
        "loss.noise",
        "e2e.noise",
    ],
)
def test_a_missing_input_is_an_error_that_names_it(
    name: str, vectors: Vectors, folder_with: Folder
) -> None:
    folder = folder_with(without({k: v for k, v in vectors.items() if k != name}, *LONGEST))
    with pytest.raises(CamsegError) as raised:
        verify_folder(folder)
    assert f"vectors.safetensors lacks '{name}'" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "results"),
    [
        ("transformer.image_tokens", "transformer."),
        ("vae.latent_in", "vae.decoded"),
        ("step.10.4.x", "step.10.4."),
        ("e2e.init", "e2e."),
    ],
)
def test_results_whose_input_is_missing_are_not_covered(
    name: str, results: str, vectors: Vectors, folder_with: Folder
) -> None:
    some = without({key: tensor for key, tensor in vectors.items() if key != name}, "sample.")
    result = verify_folder(folder_with(some))
    assert not result.passed
    assert result.uncovered
    for other in result.uncovered:
        assert other.startswith(results)


@pytest.mark.parametrize(
    "name", ["vae.decoded", "transformer.full.condition", "step.10.4.x0", "e2e.decoded"]
)
def test_a_missing_result_is_not_counted(name: str, vectors: Vectors, folder_with: Folder) -> None:
    some = without({k: v for k, v in vectors.items() if k != name}, "sample.")
    result = verify_folder(folder_with(some))
    compared = {item.vector for item in result.comparisons["transformer.pth"]}
    assert result.passed
    assert name not in compared
    beside = {other for other in some if other.startswith(name.rpartition(".")[0] + ".")}
    assert beside & compared


def test_a_group_without_vectors_is_reported_as_such(vectors: Vectors, folder_with: Folder) -> None:
    result = verify_folder(folder_with(without(vectors, "sample.", "loss.", "e2e.")))
    assert result.passed
    for group in ("sample", "sample.mid", "loss", "loss.grad", "e2e", "e2e.class_ids"):
        (row,) = [line for line in result.lines() if line.startswith(f"  {group} ")]
        assert row.split() == [group, "0", "no", "vectors"]


# --- Missing and broken files ---


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("vectors.safetensors", "no such file: .*vectors.safetensors"),
        (
            "config.json",
            "cannot read .*config.json, which states the number of heads: No ",
        ),
        ("transformer.pth", "has no transformer file"),
        ("vae.ckpt", "vae.ckpt"),
    ],
)
def test_missing_file(missing: str, message: str, tmp_path: Path) -> None:
    for name in ("vectors.safetensors", "config.json", "transformer.pth", "vae.ckpt"):
        if name != missing:
            (tmp_path / name).symlink_to(PARITY / name)
    with pytest.raises(CamsegError, match=message) as raised:
        verify_folder(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CamsegError, match=r"no such file: .*nowhere"):
        verify_folder(tmp_path / "nowhere")


def test_vectors_that_are_no_safetensors(tmp_path: Path) -> None:
    (tmp_path / "vectors.safetensors").write_bytes(b"\x10" + b"\x00" * 40)
    with pytest.raises(CamsegError, match=r"vectors.safetensors cannot be read as safetensors"):
        verify_folder(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"transformer": {}}', "[1]", "3"])
def test_config_without_heads(text: str, tmp_path: Path) -> None:
    for name in ("vectors.safetensors", "transformer.pth", "vae.ckpt"):
        (tmp_path / name).symlink_to(PARITY / name)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CamsegError, match=r"config.json states no transformer.num_heads"):
        verify_folder(tmp_path)


def test_wrong_number_of_heads_is_found(tmp_path: Path) -> None:
    for name in ("vectors.safetensors", "transformer.pth", "vae.ckpt"):
        (tmp_path / name).symlink_to(PARITY / name)
    config = json.loads((PARITY / "config.json").read_text())
    config["transformer"]["num_heads"] = 2
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = verify_folder(tmp_path)
    assert failed_groups(result) == {"transformer", "e2e", "e2e.class_ids"}


# --- Mistakes in our code ---

Change = Callable[[CamSeg], None]


@pytest.fixture
def one_file(vectors: Vectors, folder_with: Folder) -> Path:
    """Return the folder with one transformer file and without the longest chains."""
    return folder_with(without(vectors, *LONGEST))


@pytest.fixture
def with_mistake(monkeypatch: pytest.MonkeyPatch, one_file: Path) -> Callable[[Change], set[str]]:
    """Make a change to the model that is verified; give the groups that fail."""

    def run(change: Change) -> set[str]:
        load: Callable[..., LoadedModel] = verify.load_published

        def load_changed(*arguments: Any, **keywords: Any) -> LoadedModel:
            loaded = load(*arguments, **keywords)
            change(loaded.model)
            return loaded

        monkeypatch.setattr(verify, "load_published", load_changed)
        return failed_groups(verify_folder(one_file))

    return run


def set_eps(part: nn.Module, kind: type[nn.Module], eps: float) -> None:
    norms = [module for module in part.modules() if isinstance(module, kind)]
    assert norms
    for norm in norms:
        norm.eps = eps  # type: ignore[assignment]


def test_without_a_mistake_nothing_fails(with_mistake: Callable[[Change], set[str]]) -> None:
    assert with_mistake(lambda model: None) == set()


def test_layer_norm_eps_of_the_transformer(with_mistake: Callable[[Change], set[str]]) -> None:
    groups = with_mistake(lambda model: set_eps(model.transformer, nn.LayerNorm, 1e-5))
    assert "transformer" in groups
    assert groups <= {"transformer", "e2e", "e2e.class_ids"}


def test_layer_norm_eps_of_the_denoiser(with_mistake: Callable[[Change], set[str]]) -> None:
    groups = with_mistake(lambda model: set_eps(model.denoiser, nn.LayerNorm, 1e-5))
    assert groups
    assert groups <= {"denoiser", "step", "sample", "sample.mid", "loss", "loss.grad", "e2e"}


def test_group_norm_eps_of_the_autoencoder(with_mistake: Callable[[Change], set[str]]) -> None:
    groups = with_mistake(lambda model: set_eps(model.autoencoder, nn.GroupNorm, 1e-5))
    assert "vae" in groups
    assert not groups & {"denoiser", "schedule", "step", "sample", "sample.mid", "loss"}


def test_gelu_by_tanh(monkeypatch: pytest.MonkeyPatch, one_file: Path) -> None:
    exact = F.gelu
    monkeypatch.setattr(F, "gelu", lambda x, approximate="none": exact(x, approximate="tanh"))
    groups = failed_groups(verify_folder(one_file))
    assert "transformer" in groups
    assert groups <= {"transformer", "e2e", "e2e.class_ids"}


def test_loss_in_nats(monkeypatch: pytest.MonkeyPatch, one_file: Path) -> None:
    bits: Callable[..., Tensor] = diffusion._variational_bits
    monkeypatch.setattr(
        diffusion, "_variational_bits", lambda *arguments: bits(*arguments) * math.log(2)
    )
    assert failed_groups(verify_folder(one_file)) == {"loss", "loss.grad"}


def test_copies_repeated_token_by_token(monkeypatch: pytest.MonkeyPatch, one_file: Path) -> None:
    """Instead of the whole batch after itself."""
    repeat = Tensor.repeat
    monkeypatch.setattr(
        Tensor, "repeat", lambda x, times, *ones: repeat(x, 1, *ones).repeat_interleave(times, 0)
    )
    assert failed_groups(verify_folder(one_file)) == {"loss", "loss.grad"}


def test_no_vector_visits_the_discretised_likelihood(vectors: Vectors) -> None:
    """So ``test_diffusion.py`` has to: an exact normal CDF there would not show here."""
    assert vectors["loss.t"].min().item() > 0


@pytest.fixture
def _attached_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the variational term's gradient reach the mean."""
    training_loss: Callable[..., Tensor] = verify.training_loss

    def attached_loss(*arguments: Any) -> Tensor:
        with monkeypatch.context() as patch:
            patch.setattr(Tensor, "detach", lambda tensor: tensor)
            return training_loss(*arguments)

    monkeypatch.setattr(verify, "training_loss", attached_loss)


@pytest.mark.usefixtures("_attached_mean")
def test_mean_that_is_not_detached(one_file: Path) -> None:
    """The value is the same: only the gradients show it."""
    assert failed_groups(verify_folder(one_file)) == {"loss.grad"}


def test_respacing_by_the_closed_form(monkeypatch: pytest.MonkeyPatch, one_file: Path) -> None:
    monkeypatch.setattr(
        diffusion,
        "respaced_timesteps",
        lambda steps, first_timestep=999: [
            round(index * first_timestep / (steps - 1)) for index in range(steps)
        ],
    )
    result = verify_folder(one_file)
    assert failed_groups(result) == {"schedule"}


def test_respacing_that_cuts_fractions(monkeypatch: pytest.MonkeyPatch, one_file: Path) -> None:
    monkeypatch.setattr(
        diffusion,
        "respaced_timesteps",
        lambda steps, first_timestep=999: [
            int(index * first_timestep / (steps - 1)) for index in range(steps)
        ],
    )
    assert {"schedule", "sample"} <= failed_groups(verify_folder(one_file))


def test_averaged_weights_in_place_of_the_models(
    with_mistake: Callable[[Change], set[str]],
) -> None:
    def average(model: CamSeg) -> None:
        for part in (model.transformer, model.denoiser):
            for parameter in part.parameters():
                parameter.mul_(0.9)

    groups = with_mistake(average)
    assert {"transformer", "denoiser", "step", "sample", "loss", "e2e"} <= groups
    assert not groups & {"vae", "schedule"}


def test_columns_before_rows(monkeypatch: pytest.MonkeyPatch, one_file: Path) -> None:
    row_major: Callable[[Tensor, int], Tensor] = verify.tokens_from_latent
    monkeypatch.setattr(
        verify,
        "tokens_from_latent",
        lambda latent, patch_size: row_major(latent.transpose(2, 3), patch_size),
    )
    assert "transformer" in failed_groups(verify_folder(one_file))


def test_another_latent_scale(
    monkeypatch: pytest.MonkeyPatch, with_mistake: Callable[[Change], set[str]]
) -> None:
    """The raw latents are right, the scaled are not."""

    def rescale(model: CamSeg) -> None:
        encode = model.autoencoder.encode
        monkeypatch.setattr(model.autoencoder, "encode", lambda image: encode(image) * 1.001)

    groups = with_mistake(rescale)
    assert {"transformer", "e2e"} <= groups
    assert "vae" not in groups


@pytest.mark.parametrize(
    ("expected", "actual", "passes"),
    [
        (torch.zeros(4), torch.zeros(4), True),
        (torch.zeros(4), torch.full((4,), 1e-9), False),
        (torch.ones(4), torch.full((4,), 1.1), False),
        (torch.ones(1), torch.ones(1), True),
    ],
)
def test_a_constant_result_is_compared_too(expected: Tensor, actual: Tensor, passes: bool) -> None:
    loaded = load_published(PARITY / "transformer.pth", PARITY / "vae.ckpt")
    comparison = _Verifier(loaded, {"step.9.0.mean": expected})._compare("step.9.0.mean", actual)
    assert comparison.passed is passes


def test_vectors_of_another_model_are_one_line(tmp_path: Path) -> None:
    for name in ("transformer.pth", "vae.ckpt", "config.json"):
        shutil.copyfile(PARITY / name, tmp_path / name)
    vectors = load_file(PARITY / "vectors.safetensors")
    vectors["denoiser.x"] = vectors["denoiser.x"][:, :4].contiguous()
    save_file(vectors, tmp_path / "vectors.safetensors")
    with pytest.raises(CamsegError, match=r"vectors.safetensors does not fit \S+transformer.pth: "):
        verify_folder(tmp_path)
