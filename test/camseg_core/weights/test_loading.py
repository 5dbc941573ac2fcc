# SPDX-License-Identifier: Apache-2.0
"""Building and loading: our files, the published pair, random weights, and what does not fit."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from camseg_core.diffusion.options import ONE_STEP_PROFILES, V_PROFILES
from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES, LabelSet
from camseg_core.models.presets import DEFAULT_PALETTE_TEMPERATURE, PRESETS
from camseg_core.weights.loading import (
    LoadedModel,
    load_model,
    load_published,
    random_model,
    save_model,
)
from camseg_core.weights.published_format import read_autoencoder, read_transformer
from camseg_core.weights.unpickling import load_without_code

Change = Callable[[dict[str, Any]], None]
TRANSFORMER_FILES = ("transformer.pth", "transformer_torchrun.pth")


def assert_same_tensors(one: LoadedModel, two: LoadedModel) -> None:
    first, second = one.model.state_dict(), two.model.state_dict()
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        counts = key.endswith("num_batches_tracked")  # of batch norms
        assert tensor.dtype == second[key].dtype == (torch.int64 if counts else torch.float32)
        assert torch.equal(tensor, second[key]), key


@pytest.fixture
def pair(tmp_path: Path, parity: Path) -> Path:
    """A folder of one's own with the published pair and its config."""
    folder = tmp_path / "pair"
    folder.mkdir()
    for name in ("transformer.pth", "vae.ckpt", "config.json"):
        shutil.copyfile(parity / name, folder / name)
    return folder


def save_anew(content: Any, path: Path) -> None:
    """Replace a file, not write into it: its tensors are still mapped into memory."""
    torch.save(content, path.with_name("new"))
    path.with_name("new").replace(path)


def change_transformer(folder: Path, change: Change) -> None:
    content = load_without_code(folder / "transformer.pth")
    content["model"] = {key: tensor.clone() for key, tensor in content["model"].items()}
    change(content["model"])
    save_anew(content, folder / "transformer.pth")


# The published pair


@pytest.mark.parametrize("name", TRANSFORMER_FILES)
def test_the_published_pair_loads_tensor_for_tensor(parity: Path, name: str) -> None:
    loaded = load_published(parity / name, parity / "vae.ckpt")
    stored = read_transformer(parity / name) | read_autoencoder(parity / "vae.ckpt")
    state = loaded.model.state_dict()
    assert state.keys() == stored.keys()
    for key, tensor in stored.items():
        assert torch.equal(state[key], tensor), key
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not loaded.is_random
    assert loaded.label_set == CITYSCAPES
    assert loaded.config.palette_temperature == DEFAULT_PALETTE_TEMPERATURE


def test_a_pair_is_known_by_the_hash_of_both_files(parity: Path) -> None:
    paths = (parity / "transformer.pth", parity / "vae.ckpt")
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    loaded = load_published(*paths)
    assert loaded.provenance == {"source_sha256": hashes, "variant": "model"}
    joined = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    assert loaded.weights_sha256 == joined
    assert str(paths[0]) in loaded.source
    assert str(paths[1]) in loaded.source
    other = load_published(parity / "transformer_torchrun.pth", paths[1])
    assert other.weights_sha256 != joined


def test_the_averaged_weights_can_be_chosen(parity: Path) -> None:
    paths = (parity / "transformer.pth", parity / "vae.ckpt")
    averaged = load_published(*paths, variant="model_ema")
    assert averaged.provenance["variant"] == "model_ema"
    stored = read_transformer(paths[0], "model_ema")["transformer.mask_token"]
    assert torch.equal(averaged.model.transformer.mask_token, stored)


