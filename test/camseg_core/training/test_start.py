# SPDX-License-Identifier: Apache-2.0
"""Starting, resuming and exporting runs: which weights a run begins from and which it gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import (
    log_of,
    tensors_of,
    train,
    write_settings,
)

from camseg_core.errors import CamsegError
from camseg_core.training.__main__ import main
from camseg_core.training.start import export_run, start_or_resume
from camseg_core.weights.loading import load_model

Settings = Callable[..., dict[str, Any]]


def test_an_export_is_the_averaged_model(tmp_path: Path, settings: Settings) -> None:
    run = train(tmp_path, settings("finetune", steps=3, data__validation_split="all"))
    out = tmp_path / "model.safetensors"
    assert main(["--export", str(run), "--out", str(out)]) == 0
    loaded, state = load_model(out), tensors_of(run)
    assert not loaded.is_random
    assert [entry["stage"] for entry in loaded.provenance["stages"]] == ["finetune"]
    for name, tensor in loaded.model.state_dict().items():
        expected = state.get(f"average/{name}", state[f"model/{name}"])
        assert torch.equal(tensor, expected), name
    half = tmp_path / "half.safetensors"
    assert main(["--export", str(run), "--out", str(half), "--half"]) == 0
    assert half.stat().st_size < 0.6 * out.stat().st_size
    whole, halved = (load_model(path).model.state_dict() for path in (out, half))
    for name, tensor in whole.items():
        torch.testing.assert_close(halved[name], tensor, rtol=1e-3, atol=1e-6)
        if tensor.ndim < 2:  # norms: a running variance may be beyond float16
            assert halved[name].equal(tensor), name


def test_weights_of_other_classes_are_refused_or_fitted(
    tmp_path: Path, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    from camseg_core.labels import CAMVID
    from camseg_core.weights.loading import load_model, random_model, save_model
    from camseg_core.weights.variants import with_label_set

    weights, out = tmp_path / "camvid.safetensors", tmp_path / "out.safetensors"
    save_model(with_label_set(random_model("tiny"), CAMVID), weights)
    content = settings("finetune", steps=2, init_from=str(weights))
    assert main(["--config", str(write_settings(tmp_path, content))]) == 2
    assert "knows the 11 classes of 'camvid', the data has the 19 of" in capfd.readouterr().err
    run = train(tmp_path, content | {"replace_classes": True})
    assert main(["--export", str(run), "--out", str(out)]) == 0
    assert load_model(out).label_set.num_classes == 19


def test_stages_build_on_each_other(tmp_path: Path, settings: Settings) -> None:
    first = train(tmp_path, settings("autoencoder", steps=2))
    weights = tmp_path / "first.safetensors"
    assert main(["--export", str(first), "--out", str(weights)]) == 0
    second = train(tmp_path, settings("transformer", steps=2, init_from=str(weights)))
    exported = tmp_path / "second.safetensors"
    assert main(["--export", str(second), "--out", str(exported)]) == 0
    before, after = load_model(weights), load_model(exported)
    assert [entry["stage"] for entry in after.provenance["stages"]] == [
        "autoencoder", "transformer",
    ]  # fmt: skip
    for name, tensor in before.model.state_dict().items():
        same = torch.equal(tensor, after.model.state_dict()[name])
        frozen = name.startswith(("autoencoder.", "mask_decoder."))
        assert same or not frozen, name


def test_an_unknown_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--resume", "2020.01.01.00.00", "--output-dir", str(tmp_path)]) == 2
    assert "no run '2020.01.01.00.00'" in capsys.readouterr().err
    assert main(["--resume", "last", "--output-dir", str(tmp_path)]) == 2
    assert "holds no run to resume" in capsys.readouterr().err


def test_a_run_of_its_own_folder_goes_on_by_name_or_as_the_last(
    tmp_path: Path, settings: Settings
) -> None:
    file = write_settings(tmp_path, settings(steps=1))
    run = start_or_resume(file, ["steps=2"], None, tmp_path / "runs")
    assert run is not None
    assert run.parent == tmp_path / "runs"
    again = start_or_resume(None, ["steps=3"], "last", tmp_path / "runs")
    assert again == run
    assert [entry["step"] for entry in log_of(run)] == [1, 2, 3]
    with pytest.raises(CamsegError, match="--resume takes the run's own settings"):
        start_or_resume(file, [], run.name, tmp_path / "runs")


def test_an_export_states_the_profiles_that_are_given(tmp_path: Path, settings: Settings) -> None:
    run = train(tmp_path, settings(steps=1))
    names = ("accurate", "balanced", "fast")
    (tmp_path / "profiles.yaml").write_text(
        "".join(f"{name}: {{steps: {steps}}}\n" for steps, name in enumerate(names, start=2))
    )
    out = tmp_path / "model.safetensors"
    export_run(run.parent, run.name, out, "last", profiles=tmp_path / "profiles.yaml")
    assert [load_model(out).profiles[name].steps for name in names] == [2, 3, 4]
    (tmp_path / "profiles.yaml").write_text("fast: {steps: 2}\n")
    with pytest.raises(CamsegError, match=r"profiles\.yaml: profiles are fast; accurate, balanced"):
        export_run(run.parent, run.name, out, profiles=tmp_path / "profiles.yaml")
