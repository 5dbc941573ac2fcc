# SPDX-License-Identifier: Apache-2.0
"""The latent cache: no bit of a run changes, nothing stale or damaged is read, what is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor
from training_runs import (
    assert_equal_tensors,
    log_of,
    tensors_of,
    train,
    train_with_two_processes,
    write_settings,
)

from camseg_core.data.datasets import open_dataset
from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.sample import Dataset
from camseg_core.errors import CamsegError
from camseg_core.models.autoencoder import Autoencoder, GaussianPosterior
from camseg_core.models.presets import preset
from camseg_core.system import files
from camseg_core.training import latent_cache
from camseg_core.training.__main__ import main
from camseg_core.training.augmentation import AugmentationConfig
from camseg_core.training.configuration import parse_settings
from camseg_core.training.latent_cache import (
    LatentCache,
    cache_key,
    cached_sources,
    check_augmentation,
)
from camseg_core.training.stages import make_stage
from camseg_core.weights.loading import LoadedModel, random_model, save_model

Settings = Callable[..., dict[str, Any]]

FLIPS_ALONE = {"scale_range": [1.0, 1.0], "rotation_range_degrees": [0.0, 0.0]}
NO_COLORS = {
    "brightness_range": [1.0, 1.0],
    "contrast_range": [1.0, 1.0],
    "saturation_range": [1.0, 1.0],
    "hue_range": [0.0, 0.0],
    "blur_sigma_range": [0.0, 0.0],
    "noise_sigma_range": [0.0, 0.0],
}
TINY = preset("tiny")


def tiny_with_shared_encoder() -> LoadedModel:
    """The autoencoder encodes images too, as in the published model."""
    assert TINY.mask_decoder is not None
    return random_model(
        replace(
            TINY,
            image_encoder=None,
            transformer=replace(TINY.transformer, image_token_channels=16),
            mask_decoder=replace(TINY.mask_decoder, feature_channels=()),
        )
    )


def tiny_with_codebook() -> LoadedModel:
    return random_model(
        replace(TINY, autoencoder=replace(TINY.autoencoder, bottleneck="vq", codebook_size=24))
    )


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect how many pictures the autoencoder encodes at once."""
    counts: list[int] = []
    real = Autoencoder.posterior

    def counting(self: Autoencoder, image: Tensor) -> GaussianPosterior:
        counts.append(len(image))
        return real(self, image)

    monkeypatch.setattr(Autoencoder, "posterior", counting)
    return counts


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three samples a file: a posterior of `tiny` has 1 KiB, and there are two a sample."""
    default_mib = 16
    monkeypatch.setattr(latent_cache, "MIB", (latent_cache.HEADER_BYTES + 7 * 1024) // default_mib)


def files_of(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*"))


# No bit changes


@pytest.mark.parametrize(
    ("stage", "model", "precision", "pictures"),
    [
        ("transformer", None, "float32", 1),
        ("transformer", None, "bfloat16", 1),
        ("mask-decoder", None, "float32", 1),
        ("transformer", tiny_with_codebook, "float32", 1),
        ("transformer", tiny_with_shared_encoder, "float32", 2),
        ("mask-decoder", tiny_with_shared_encoder, "float32", 1),
        ("finetune", tiny_with_shared_encoder, "float32", 1),
    ],
)
@pytest.mark.usefixtures("small_files")
def test_a_run_with_a_cache_has_the_same_bits(
    tmp_path: Path,
    settings: Settings,
    encoded: list[int],
    stage: str,
    model: Callable[[], LoadedModel] | None,
    precision: str,
    pictures: int,
) -> None:
    colors = NO_COLORS if model is tiny_with_shared_encoder else {}
    content = settings(
        stage, steps=6, save_every=6, precision=precision, accumulation=2,
        data__augmentation={**FLIPS_ALONE, **colors},
    )  # fmt: skip
    if model is not None:
        save_model(model(), tmp_path / "first.safetensors")
        content["init_from"] = str(tmp_path / "first.safetensors")
    plain = train(tmp_path, content)
    assert encoded == [2] * (pictures * 6 * 2)  # images of a part of a batch; in each of 6 steps
    encoded.clear()
    content["data"]["latent_cache"] = str(tmp_path / "latents")
    cached = train(tmp_path, content)
    assert encoded == [2] * (pictures * 2 * 16 // 2)  # 16 samples, plain and mirrored, once
    assert_equal_tensors(tensors_of(plain), tensors_of(cached))
    assert log_of(plain) == log_of(cached)


@pytest.mark.usefixtures("small_files")
def test_resuming_with_a_cache_changes_no_bit(
    tmp_path: Path, settings: Settings, encoded: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    content = settings(
        steps=5, data__augmentation=FLIPS_ALONE, data__latent_cache=str(tmp_path / "latents")
    )
    whole = train(tmp_path, content)
    (folder,) = (tmp_path / "latents").iterdir()
    assert f"latent cache {folder}: encoding 16 of 16 samples\n" in capsys.readouterr().out
    assert len(encoded) == 8
    stopped = train(tmp_path, content | {"steps": 3})
    assert main(["--resume", str(stopped), "--set", "steps=5"]) == 0
    assert capsys.readouterr().out.count(f"latent cache {folder}: found 16 samples\n") == 2
    assert len(encoded) == 8
    assert_equal_tensors(tensors_of(whole), tensors_of(stopped))
    assert log_of(whole) == log_of(stopped)


def test_two_processes_share_the_work(
    tmp_path: Path, settings: Settings, encoded: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    # Latents of 16 x 32: 128 KiB a sample, so that 16 samples need three files of 1 MiB.
    content = settings(
        steps=2, batch_size=2, max_file_mib=1, input_height=256, input_width=512, save_every=2,
        optimizer__name="sgd", data__augmentation=FLIPS_ALONE,
        data__latent_cache=str(tmp_path / "latents"),
    )  # fmt: skip
    two = train_with_two_processes(tmp_path, content | {"output_dir": str(tmp_path / "two")})
    assert [path.name for path in files_of(tmp_path / "latents")] == [
        "samples-000000-000006.safetensors", "samples-000007-000013.safetensors",
        "samples-000014-000015.safetensors",
    ]  # fmt: skip
    assert all(path.stat().st_size <= 2**20 for path in files_of(tmp_path / "latents"))
    one = train(tmp_path, content)
    assert "found 16 samples" in capsys.readouterr().out
    assert encoded == []
    for alone, together in zip(log_of(one), log_of(two), strict=True):
        assert alone["loss"] == pytest.approx(together["loss"], rel=1e-5, abs=1e-5)


# Filled in parts, damaged, full


@pytest.mark.usefixtures("small_files")
def test_a_killed_fill_goes_on(
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = settings(
        steps=2, data__augmentation=FLIPS_ALONE, data__latent_cache=str(tmp_path / "latents")
    )
    real, written = files.write_bytes, []

    def killed(path: Path, content: bytes) -> None:
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(path)
        real(path, content)

    monkeypatch.setattr(latent_cache, "write_bytes", killed)
    assert main(["--config", str(write_settings(tmp_path, content))]) == 130
    assert files_of(tmp_path / "latents") == written
    monkeypatch.setattr(latent_cache, "write_bytes", real)
    capsys.readouterr()
    run = train(tmp_path, content)
    assert "encoding 4 of 16 samples\n" in capsys.readouterr().out  # 3 + 1 of the last two files
    content["data"]["latent_cache"] = str(tmp_path / "another")
    assert_equal_tensors(tensors_of(run), tensors_of(train(tmp_path, content)))
    for path, other in zip(
        files_of(tmp_path / "latents"), files_of(tmp_path / "another"), strict=True
    ):
        assert path.name == other.name
        assert tensors_in(path) == tensors_in(other)


def tensors_in(path: Path) -> dict[str, bytes]:
    from safetensors.numpy import load_file

    return {name: array.tobytes() for name, array in load_file(path).items()}


def one_bit_flipped(path: Path, _: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def cut_off(path: Path, _: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def of_other_samples(path: Path, other: Path) -> None:
    shutil.copy(other, path)


def test_a_fill_always_encodes_as_many_as_a_step(
    tmp_path: Path, settings: Settings, encoded: list[int]
) -> None:
    # 16 samples, 6 at once: the last time 4 and 2 copies, for the same bits as in a step of 6.
    content = settings(
        "mask-decoder", steps=1, batch_size=6, data__augmentation=FLIPS_ALONE,
        data__latent_cache=str(tmp_path / "latents"),
    )  # fmt: skip
    train(tmp_path, content)
    assert encoded == [6] * 3 * 2


@pytest.mark.parametrize("damage", [one_bit_flipped, cut_off, emptied, of_other_samples])
@pytest.mark.usefixtures("small_files")
def test_a_damaged_file_is_computed_again(
    tmp_path: Path,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path, Path], None],
) -> None:
    content = settings(
        steps=1, data__augmentation=FLIPS_ALONE, data__latent_cache=str(tmp_path / "latents")
    )
    train(tmp_path, content)
    paths = files_of(tmp_path / "latents")
    before = [tensors_in(path) for path in paths]
    damage(paths[1], paths[2])
    capsys.readouterr()
    train(tmp_path, content)
    assert "encoding 3 of 16 samples; damaged files: 1\n" in capsys.readouterr().out
    assert [tensors_in(path) for path in paths] == before


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_is_said_and_nothing_half_written_stays(
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = settings(
        steps=1, data__augmentation=FLIPS_ALONE, data__latent_cache=str(tmp_path / "latents")
    )
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(tmp_path / "latents")):
            calls.append(descriptor)
            if len(calls) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    assert main(["--config", str(write_settings(tmp_path, content))]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"camseg: cannot write {tmp_path / 'latents'}")
    assert message.endswith("samples-000006-000008.safetensors: No space left on device")
    assert [path.name for path in files_of(tmp_path / "latents")] == [
        "samples-000000-000002.safetensors", "samples-000003-000005.safetensors",
    ]  # fmt: skip


@hypothesis_settings(max_examples=15, deadline=None)
@given(
    samples=st.integers(1, 9),
    per_file=st.integers(1, 5),
    has_mirrored=st.booleans(),
    pictures=st.sampled_from([("mask",), ("image",), ("mask", "image")]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    samples: int,
    per_file: int,
    has_mirrored: bool,
    pictures: Any,
) -> None:
    shape = (2, 3, 1, 2)
    folder = tmp_path_factory.mktemp("cache")
    cache = LatentCache(folder, "key", pictures, has_mirrored, shape, samples, per_file)
    random = np.random.default_rng(samples)
    rows = [
        {name: random.normal(size=shape).astype(np.float32) for name in cache.tensor_names()}
        for _ in range(samples)
    ]
    rows[0] = {name: np.asfortranarray(row) for name, row in rows[0].items()}  # as networks give it
    for part in cache.files():
        assert not cache.is_intact(part)
        cache.write(part, rows[part.start : part.stop])
        assert cache.is_intact(part)
        assert not replace(cache, key="other").is_intact(part)
    assert [index for part in cache.files() for index in part] == list(range(samples))
    for index in range(samples):
        for mirrored in (False, True) if has_mirrored else (False,):
            read = cache.read(index, mirrored)
            assert tuple(read) == pictures
            for picture in pictures:
                name = f"{picture}-mirrored" if mirrored else picture
                np.testing.assert_array_equal(read[picture], rows[index][name])
    cache.path(cache.files()[-1]).unlink()
    with pytest.raises(CamsegError, match=r"cannot read .*safetensors: .*; --resume computes it"):
        cache.read(samples - 1, False)


# The key


@pytest.fixture
def own_root(drawn_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn_root, tmp_path / "own"))


def key_of(
    root: Path,
    loaded: LoadedModel | None = None,
    content: dict[str, Any] | None = None,
    change: Callable[[Dataset], Dataset] = lambda dataset: dataset,
) -> str:
    loaded = loaded or random_model("tiny")
    config = parse_settings({"stage": "transformer", **(content or {})})
    stage = make_stage("transformer", loaded.model, loaded.label_set, config.loss)
    label_set = find_label_set("cityscapes-train-ids")
    dataset = change(open_dataset("folder", root, "all", label_set=label_set))
    return cache_key(config, stage, dataset, cached_sources("transformer", loaded.config))


def test_the_key_follows_all_that_latents_depend_on(own_root: Path) -> None:
    keys = {"first": key_of(own_root)}
    loaded = random_model("tiny")
    with torch.no_grad():
        loaded.model.autoencoder.encoder.conv_in.bias[0] += 1e-6
    keys["weight"] = key_of(own_root, loaded)
    keys["config"] = key_of(
        own_root,
        random_model(replace(TINY, autoencoder=replace(TINY.autoencoder, latent_scale=0.5))),
    )
    loaded = random_model("tiny")
    palette = ((1, 2, 3), *loaded.label_set.palette[1:])
    keys["colour"] = key_of(
        own_root, replace(loaded, label_set=replace(loaded.label_set, palette=palette))
    )
    keys["input"] = key_of(
        own_root, random_model(replace(TINY, input=replace(TINY.input, resize="squash")))
    )
    keys["precision"] = key_of(own_root, content={"precision": "bfloat16"})
    keys["mirrored"] = key_of(
        own_root, content={"data": {"augmentation": {"flip_probability": 0.0}}}
    )
    keys["fewer"] = key_of(
        own_root, change=lambda dataset: replace(dataset, samples=dataset.samples[1:])
    )
    keys["renamed"] = key_of(
        own_root,
        change=lambda dataset: replace(
            dataset, samples=(replace(dataset.samples[0], name="x"), *dataset.samples[1:])
        ),
    )
    keys["mapped"] = key_of(
        own_root,
        change=lambda dataset: replace(
            dataset, label_set=replace(dataset.label_set, source_ids={0: 1})
        ),
    )
    keys["images too"] = key_of(own_root, tiny_with_shared_encoder())
    shutil.copy(own_root / "labels" / "01.png", own_root / "labels" / "00.png")
    keys["label"] = key_of(own_root)
    assert len(set(keys.values())) == len(keys), json.dumps(keys, indent=1)


def test_the_key_leaves_out_what_latents_do_not_depend_on(own_root: Path) -> None:
    first, first_shared = key_of(own_root), key_of(own_root, tiny_with_shared_encoder())
    content = {
        "seed": 5, "steps": 9, "batch_size": 2, "max_file_mib": 3,
        "data": {"root": "elsewhere", "augmentation": {"flip_probability": 0.3}},
    }  # fmt: skip
    loaded = random_model("tiny")
    with torch.no_grad():
        loaded.model.denoiser.input_proj.bias += 1.0
    assert key_of(own_root, loaded, content) == first
    # Images count where they are encoded too, and only there.
    shutil.copy(own_root / "images" / "01.png", own_root / "images" / "00.png")
    assert key_of(own_root) == first
    assert key_of(own_root, tiny_with_shared_encoder()) != first_shared


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"scale_range": (0.75, 1.5)},
            "data.augmentation.scale_range is [0.75, 1.5]; data.latent_cache allows no change of "
            "the geometry but flips: set data.augmentation.scale_range=[1.0, 1.0]",
        ),
        (
            {"rotation_range_degrees": (-1.0, 0.0), "scale_range": (1.0, 1.1)},
            "data.augmentation.scale_range is [1.0, 1.1]; data.latent_cache allows no change of "
            "the geometry but flips: set data.augmentation.scale_range=[1.0, 1.0] "
            "data.augmentation.rotation_range_degrees=[0.0, 0.0]",
        ),
        (
            {"crop_size": (16, 64)},
            "data.augmentation.crop_size is [16, 64]; data.latent_cache needs the model's input, "
            "[32, 64]: leave crop_size out",
        ),
        (
            {"hue_range": (0.0, 0.1), "noise_sigma_range": (0.0, 2.0)},
            "data.augmentation.hue_range is [0.0, 0.1]; data.latent_cache keeps image latents too "
            "(the autoencoder encodes images), so that colours, blur and noise cannot change: set "
            "data.augmentation.hue_range=[0.0, 0.0] data.augmentation.noise_sigma_range=[0.0, 0.0]",
        ),
    ],
)
def test_an_augmentation_that_makes_more_latents_is_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(CamsegError) as error:
        check_augmentation(
            replace(AugmentationConfig.disabled(), **change), TINY, ("mask", "image")
        )
    assert str(error.value) == message


def test_flips_and_where_images_are_not_encoded_colours_are_allowed() -> None:
    flips = replace(AugmentationConfig.disabled(), flip_probability=0.5, crop_size=(32, 64))
    check_augmentation(flips, TINY, ("mask", "image"))
    check_augmentation(
        replace(AugmentationConfig(), scale_range=(1, 1), rotation_range_degrees=(0, 0)),
        TINY,
        ("mask",),
    )


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("autoencoder", "stage autoencoder changes the latents in each step; leave data.latent"),
        ("finetune", "stage finetune reads no mask latents; leave data.latent_cache out"),
    ],
)
def test_stages_without_use_for_a_cache_are_refused(
    tmp_path: Path,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    message: str,
) -> None:
    content = settings(
        stage, data__augmentation=FLIPS_ALONE, data__latent_cache=str(tmp_path / "latents")
    )
    assert main(["--config", str(write_settings(tmp_path, content))]) == 2
    assert f"camseg: {message}" in capsys.readouterr().err
    assert not (tmp_path / "latents").exists()


def test_what_each_stage_reads() -> None:
    shared = tiny_with_shared_encoder().config
    assert cached_sources("transformer", TINY) == ("mask",)
    assert cached_sources("transformer", shared) == ("mask", "image")
    assert cached_sources("mask-decoder", shared) == ("mask",)
    assert cached_sources("finetune", shared) == ("image",)


def test_a_sample_that_does_not_fill_the_input_is_refused(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    content = settings(
        input_height=64, data__augmentation=FLIPS_ALONE,
        data__latent_cache=str(tmp_path / "latents"),
    )  # fmt: skip
    assert main(["--config", str(write_settings(tmp_path, content))]) == 2
    assert (
        "00.png becomes 64 x 32 in the model's input of 64 x 64, where its place is drawn anew in "
        "each step; data.latent_cache needs input_height=32 input_width=64, or no cache"
    ) in capsys.readouterr().err
    assert files_of(tmp_path / "latents") == []