def test_the_number_of_heads_is_given_or_stated_beside(pair: Path) -> None:
    assert load_model(pair).config.transformer.num_heads == 4
    assert load_model(pair, num_heads=6).config.transformer.num_heads == 6
    config = json.loads((pair / "config.json").read_text())
    config["transformer"]["num_heads"] = 8
    (pair / "config.json").write_text(json.dumps(config))
    assert load_model(pair).config.transformer.num_heads == 8
    (pair / "config.json").unlink()
    with pytest.raises(CamsegError, match="no tensor tells the number of attention heads"):
        load_model(pair)
    assert load_model(pair, num_heads=4).config.transformer.num_heads == 4


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"transformer": 3}', '{"transformer": {"num_heads": "x"}}', "é"]
)
def test_a_config_beside_that_cannot_be_read_is_named(pair: Path, text: str) -> None:
    (pair / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(
        CamsegError, match=f"^{re.escape(str(pair / 'config.json'))} states no transformer.num_h"
    ):
        load_model(pair)


def test_half_precision_weights_become_float32(pair: Path) -> None:
    def halve(tensors: dict[str, Tensor]) -> None:
        tensors.update({key: tensor.half() for key, tensor in tensors.items()})

    change_transformer(pair, halve)
    loaded = load_model(pair)
    stored = load_without_code(pair / "transformer.pth")["model"]["mask_token"]
    assert stored.dtype == torch.float16
    actual = loaded.model.transformer.mask_token
    assert actual.dtype == torch.float32
    assert torch.equal(actual, stored.float())


# What does not fit


def sections(message: str) -> dict[str, list[str]]:
    """Read the difference text back: title -> its entries."""
    found: dict[str, list[str]] = {}
    for text in message.partition(" does not fit the model: ")[2].split("; "):
        title = re.fullmatch(r"(missing|unexpected|wrong shape) \((\d+)\): (.*)", text)
        assert title is not None
        found[title[1]] = re.split(", (?!the model)", title[3])
        assert len(found[title[1]]) <= int(title[2])
    return found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda tensors: tensors.update({"scale": torch.ones(())}),
            {"unexpected": ["transformer.scale scalar"]},
        ),
        (
            lambda tensors: tensors.update({"z_proj2.weight": torch.ones(16, 48)}),
            {"wrong shape": ["transformer.z_proj2.weight is 16x48, the model has 48x16"]},
        ),
        (
            lambda tensors: (
                tensors.pop("encoder_norm.bias"),
                tensors.update({"extra": torch.ones(2), "mask_token": torch.ones(1, 48)}),
            ),
            {
                "missing": ["transformer.encoder_norm.bias 48"],
                "unexpected": ["transformer.extra 2"],
                "wrong shape": ["transformer.mask_token is 1x48, the model has 1x1x48"],
            },
        ),
    ],
)
def test_differences_are_listed_by_kind(
    pair: Path, change: Change, expected: dict[str, list[str]]
) -> None:
    change_transformer(pair, change)
    with pytest.raises(CamsegError) as caught:
        load_model(pair)
    source = f"{pair / 'transformer.pth'} + {pair / 'vae.ckpt'}"
    assert str(caught.value).startswith(f"{source} does not fit the model: ")
    assert sections(str(caught.value)) == expected


def test_a_long_list_of_differences_is_cut_and_counted(pair: Path) -> None:
    change_transformer(
        pair,
        lambda tensors: tensors.update({f"extra.{i}": torch.ones(1) for i in range(13)}),
    )
    with pytest.raises(CamsegError) as caught:
        load_model(pair)
    entries = sections(str(caught.value))["unexpected"]
    assert entries == [f"transformer.extra.{i} 1" for i in range(5)] + ["and 8 more"]


# Our own file


def test_a_saved_model_comes_back_bit_for_bit(parity_model: LoadedModel, tmp_path: Path) -> None:
    labels = LabelSet("ab", ("a", "b"), ((1, 2, 3), (4, 5, 6)), source_ids={7: 1})
    saved = replace(parity_model, label_set=labels, provenance={"note": "é", "list": [1, 2.5]})
    path = tmp_path / "folder" / "model.safetensors"
    save_model(saved, path)
    loaded = load_model(path)
    assert_same_tensors(loaded, saved)
    assert loaded.config == saved.config
    assert loaded.label_set == labels
    assert loaded.provenance == saved.provenance
    assert loaded.is_random is False
    assert loaded.source == str(path)
    assert loaded.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not loaded.model.training
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"]


