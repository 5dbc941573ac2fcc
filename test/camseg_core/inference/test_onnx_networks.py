# SPDX-License-Identifier: Apache-2.0
"""Exported graphs compute what torch does in float32, and say what they were made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from camseg_core.cli import main
from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.inference.backends import PROVIDERS
from camseg_core.inference.known_answer import check_known_answer
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import LoadedModel, load_model, random_model, save_model
from camseg_core.weights.onnx_export import export_onnx

Exported = Callable[[str], Path]


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, light_segmenter: Segmenter, parity_model: LoadedModel
) -> Exported:
    """Return the folder of an export, made once: light encoder and classes, or published parts."""
    root = tmp_path_factory.mktemp("onnx")
    models = {"light": light_segmenter.loaded, "parity": parity_model}

    def folder(name: str) -> Path:
        path = root / name
        if not path.exists():
            export_onnx(models[name], path)
        return path

    return folder


def onnx_segmenter(folder: Path, **options: Any) -> Segmenter:
    return Segmenter.load(folder, backend="onnx", **options)


@pytest.mark.parametrize("name", ["light", "parity"])
@pytest.mark.parametrize(
    "options",
    [SamplingOptions(steps=1), SamplingOptions(steps=4, sampler="dpm-solver++", samples=2)],
)
def test_probabilities_and_classes_are_those_of_torch(
    exported: Exported, random_image: Callable[..., UInt8], name: str, options: SamplingOptions
) -> None:
    folder = exported(name)
    size = load_model(folder).config.input
    images = [random_image(size.height, size.width, seed) for seed in range(3)]
    for count in (1, 3):  # the graphs take any number of images
        found = onnx_segmenter(folder).segment_batch(images[:count], options)
        expected = Segmenter.load(folder).segment_batch(images[:count], options)
        for one, other in zip(found, expected, strict=True):
            assert np.abs(one.class_probabilities - other.class_probabilities).max() < 1e-3
            assert np.mean(one.class_ids == other.class_ids) > 0.999


@pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has no OpenVINO",
)
@pytest.mark.parametrize("name", ["light", "parity"])
def test_openvino_computes_in_the_precision_that_is_asked_for(
    exported: Exported, random_image: Callable[..., UInt8], name: str
) -> None:
    folder = exported(name)
    size = load_model(folder).config.input
    image = random_image(size.height, size.width, 1)
    options = SamplingOptions(steps=4, sampler="dpm-solver++")
    expected = Segmenter.load(folder).segment(image, options)
    segmenter = onnx_segmenter(folder, providers=["openvino"])
    found = segmenter.segment(image, options)
    assert np.abs(found.class_probabilities - expected.class_probabilities).max() < 1e-3
    assert np.mean(found.class_ids == expected.class_ids) > 0.999
    # In bfloat16 they differ, where the machine has it, as much as torch's bfloat16 may.
    rounded = segmenter.segment(image, replace(options, precision="bfloat16"))
    assert np.abs(rounded.class_probabilities - expected.class_probabilities).mean() < 0.05
    again = segmenter.segment(image, options)
    assert np.array_equal(again.class_probabilities, found.class_probabilities)


@pytest.mark.parametrize("providers", [[], ["openvino"]])
def test_graphs_compute_the_known_answer_that_the_weights_beside_them_carry(
    exported: Exported, providers: list[str]
) -> None:
    names = onnxruntime.get_available_providers()
    if any(PROVIDERS[provider] not in names for provider in providers):
        pytest.skip("this ONNX Runtime has no OpenVINO")
    segmenter = onnx_segmenter(exported("parity"), providers=providers)
    answer, size = segmenter.loaded.known_answer, segmenter.loaded.config.input
    assert answer is not None
    assert (answer.height, answer.width) == (size.height, size.width)  # the only one they take
    for precision in ("float32", "bfloat16"):
        check_known_answer(segmenter.networks, answer, precision)


def test_graphs_say_what_they_are(exported: Exported) -> None:
    folder = exported("light")
    loaded = load_model(folder)
    for part in ("condition", "denoiser", "decoder"):
        graph = onnxruntime.InferenceSession(str(folder / f"{part}.onnx"))
        said = json.loads(graph.get_modelmeta().custom_metadata_map["camseg"])
        assert said["part"] == part
        assert said["weights_sha256"] == loaded.weights_sha256
        assert (said["input_height"], said["input_width"]) == (32, 64)
        assert (said["mean"], said["deviation"], said["opset"]) == (127.5, 127.5, 20)
        assert said["classes"] == list(loaded.label_set.names)
        assert said["profiles"]["fast"]["steps"] == 1


def test_a_size_of_its_own(
    tmp_path: Path, random_image: Callable[..., UInt8], write_image: Callable[..., Path]
) -> None:
    loaded, out = random_model("tiny"), tmp_path / "out"
    assert main(["export", "--weights", "random:tiny", "--out", str(out), "--size", "32x32"]) == 0
    image = write_image(tmp_path / "square.png", 50, 50)
    for backend in ("torch", "onnx"):
        options = ["--backend", backend, "--precision", "float32", "--weights", str(out)]
        assert main(["segment", str(image), *options, "--out", str(tmp_path / backend)]) == 0
    by_torch, by_onnx = (
        (tmp_path / backend / "square_ids.png").read_bytes() for backend in ("torch", "onnx")
    )
    assert by_torch == by_onnx
    assert onnx_segmenter(tmp_path / "out").segment(random_image(50, 50)).class_ids.shape == (
        50,
        50,
    )
    with pytest.raises(CamsegError, match="the graphs take 32 x 32, the image is 64 x 32 at the "):
        onnx_segmenter(tmp_path / "out").segment(random_image(32, 64))
    with pytest.raises(CamsegError, match="is not empty"):
        export_onnx(loaded, tmp_path / "out")
    with pytest.raises(CamsegError, match="size 33x32: multiples of 16 are needed"):
        export_onnx(loaded, tmp_path / "other", (32, 33))


def test_graphs_of_other_weights_are_refused(exported: Exported, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(exported("light"), folder)
    save_model(random_model("tiny"), folder / "model.safetensors")
    with pytest.raises(CamsegError, match=r"condition\.onnx was made of other weights"):
        onnx_segmenter(folder)
    (folder / "condition.onnx").write_bytes(b"no graph")
    with pytest.raises(CamsegError, match=r"cannot open .*condition\.onnx: "):
        onnx_segmenter(folder)


def test_what_cannot_be_run_is_said(
    exported: Exported, tiny_file: Path, random_image: Callable[..., UInt8]
) -> None:
    with pytest.raises(CamsegError, match=r"has no condition\.onnx beside it; camseg export"):
        onnx_segmenter(tiny_file)
    folder = exported("parity")
    with pytest.raises(CamsegError, match="unknown provider 'gpu'; one of cpu, openvino, cuda, "):
        onnx_segmenter(folder, providers=["gpu"])
    with pytest.raises(CamsegError, match="this ONNX Runtime has no provider 'tensorrt'; it has "):
        onnx_segmenter(folder, providers=["tensorrt"])
    with pytest.raises(CamsegError, match="unknown backend 'tvm'; one of torch, onnx"):
        Segmenter.load(folder, backend="tvm")  # type: ignore[arg-type]  # the error
    with pytest.raises(CamsegError, match="backend onnx takes them"):
        Segmenter.load(folder, providers=["cpu"])
    segmenter, options = onnx_segmenter(folder), SamplingOptions(steps=1)
    image = random_image(64, 64)
    with pytest.raises(CamsegError, match="rounds is 2; backend onnx generates all tokens at once"):
        segmenter.segment(image, replace(options, rounds=2))
    with pytest.raises(CamsegError, match="no noise of it"):
        segmenter.segment(image, replace(options, sample_image_latent=True))
