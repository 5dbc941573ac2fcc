# SPDX-License-Identifier: Apache-2.0
"""Models, images and videos that the tests of the core share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_models import tiny_config_of_colors

from camseg_core.images.arrays import UInt8
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import LoadedModel, load_model, random_model, save_model

# The models here are so small that a second thread costs more than it does, and many times more
# where other processes want the processor too.
torch.set_num_threads(1)

PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="session")
def parity() -> Path:
    """The folder with small files in the published formats; not to be written to."""
    return PARITY


@pytest.fixture(scope="session")
def parity_model(parity: Path) -> LoadedModel:
    return load_model(parity)


@pytest.fixture(scope="session")
def parity_segmenter(parity: Path) -> Segmenter:
    return Segmenter.load(parity)


@pytest.fixture(scope="session")
def tiny_model() -> LoadedModel:
    return random_model("tiny")


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny preset as a file of ours; not to be written to."""
    path = tmp_path_factory.mktemp("tiny") / "model.safetensors"
    save_model(random_model("tiny"), path)
    return path


def stirred(loaded: LoadedModel) -> LoadedModel:
    """Stir the weights.

    By its initialisation the denoiser's output is zero whatever it reads, so that nothing of the
    image would reach a result.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part, scale in ((loaded.model.denoiser, 0.05), (loaded.model.transformer, 0.02)):
            for parameter in part.parameters():
                parameter += scale * torch.randn(parameter.shape, generator=generator)
    return loaded


@pytest.fixture(scope="session")
def tiny_segmenter() -> Segmenter:
    """A tiny model with one encoder for images and colour masks, and palette decoding."""
    return Segmenter(stirred(random_model(tiny_config_of_colors())))


@pytest.fixture(scope="session")
def light_segmenter() -> Segmenter:
    """The tiny preset as it is: light image encoder, class latents, mask decoder."""
    return Segmenter(stirred(random_model("tiny")))


@pytest.fixture(scope="session")
def random_image() -> Callable[..., UInt8]:
    """Return a smooth random RGB image of any size, the same for the same seed."""

    def make(height: int, width: int, seed: int = 0) -> UInt8:
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
        resized = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(resized, np.uint8).reshape(height, width, 3)

    return make


@pytest.fixture(scope="session")
def write_image(random_image: Callable[..., UInt8]) -> Callable[..., Path]:
    """Write a random image of a given size as a file; its format is that of the suffix."""

    def write(path: Path, height: int = 40, width: int = 60, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), random_image(height, width, seed)[..., ::-1])
        return path

    return write


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Write a video: frame i is plain grey of value 20 i, or noise where that is asked for."""

    def write(
        path: Path, frames: int = 5, height: int = 32, width: int = 48, *, noise: bool = False
    ) -> Path:
        rng = np.random.default_rng(0)
        code = "MJPG" if path.suffix == ".avi" else "mp4v"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, (width, height))
        assert writer.isOpened()
        for index in range(frames):
            plain = np.full((height, width, 3), 20 * index % 256, np.uint8)
            writer.write(rng.integers(0, 256, plain.shape, np.uint8) if noise else plain)
        writer.release()
        return path

    return write


@pytest.fixture(scope="session")
def run_camseg() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own."""

    def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "camseg_core.cli", *map(str, arguments)],
            cwd=cwd,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run