def test_a_file_says_that_its_weights_are_random(tiny_model: LoadedModel, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.is_random
    assert loaded.provenance == {"random_seed": 0}
    assert loaded.config == PRESETS["tiny"]


def test_weights_in_another_memory_order_are_saved_by_value(
    tiny_model: LoadedModel, tmp_path: Path
) -> None:
    model = random_model("tiny")
    for parameter in model.model.autoencoder.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    save_model(model, tmp_path / "model.safetensors")
    assert_same_tensors(load_model(tmp_path / "model.safetensors"), tiny_model)


@pytest.mark.parametrize("remainder", [0x80, 0x50])
def test_a_file_is_known_whatever_the_length_of_its_header(
    tiny_model: LoadedModel, tmp_path: Path, remainder: int
) -> None:
    """The file begins with its header's length, whose bytes can look like a pickle's or a zip's.

    A pickle begins with 0x80, a zip with "PK", 0x50 0x4b.
    """
    path = tmp_path / "model.safetensors"
    modulus, wanted = (256, remainder) if remainder == 0x80 else (65536, 0x4B50)
    save_model(replace(tiny_model, provenance={"padding": ""}), path)
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    padding = "x" * ((wanted - length) % modulus)
    save_model(replace(tiny_model, provenance={"padding": padding}), path)
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert length % modulus == wanted
    assert_same_tensors(load_model(path), tiny_model)


def test_a_file_that_cannot_be_written_is_one_line(tiny_model: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "regular").touch()
    path = tmp_path / "regular" / "model.safetensors"
    with pytest.raises(CamsegError, match=f"^cannot write {re.escape(str(path))}: ") as caught:
        save_model(tiny_model, path)
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_old_file(tiny_model: LoadedModel, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CamsegError, match=f"^cannot write {re.escape(str(path))}: "):
            save_model(tiny_model, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "file.safetensors"


def assert_unreadable(path: Path) -> None:
    with pytest.raises(CamsegError) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path} cannot be read as safetensors: truncated, damaged")
    assert "\n" not in str(caught.value)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.0, 1.0, exclude_max=True))
@example(1 - 1e-12)
@example(1e-6)
def test_a_file_cut_anywhere_is_refused(tiny_file: Path, scratch: Path, share: float) -> None:
    content = tiny_file.read_bytes()
    scratch.write_bytes(content[: int(share * len(content))])
    assert_unreadable(scratch)


def test_a_safetensors_file_of_another_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.ones(2)}, path, metadata=metadata)
        with pytest.raises(
            CamsegError, match="is a safetensors file of another model: its metadata has no 'cams"
        ):
            load_model(path)


