# SPDX-License-Identifier: Apache-2.0
"""The bundled weights give the same answer for a seed, however many images, threads and processes.

In float32: rounding in bfloat16 depends on the size of a matrix product, see docs/reliability.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from camseg_core.images.arrays import UInt8
from camseg_core.segmenter import SamplingOptions, Segmenter
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.weights.loading import load_model
from camseg_core.weights.onnx_export import export_onnx

Answer = tuple[NDArray[np.uint8], NDArray[np.float32]]
OPTIONS = SamplingOptions(steps=4, sampler="dpm-solver++", samples=2, seed=7)
SIZE = (512, 256)
SEGMENT = """
import sys
import numpy as np
import torch
from camseg_core.segmenter import SamplingOptions, Segmenter
torch.set_num_threads(int(sys.argv[3]))
options = SamplingOptions(**eval(sys.argv[4]))
results = Segmenter.load("demo").segment_batch(list(np.load(sys.argv[1])), options)
np.savez(
    sys.argv[2],
    class_ids=np.stack([one.class_ids for one in results]),
    probabilities=np.stack([one.class_probabilities for one in results]),
)
"""


@pytest.fixture(scope="module")
def images() -> list[UInt8]:
    drive = SyntheticDrive(9200, *SIZE, frames_per_sequence=40)
    return [drive.frame(index).image for index in (0, 11, 23)]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load("demo")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def expected(segmenter: Segmenter, images: list[UInt8]) -> Answer:
    torch.set_num_threads(1)
    return answer(segmenter, images)


def answer(segmenter: Segmenter, images: list[UInt8], batch_size: int = 1) -> Answer:
    results = [
        one
        for first in range(0, len(images), batch_size)
        for one in segmenter.segment_batch(images[first : first + batch_size], OPTIONS)
    ]
    return (
        np.stack([one.class_ids for one in results]),
        np.stack([one.class_probabilities for one in results]),
    )


def assert_same(found: Answer, expected: Answer) -> None:
    assert np.mean(found[0] == expected[0]) >= 0.999
    assert np.abs(found[1] - expected[1]).max() <= 1e-3


def test_batches_of_any_size(segmenter: Segmenter, images: list[UInt8], expected: Answer) -> None:
    for batch_size in (2, 3):
        assert_same(answer(segmenter, images, batch_size), expected)


def test_any_number_of_threads(segmenter: Segmenter, images: list[UInt8], expected: Answer) -> None:
    for count in (2, 3):
        torch.set_num_threads(count)
        assert_same(answer(segmenter, images), expected)


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_another_backend(
    provider: str, images: list[UInt8], expected: Answer, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="no ONNX Runtime")
    if provider == "openvino" and not any(
        "OpenVINO" in name for name in onnxruntime.get_available_providers()
    ):
        pytest.skip("this ONNX Runtime has no OpenVINO")
    export_onnx(load_model("demo"), tmp_path / "graphs", (SIZE[1], SIZE[0]))
    graphs = Segmenter.load(tmp_path / "graphs", backend="onnx", providers=[provider])
    assert_same(answer(graphs, images), expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_with_everything_fixed_processes_agree_to_the_bit(
    precision: str, images: list[UInt8], tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", np.stack(images[:1]))
    options = {"steps": 4, "samples": 2, "seed": 7, "precision": precision}
    contents = []
    for number in range(2):
        out = tmp_path / f"{number}.npz"
        command = [sys.executable, "-c", SEGMENT, str(tmp_path / "images.npy"), str(out)]
        subprocess.run(
            [*command, "2", repr(options)],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": str(number)},
        )
        with np.load(out) as loaded:
            contents.append({name: loaded[name] for name in loaded.files})
    first, second = contents
    assert np.array_equal(first["class_ids"], second["class_ids"])
    assert np.array_equal(first["probabilities"], second["probabilities"])
    assert len(np.unique(first["class_ids"])) > 5


def test_another_seed_is_another_answer(images: list[UInt8], segmenter: Segmenter) -> None:
    one = segmenter.segment(images[0], SamplingOptions(steps=4, initial_noise_scale=1.0, seed=1))
    two = segmenter.segment(images[0], SamplingOptions(steps=4, initial_noise_scale=1.0, seed=2))
    assert np.abs(one.class_probabilities - two.class_probabilities).max() > 0.01
