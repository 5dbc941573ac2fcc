# SPDX-License-Identifier: Apache-2.0
"""Our code equals the published vectors; what differs from them, data or code, is found."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from camseg_core.errors import CamsegError
from camseg_core.weights.parity import Comparison, Verification, verify_folder
from camseg_core.weights.unpickling import load_without_code

PARITY = Path(__file__).parents[2] / "data" / "parity"
README_TOLERANCES = {
    **dict.fromkeys(["vae", "transformer", "denoiser", "step"], 2e-5),
    **dict.fromkeys(["sample.mid", "sample", "loss.grad", "e2e"], 1e-4),
    **{"schedule": 1e-12, "loss": 1e-5, "e2e.class_ids": 1e-3},
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


def failures(result: Verification) -> list[Comparison]:
    return [item for items in result.comparisons.values() for item in items if not item.passed]


def failed(result: Verification) -> set[str]:
    """Return the vectors that failed."""
    return {item.vector for item in failures(result)}


# --- The published vectors ---


def test_published_vectors_are_met_with_every_transformer_file(unchanged: Verification) -> None:
    assert failed(unchanged) == set()
    assert unchanged.uncovered == []
    assert unchanged.passed
    assert sorted(unchanged.comparisons) == ["transformer.pth", "transformer_torchrun.pth"]
    for items in unchanged.comparisons.values():
        assert {item.group for item in items} == {*README_TOLERANCES}
        assert len(items) == 110


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
            else:
                assert item.tolerance == README_TOLERANCES[item.group], item.vector


def test_report_names_files_groups_and_verdicts(unchanged: Verification) -> None:
    lines = list(unchanged.lines())
    assert lines[-1] == "PASS"
    assert {"transformer.pth", "transformer_torchrun.pth"} <= set(lines)
    for group in README_TOLERANCES:
        rows = [line.split() for line in lines if line.startswith(f"  {group} ")]
        assert len(rows) == 2, group
        for row in rows:
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


def test_a_thousandth_in_one_vector_is_found_and_named(
    vectors: Vectors, folder_with: Folder
) -> None:
    changed = {**vectors, "step.100.44.mean": vectors["step.100.44.mean"] * (1 + 1e-3)}
    result = verify_folder(folder_with(without(changed, *LONGEST)))
    assert not result.passed
    assert failed(result) == {"step.100.44.mean"}
    *rows, last = result.lines()
    assert last == "FAIL"
    (verdict,) = [line for line in rows if "FAIL" in line]
    assert verdict.startswith("  step ")
    assert verdict.endswith("FAIL (step.100.44.mean)")


def test_wrong_classes_are_found(vectors: Vectors, folder_with: Folder) -> None:
    class_ids = vectors["e2e.class_ids"].clone()
    class_ids[:4, :8] = (class_ids[:4, :8] + 1) % 20
    result = verify_folder(folder_with({**vectors, "e2e.class_ids": class_ids}))
    (item,) = failures(result)
    assert (item.vector, item.error) == ("e2e.class_ids", pytest.approx(32 / 64**2))


def last_is(value: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: torch.where(
        torch.arange(tensor.numel()) < tensor.numel() - 1, tensor.flatten(), value
    ).view(tensor.shape)


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("vae.decoded", lambda tensor: tensor[:1], "vae.decoded"),  # another shape
        *(
            (name, last_is(value), name)
            for name in ("denoiser.out", "loss.value")
            for value in (math.nan, math.inf)
        ),
        ("denoiser.x", last_is(math.nan), "denoiser.out"),
    ],
)
def test_another_shape_and_what_is_no_number_are_found(
    name: str, change: Callable[[Tensor], Tensor], found: str, vectors: Vectors, folder_with: Folder
) -> None:
    spoilt = {**vectors, name: change(vectors[name])}
    result = verify_folder(folder_with(without(spoilt, *LONGEST)))
    assert failed(result) == {found}
    assert not result.passed
    assert [line for line in result.lines() if line.endswith(f"FAIL ({found})")]


def test_results_that_no_check_knows_are_named(vectors: Vectors, folder_with: Folder) -> None:
    few = without(vectors, "sample", "vae.d", "vae.p")
    unknown = [
        *("denoiser.hidden", "e2e.logits", "extra", "loss.grad.net.unknown.weight"),
        *("sample.heun.10.out", "sample.mid.heun.5.out", "schedule.10.sigmas", "step.10.4.kl"),
        *("transformer.full.attention", "vae.surprise"),
    ]
    result = verify_folder(folder_with({**few, **{name: torch.zeros(3) for name in unknown}}))
    assert failed(result) == set()
    assert result.uncovered == unknown
    assert not result.passed
    assert {f"not covered: {name}" for name in unknown} <= set(result.lines())


def test_no_vectors_at_all_do_not_pass(folder_with: Folder) -> None:
    result = verify_folder(folder_with({"denoiser.condition": torch.zeros(1)}))
    assert not result.passed
    assert list(result.lines())[-1] == "FAIL"


@pytest.mark.parametrize(
    "name",
    [
        *("vae.image", "transformer.image_tokens", "denoiser.t", "step.10.4.noise"),
        *("sample.ddim.5.init", "loss.noise", "e2e.noise", "e2e.init"),
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
        ("vae.latent_in", "vae.decoded"),
        ("step.10.4.x", "step.10.4."),
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


def test_a_missing_result_or_group_is_not_counted(vectors: Vectors, folder_with: Folder) -> None:
    some = without(vectors, "sample.", "loss.", "e2e.", "vae.decoded")
    result = verify_folder(folder_with(some))
    compared = {item.vector for item in result.comparisons["transformer.pth"]}
    assert result.passed
    assert "vae.decoded" not in compared
    assert "vae.posterior_mean" in compared
    for group in ("sample", "sample.mid", "loss", "loss.grad", "e2e", "e2e.class_ids"):
        (row,) = [line for line in result.lines() if line.startswith(f"  {group} ")]
        assert row.split() == [group, "0", "no", "vectors"]


# --- Missing, broken and other files ---


@pytest.fixture
def linked(vectors: Vectors, folder_with: Folder) -> Path:
    """A parity folder that may be changed."""
    return folder_with(vectors)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("vectors.safetensors", "vectors.safetensors cannot be read as safetensors: No such"),
        ("config.json", "cannot read .*config.json: No such file"),
        ("transformer.pth", "has no transformer file"),
        ("vae.ckpt", "vae.ckpt"),
    ],
)
def test_a_missing_file_is_named(missing: str, message: str, linked: Path) -> None:
    (linked / missing).unlink()
    with pytest.raises(CamsegError, match=message) as raised:
        verify_folder(linked)
    assert str(linked) in str(raised.value)


def test_vectors_that_are_no_safetensors(tmp_path: Path) -> None:
    (tmp_path / "vectors.safetensors").write_bytes(b"\x10" + b"\x00" * 40)
    with pytest.raises(CamsegError, match=r"vectors.safetensors cannot be read as safetensors"):
        verify_folder(tmp_path)


def test_vectors_of_another_model_are_one_line(vectors: Vectors, folder_with: Folder) -> None:
    other = {**vectors, "denoiser.x": vectors["denoiser.x"][:, :4].contiguous()}
    with pytest.raises(CamsegError, match=r"vectors.safetensors does not fit \S+transformer.pth: "):
        verify_folder(folder_with(without(other, "sample.", "e2e.")))


def test_wrong_number_of_heads_is_found(linked: Path) -> None:
    config = json.loads((linked / "config.json").read_text())
    config["transformer"]["num_heads"] = 2
    (linked / "config.json").unlink()
    (linked / "config.json").write_text(json.dumps(config))
    assert {item.group for item in failures(verify_folder(linked))} == {
        "transformer",
        "e2e",
        "e2e.class_ids",
    }


@pytest.mark.parametrize(
    ("file", "change", "must_fail", "may_fail"),
    [
        (
            "transformer.pth",
            lambda name, tensor: tensor * 0.9,
            {"transformer", "denoiser", "step", "sample", "loss", "e2e"},
            {"sample.mid", "loss.grad", "e2e.class_ids"},
        ),
        (
            "transformer.pth",
            lambda name, tensor: tensor * 1.001 if name == "mask_token" else tensor,
            {"transformer", "e2e"},
            {"e2e.class_ids"},
        ),
        (
            "transformer.pth",
            lambda name, tensor: tensor * 1.001 if "res_blocks.0.mlp.0.w" in name else tensor,
            {"denoiser", "step", "loss"},
            {"sample", "sample.mid", "loss.grad", "e2e", "e2e.class_ids"},
        ),
        (
            "vae.ckpt",
            lambda name, tensor: tensor * 1.001 if name == "quant_conv.weight" else tensor,
            {"vae", "transformer", "e2e"},
            {"e2e.class_ids"},
        ),
    ],
    ids=["averaged", "mask token", "denoiser", "autoencoder"],
)
def test_other_weights_fail_where_they_are_used(
    file: str,
    change: Callable[[str, Tensor], Tensor],
    must_fail: set[str],
    may_fail: set[str],
    vectors: Vectors,
    folder_with: Folder,
) -> None:
    folder = folder_with(without(vectors, *LONGEST))
    content = load_without_code(folder / file)
    table = "model" if file == "transformer.pth" else "state_dict"
    changed = {name: change(name, tensor) for name, tensor in content[table].items()}
    (folder / file).unlink()
    torch.save({table: changed}, folder / file)
    groups = {item.group for item in failures(verify_folder(folder))}
    assert must_fail <= groups <= must_fail | may_fail