def rewrite(source: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Copy a file of ours with another description."""
    with safe_open(source, framework="pt") as file:
        changed = change(json.loads(file.metadata()["camseg"]))
    text = changed if isinstance(changed, str) else json.dumps(changed)
    save_file(load_file(source), target, metadata={"camseg": text})
    return target


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda content: {name: value for name, value in content.items() if name != key}


def with_section(name: str, **changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: {
        **content,
        "config": {**content["config"], name: {**content["config"][name], **changes}},
    }


def with_label_set(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: {**content, "label_set": {**content["label_set"], **changes}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: "{", "changed.safetensors, metadata: Invalid JSON: "),
        (lambda content: [], "metadata: the content is .*: input should be an object"),
        (without("format_version"), "is not of format version 1, the one this release reads"),
        (lambda content: {**content, "format_version": 2}, "is not of format version 1, the one"),
        (without("config"), "metadata: config is missing"),
        (lambda content: {**content, "extra": 3}, "metadata: extra is not known"),
        (lambda content: {**content, "config": {}}, "metadata: config.name is missing .and "),
        (with_label_set(names=["a"]), "metadata: label_set: label set 'cityscapes' has 1 names"),
        (with_section("transformer", num_head=3), "metadata: config.transformer.num_head is not"),
        (with_section("input", resize="crop"), 'metadata: config.input.resize is "crop": '),
        (
            with_section("autoencoder", depth=0),
            "MaskAutoencoderConfig.depth is 0; a whole number from 1 to 1000",
        ),
        (with_section("transformer", num_heads=3), "transformer width 64 is not a multiple of it"),
        (
            lambda content: {**content, "profiles": {"fast": {}}},
            "changed.safetensors: profiles are fast; accurate, balanced, fast are needed",
        ),
        (with_section("transformer", encoder_depth=2), "does not fit the model: missing "),
        (with_section("transformer", decoder_depth=10**9), "decoder_depth is 1000000000; a whole"),
        (with_section("transformer", width=2**40), "width is 1099511627776; a whole number from"),
    ],
)
def test_a_description_that_breaks_a_rule_is_refused(
    tiny_file: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = rewrite(tiny_file, tmp_path / "changed.safetensors", change)
    with pytest.raises(CamsegError, match=message):
        load_model(path)


@pytest.mark.parametrize(
    ("suffix", "kind", "wanted"),
    [
        ("z_proj1.weight", torch.int32, "int32, not floating-point"),
        ("z_proj1.weight", torch.complex64, "complex64, not floating-point"),
        ("num_batches_tracked", torch.complex64, "complex64, not whole"),
        ("num_batches_tracked", torch.float32, "float32, not whole"),
    ],
)
def test_numbers_of_another_kind_are_refused(
    tiny_file: Path, tmp_path: Path, suffix: str, kind: torch.dtype, wanted: str
) -> None:
    tensors = load_file(tiny_file)
    key = next(key for key in tensors if key.endswith(suffix))
    with safe_open(tiny_file, "pt") as opened:
        metadata = opened.metadata()
    path = tmp_path / "changed.safetensors"
    save_file({**tensors, key: tensors[key].to(kind)}, path, metadata)
    with pytest.raises(CamsegError, match=f"does not fit the model: .*{suffix} is {wanted}$"):
        load_model(path)


# Profiles


def test_profiles_travel_in_the_file(tiny_model: LoadedModel, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(replace(tiny_model, stated_profiles=ONE_STEP_PROFILES), path)
    assert load_model(path).profiles == ONE_STEP_PROFILES
    assert load_model(path).stated_profiles == ONE_STEP_PROFILES


def test_a_file_without_profiles_has_those_of_its_kind(
    tiny_file: Path, parity_model: LoadedModel
) -> None:
    assert load_model(tiny_file).stated_profiles is None
    assert load_model(tiny_file).profiles == V_PROFILES
    published = parity_model.profiles["accurate"]
    assert (published.steps, published.sampler, published.temperature) == (100, "ddpm", 1.0)


# What --weights takes


@pytest.mark.parametrize(
    ("transformer", "autoencoder"),
    [("transformer.pth", "vae.ckpt"), ("mar/city768.16.pth", "vae/modelf16.ckpt")],
)
def test_a_folder_with_the_published_pair(
    tmp_path: Path, parity: Path, parity_model: LoadedModel, transformer: str, autoencoder: str
) -> None:
    for source, target in (("transformer.pth", transformer), ("vae.ckpt", autoencoder)):
        (tmp_path / target).parent.mkdir(exist_ok=True)
        shutil.copyfile(parity / source, tmp_path / target)
    for weights in (tmp_path, str(tmp_path)):
        loaded = load_model(weights, num_heads=4)
        assert_same_tensors(loaded, parity_model)
        assert str(tmp_path / transformer) in loaded.source
    # The transformer file alone finds its autoencoder.
    assert_same_tensors(load_model(tmp_path / transformer, num_heads=4), parity_model)


def test_a_transformer_file_alone_reads_the_heads_beside_it(
    parity: Path, parity_model: LoadedModel
) -> None:
    for name in TRANSFORMER_FILES:
        loaded = load_model(parity / name)
        assert loaded.config.transformer.num_heads == 4
        assert loaded.source == f"{parity / name} + {parity / 'vae.ckpt'}"
    assert_same_tensors(load_model(parity / "transformer.pth"), parity_model)


def test_a_transformer_file_without_its_autoencoder_says_what_to_do(
    tmp_path: Path, parity: Path
) -> None:
    path = tmp_path / "transformer.pth"
    shutil.copyfile(parity / "transformer.pth", path)
    message = (
        rf"^{re.escape(str(path))} is one of two published files, and one autoencoder .* was not "
        r"found beside it or in ../vae; .* camseg convert TRANSFORMER AUTOENCODER --out"
    )
    with pytest.raises(CamsegError, match=message):
        load_model(path)
    for name in ("one.ckpt", "two.ckpt"):  # which one it is cannot be told
        shutil.copyfile(parity / "vae.ckpt", tmp_path / name)
    with pytest.raises(CamsegError, match=message):
        load_model(path)
    (tmp_path / "two.ckpt").unlink()
    assert load_model(path, num_heads=4).source.endswith("one.ckpt")


def test_a_folder_with_one_of_our_files(tiny_file: Path, tiny_model: LoadedModel) -> None:
    loaded = load_model(tiny_file.parent)
    assert_same_tensors(loaded, tiny_model)
    assert loaded.source == str(tiny_file)


@pytest.mark.parametrize("count", [0, 2])
def test_a_folder_with_nothing_to_choose_says_what_is_needed(
    tmp_path: Path, tiny_file: Path, count: int
) -> None:
    names = [f"{index}.safetensors" for index in range(count)]
    for name in names:
        shutil.copyfile(tiny_file, tmp_path / name)
    found = ", ".join(names) or "none"
    with pytest.raises(
        CamsegError,
        match=rf"^folder {re.escape(str(tmp_path))} holds no weights that can be chosen: "
        rf"mar/city768.16.pth \+ vae/modelf16.ckpt or transformer.pth \+ vae.ckpt, or exactly one "
        rf".safetensors file, is needed \(safetensors found: {found}\)$",
    ):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["none", "none.safetensors", "none/none", "n" * 300])
def test_missing_weights_say_what_to_give(name: str) -> None:
    with pytest.raises(
        CamsegError,
        match=f"^no such weights: {name}; give a .safetensors file, a folder, demo, or "
        r"random:PRESET \(camseg fetch-weights downloads the published ones\)$",
    ):
        load_model(name)


def test_random_weights_are_a_function_of_their_seed_alone() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one = load_model("random:tiny")
    assert torch.equal(torch.get_rng_state(), state)  # the global generator was left alone
    torch.manual_seed(4)
    two = load_model("random:tiny")
    assert_same_tensors(one, two)
    assert_same_tensors(one, random_model("tiny", seed=0))
    other = random_model("tiny", seed=1).model.state_dict()["transformer.z_proj1.weight"]
    assert not torch.equal(other, one.model.state_dict()["transformer.z_proj1.weight"])
    assert one.is_random
    assert one.weights_sha256 is None
    assert one.source == "random:tiny"
    assert one.config == PRESETS["tiny"]
    assert not one.model.training


@pytest.mark.parametrize("name", ["", "giant", "Tiny", " tiny"])
def test_an_unknown_preset_lists_those_there_are(name: str) -> None:
    with pytest.raises(
        CamsegError,
        match=f"^unknown preset '{name}'; the presets are tiny, demo, base-768, large-768, huge-7",
    ):
        load_model(f"random:{name}")


@pytest.mark.parametrize("options", [{"num_heads": 4}, {"variant": "model_ema"}])
def test_options_of_published_files_are_refused_elsewhere(
    tiny_file: Path, options: dict[str, Any]
) -> None:
    for source in (tiny_file, tiny_file.parent, "random:tiny"):
        with pytest.raises(CamsegError, match="is no published file: --heads and --ema choose"):
            load_model(source, **options)


def test_others_may_read_a_weights_file_as_they_may_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_model(random_model("tiny"), tmp_path / "model.safetensors")
    modes = [(tmp_path / name).stat().st_mode for name in ("plain", "model.safetensors")]
    assert modes[0] == modes[1]
