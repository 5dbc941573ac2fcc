# SPDX-License-Identifier: Apache-2.0
"""A synthetic data set for tests of whole evaluations, and simulated runs for tests of the
report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_records import made_record, made_run, made_session

from camseg_core.data.datasets import open_dataset
from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.sample import Dataset, Sample, SampleMetadata
from camseg_core.evaluation.corruptions import Corruption
from camseg_core.evaluation.frames import FrameKeeper
from camseg_core.evaluation.metrics.calibration_counts import measure_calibration
from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.evaluation.metrics.published import Protocol
from camseg_core.evaluation.records import ImageRecord, RecordWriter, open_run
from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED, LabelSet

SEQUENCES = ("one", "two", "three")
IMAGES = 7


@pytest.fixture(scope="session")
def drawn_root(
    tmp_path_factory: pytest.TempPathFactory, random_image: Callable[..., UInt8]
) -> Path:
    """A folder pair of seven images, 48 x 32, with rectangles of the 19 classes and of 255."""
    root = tmp_path_factory.mktemp("drawn")
    for index in range(IMAGES):
        rng = np.random.default_rng(index)
        class_ids = np.full((32, 48), rng.integers(0, 19), np.uint8)
        for class_id in [*rng.integers(0, 19, 6), 255]:
            top, left = rng.integers(0, 24), rng.integers(0, 40)
            class_ids[top : top + 8, left : left + 12] = class_id
        name = f"frame_{index:04d}.png"
        for folder, picture in (("images", random_image(32, 48, index)), ("labels", class_ids)):
            (root / folder).mkdir(exist_ok=True)
            assert cv2.imwrite(str(root / folder / name), picture)
    return root


@pytest.fixture(scope="session")
def drawn(drawn_root: Path) -> Dataset:
    """The synthetic data set, its images dealt out to three sequences."""
    dataset = open_dataset(
        "folder", drawn_root, "all", label_set=find_label_set("cityscapes-train-ids")
    )
    samples = tuple(
        replace(metadata, sequence=SEQUENCES[index % 3], frame_index=index)
        for index, metadata in enumerate(dataset.samples)
    )
    assert len(samples) == IMAGES
    return replace(dataset, samples=samples)


@dataclass(frozen=True)
class SimulatedImage:
    """An image, its ground truth, and where it comes from."""

    name: str
    image: UInt8
    truth: UInt8
    part: str = ""
    condition: str = "clear"
    sequence: str = ""


@pytest.fixture(scope="session")
def simulate_run() -> Callable[..., Path]:
    """Write a run as an evaluation does, without a network: see `simulate`."""
    return simulate


@pytest.fixture(scope="session")
def simulated_images() -> Callable[..., list[SimulatedImage]]:
    """Return synthetic images, 64 x 48: a sky, a road and rectangles of other classes, some
    unlabeled.
    """

    def draw(
        count: int, num_classes: int, conditions: tuple[str, ...] = ("clear",), part: str = ""
    ) -> list[SimulatedImage]:
        images = []
        for index in range(count):
            rng = np.random.default_rng(index)
            truth = np.zeros((48, 64), np.uint8)
            truth[24:] = 1 % num_classes
            for class_id in [*rng.integers(0, num_classes, 8), UNLABELED]:
                top, left = rng.integers(0, 36), rng.integers(0, 48)
                truth[top : top + 12, left : left + 16] = class_id
            image = rng.integers(0, 256, (256, 3), np.uint8)[truth]
            condition = conditions[index % len(conditions)]
            name = f"{part}{condition}/frame_{index:04d}.png"
            images.append(
                SimulatedImage(name, image, truth, part, condition, f"drive {index // 2}")
            )
        return images

    return draw


def simulate(
    out: Path,
    images: list[SimulatedImage],
    label_set: LabelSet,
    *,
    steps: tuple[int, ...] = (1, 4),
    corruptions: tuple[Corruption, ...] = (),
    protocol: Protocol = "official",
    is_random: bool = False,
    dataset: str = "drawn",
    weights: str = "weights.safetensors",
    sampling: dict[str, object] | None = None,
    default_sampling: dict[str, object] | None = None,
) -> Path:
    """Write a run: predictions are the ground truth with soft borders, noise and too much
    confidence.
    """
    run = made_run(
        dataset=dataset,
        protocol=protocol,
        label_set=label_set.to_dict(),
        weights_sha256=None if is_random else "0123456789abcdef" * 4,
        is_random=is_random,
        model={"name": "demo"},
        sampling=sampling or {"sampler": "ddpm", "temperature": 1.0, "seed": 0, "rounds": 1},
    )
    folder = open_run(out, run)
    tasks = [("none", 0.0, 0.0)]
    tasks += [(c.name, c.level, abs(c.level) / (20 + abs(c.level))) for c in corruptions]
    with RecordWriter(folder, 0, 1) as writer:
        writer.write(made_session(weights=weights, default_sampling=default_sampling))
        keeper = FrameKeeper(folder, label_set, [])
        for (place, sample), (name, level, severity), count in product(
            enumerate(images), tasks, steps
        ):
            noise = 0.5 + 0.8 / count + 2.0 * severity + 0.6 * (sample.condition != "clear")
            rng = np.random.default_rng([place, count, int(100 * severity)])
            record, pictures = _simulate_image(sample, label_set, noise, rng)
            times = {"image": 0.02, "steps": 0.005 * count}
            record = replace(record, corruption=name, level=level, steps=count, stage_seconds=times)
            if record.frame_score is not None:
                keeper.offer(record.frame_score, *pictures)
            writer.write(record)
        keeper.prune()
    return folder


def _simulate_image(
    sample: SimulatedImage, label_set: LabelSet, noise: float, rng: np.random.Generator
) -> tuple[ImageRecord, tuple[Sample, UInt8, UInt8]]:
    """Predict one image; ``noise`` is in logits."""
    height, width = sample.truth.shape
    num_classes = label_set.num_classes
    logits = np.empty((num_classes, height, width), np.float32)
    for class_id in range(num_classes):
        soft = cv2.GaussianBlur((sample.truth == class_id).astype(np.float32), (0, 0), 2.5)
        coarse = rng.standard_normal((height // 8 + 1, width // 8 + 1)).astype(np.float32)
        spots = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        logits[class_id] = 2.0 * (3.0 * soft + noise * spots)
    probabilities = np.exp(logits - logits.max(axis=0))
    probabilities /= probabilities.sum(axis=0)
    prediction = probabilities.argmax(axis=0).astype(np.uint8)
    prediction[:2] = UNLABELED
    record = made_record(
        sample=sample.name,
        part=sample.part,
        condition=sample.condition,
        sequence=sample.sequence,
        height=height,
        width=width,
        counts=confusion_counts(sample.truth, prediction, num_classes).tolist(),
        calibration=measure_calibration(probabilities, sample.truth, prediction).to_dict(),
    )
    confidence = (255 * probabilities.max(axis=0)).astype(np.uint8)
    metadata = SampleMetadata(sample.name, "drawn", "val")
    return record, (Sample(sample.image, sample.truth, metadata), prediction, confidence)
