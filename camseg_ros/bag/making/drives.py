# SPDX-License-Identifier: Apache-2.0
"""Drives to make bags of: from data sets, videos, folders of images, or the synthetic world."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from sensor_msgs.msg import CameraInfo

from camseg_core.data.layout import PARTS
from camseg_core.data.sample import Dataset, SampleMetadata
from camseg_core.data.synthetic_manifest import SYNTHETIC
from camseg_core.images.arrays import UInt8
from camseg_core.images.reading import Source, find_sources, read_frames
from camseg_core.labels import CITYSCAPES
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.synthetic.world.world import FRAME_INTERVAL_S
from camseg_ros.bag.about import AboutDrive
from camseg_ros.bag.making.calibration import find_camera_info, pinhole_info
from camseg_ros.bag.making.stamps import find_stamps

REFERENCE = PARTS[1]


@dataclass(frozen=True)
class DriveFrame:
    """One frame of a drive.

    Attributes:
        image: RGB uint8 [H, W, 3].
        class_ids: Ground truth, uint8 [H, W], 255 = unlabeled; None if there is none.
        time_ns: Time at which the frame was taken, nanoseconds since the epoch if the data states
            it, else since the start of the drive; None if unknown.
        camera_info: Calibration of the camera; None if there is none.
        begins: True for the first frame of a sequence.
    """

    image: UInt8
    class_ids: UInt8 | None = None
    time_ns: int | None = None
    camera_info: CameraInfo | None = None
    begins: bool = False


@dataclass(frozen=True)
class Drive:
    """A run of frames that becomes one bag.

    Attributes:
        name: Name of the bag.
        about: Origin of the frames and meaning of the ground truth.
        count: Number of frames; None if a video does not state it.
        frames: Function that returns the frames, one at a time.
        is_absolute: True if times count from the epoch.
    """

    name: str
    about: AboutDrive
    count: int | None
    frames: Callable[[], Iterator[DriveFrame]]
    is_absolute: bool = False


def dataset_drives(dataset: Dataset) -> list[Drive]:
    """Return the drives of a data set: one for each sequence, part and condition.

    If most sequences are single images, as in much of Cityscapes, each folder is one drive.
    """
    samples = dataset.samples
    sequences = Counter(map(_sequence_key, samples))
    by_folder = len(sequences) > len(dataset) / 2
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        key = _folder_key(sample) if by_folder else _sequence_key(sample)
        groups.setdefault(key, []).append(index)
    drives: list[Drive] = []
    names: Counter[str] = Counter()
    for indices in groups.values():
        first = samples[indices[0]]
        name = _drive_name(first, by_folder)
        names[name] += 1
        name += f"-{names[name]}" if names[name] > 1 else ""
        about = AboutDrive(
            dataset.label_set,
            dataset=first.dataset,
            split=first.split,
            part=first.part,
            condition=first.condition,
            sequence=name if by_folder else first.sequence,
        )
        indices.sort(
            key=lambda i: (_sequence_key(samples[i]), samples[i].frame_index, samples[i].name)
        )
        drives.append(Drive(name, about, len(indices), partial(_dataset_frames, dataset, indices)))
    return drives


def input_drives(path: Path) -> list[Drive]:
    """Return one drive of a video, of an image, or of the images in and below a folder.

    Raises:
        CamsegError: There is nothing to read, or a file of times does not match the images.
    """
    sources = find_sources(path)
    name = path.resolve().stem if path.is_file() else path.resolve().name
    about = AboutDrive(dataset="files", sequence=name)
    stamps = None
    count = sources[0].frame_count or None
    if not sources[0].is_video:
        stamps = find_stamps(path, [source.path for source in sources])
        count = len(sources)
    frames = partial(_file_frames, sources, stamps)
    return [Drive(name, about, count, frames, is_absolute=stamps is not None)]


def synthetic_drives(frames: int, drive: SyntheticDrive) -> list[Drive]:
    """Return one drive of the first ``frames`` frames of a synthetic drive."""
    name = f"{SYNTHETIC}_{drive.condition}_{drive.seed}"
    about = AboutDrive(
        CITYSCAPES, dataset=SYNTHETIC, condition=drive.condition, sequence=f"{drive.seed:04d}"
    )
    return [Drive(name, about, frames, partial(_synthetic_frames, drive, frames))]


def _dataset_frames(dataset: Dataset, indices: Iterable[int]) -> Iterator[DriveFrame]:
    earlier = None
    for index in indices:
        sample = dataset.read(index)
        key = _sequence_key(sample.metadata)
        height, width = sample.image.shape[:2]
        yield DriveFrame(
            sample.image,
            sample.class_ids,
            camera_info=find_camera_info(dataset.root, sample.metadata, height, width),
            begins=key != earlier,
        )
        earlier = key


def _file_frames(sources: list[Source], stamps: list[int] | None) -> Iterator[DriveFrame]:
    for index, source in enumerate(sources):
        for frame in read_frames(source):
            yield DriveFrame(frame.image, time_ns=stamps[index] if stamps else frame.time_ns)


def _synthetic_frames(drive: SyntheticDrive, count: int) -> Iterator[DriveFrame]:
    for index in range(count):
        frame = drive.frame(index)
        camera = frame.camera
        center = (camera.center_x - 0.5, camera.center_y - 0.5)
        yield DriveFrame(
            frame.image,
            frame.class_ids,
            time_ns=round(1e9 * index * FRAME_INTERVAL_S),
            camera_info=pinhole_info(camera.focal_px, *center, (camera.height, camera.width)),
            begins=index % drive.frames_per_sequence == 0,
        )


def _folder_key(sample: SampleMetadata) -> tuple[str, ...]:
    return (sample.part, sample.condition, str(Path(sample.name).parent))


def _sequence_key(sample: SampleMetadata) -> tuple[str, ...]:
    return (*_folder_key(sample), sample.sequence)


def _drive_name(sample: SampleMetadata, by_folder: bool) -> str:
    sequence = "" if by_folder else sample.sequence
    parts = [
        REFERENCE if sample.part == REFERENCE else "",
        sample.condition if sample.part and sample.part != REFERENCE else "",
        sequence or Path(sample.name).parent.name or sample.dataset,
    ]
    return re.sub(r"[^\w.-]", "_", "-".join(filter(None, parts)))


def shortened(drive: Drive, most: int | None) -> Drive:
    """Return a drive of at most the first ``most`` frames; None keeps all."""
    if most is None:
        return drive
    return replace(
        drive, frames=lambda: islice(drive.frames(), most), count=min(most, drive.count or most)
    )
