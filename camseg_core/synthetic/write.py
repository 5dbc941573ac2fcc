# SPDX-License-Identifier: Apache-2.0
"""Write a synthetic drive into the folders of a data set, whole or not at all.

Frames are written into a hidden folder below the data set's and moved to their places at the end;
then ``synthetic.json`` says what is there. Several drives (splits, conditions, seeds) may share a
folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import numpy as np

from camseg_core.data.sample import CONDITIONS
from camseg_core.data.synthetic_manifest import MANIFEST, Manifest, WrittenDrive, read_manifest
from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.images.drawing import encode_jpeg
from camseg_core.labels import CITYSCAPES
from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.drive import GENERATOR_VERSION, SyntheticDrive
from camseg_core.synthetic.layouts import DRIVE_LAYOUTS, DriveLayout, FrameKey
from camseg_core.system.files import write_bytes
from camseg_core.system.progress import progress_bar


def labels_sha256(masks: Iterable[UInt8]) -> str:
    """Hash class ids, uint8 [H, W] each: sha256 over every mask's "W H " and its bytes.

    The ids themselves are hashed, not PNG files, whose bytes depend on the encoder's version.
    """
    digest = hashlib.sha256()
    for mask in masks:
        height, width = mask.shape
        digest.update(f"{width} {height} ".encode() + mask.tobytes())
    return digest.hexdigest()


def write_drive(
    out: Path, frames: int, seed: int, size: tuple[int, int] = (512, 256),
    condition: str = "clear", layout: str = "cityscapes", split: str = "train",
    frames_per_sequence: int = 20,
) -> WrittenDrive:  # fmt: skip
    """Write ``frames`` frames of a drive, from its first one on, below ``out``.

    ``out`` is a new or empty folder, or one that this function filled in the same layout, one of
    `DRIVE_LAYOUTS`. ``size`` is width and height of the images in pixels, the split train or val;
    for the other settings see `SyntheticDrive`.

    Raises:
        CamsegError: a value out of its range, a folder that holds other data or this drive
            already, or a file that cannot be written.
    """
    drive = SyntheticDrive(seed, *size, condition, frames_per_sequence)
    if frames < 1:
        raise CamsegError(f"{frames} frames: a whole number of at least 1 is needed")
    earlier = _read_manifest(out, layout)
    work = out / f".synthetic-{uuid4().hex}"
    try:
        work.mkdir(parents=True)
        image_folders: dict[str, None] = {}
        written_frames = _write_frames(
            work, drive, frames, DRIVE_LAYOUTS[layout], split, image_folders
        )
        digest = labels_sha256(written_frames)
        os.sync()  # once for all, where a sync a file would cost more than rendering it
        _move_into_place(work, out)
    except OSError as error:
        raise CamsegError(f"cannot write below {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    written = WrittenDrive(
        GENERATOR_VERSION, seed, condition, split, *size, frames, frames_per_sequence, digest,
        [*image_folders],
    )  # fmt: skip
    manifest = asdict(Manifest(layout, [*earlier, written]))
    write_bytes(out / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")
    return written


def _write_frames(
    work: Path, drive: SyntheticDrive, frames: int, layout: DriveLayout, split: str,
    image_folders: dict[str, None],
) -> Iterator[UInt8]:  # fmt: skip
    """Write frames one by one, note the folders of their images, and give the class ids of each."""
    cameras: list[Camera] = []
    with progress_bar(frames, "frame", "synth") as bar:
        for index in range(frames):
            sequence, number = divmod(index, drive.frames_per_sequence)
            key = FrameKey(drive.seed, drive.condition, split, sequence, number)
            frame = drive.frame(index)
            files = layout.frame_files(frame, key)
            image_folders.setdefault(next(iter(files)).rpartition("/")[0])
            cameras.append(frame.camera)
            if number == drive.frames_per_sequence - 1 or index == frames - 1:
                files.update(layout.sequence_files(cameras, key))
                cameras = []
            for name, content in files.items():
                path = work / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            bar.update()
            yield frame.class_ids


def _read_manifest(out: Path, layout: str) -> list[WrittenDrive]:
    """Return the drives that are in ``out`` already.

    Raises:
        CamsegError: the folder holds something else.
    """
    if not os.path.exists(out):  # pathlib's raises where a name is too long
        return []
    if not out.is_dir():
        raise CamsegError(f"{out} is a file; a folder is needed")
    path = out / MANIFEST
    try:
        others = [entry.name for entry in out.iterdir() if not entry.name.startswith(".synthetic-")]
        if not others:
            return []
        if MANIFEST not in others:
            raise CamsegError(
                f"{out} holds other data ({sorted(others)[0]}) and no {MANIFEST}; "
                "give a new or empty folder"
            )
        manifest = read_manifest(path)
    except OSError as error:
        raise CamsegError(f"cannot read {out}: {error.strerror or error}") from error
    problem = f"in the layout {manifest.layout}" if manifest.layout != layout else ""
    for drive in manifest.drives:
        if drive.generator_version != GENERATOR_VERSION:
            version = f"of generator version {drive.generator_version}"
            problem = f"{version}, this is version {GENERATOR_VERSION}"
    if problem:
        raise CamsegError(f"{out} holds a drive {problem}; give another folder")
    return manifest.drives


def _move_into_place(work: Path, out: Path) -> None:
    """Move all files below ``work`` to the same places below ``out``.

    Raises:
        CamsegError: one of the files is there already; nothing was moved.
    """
    files = sorted(path for path in work.rglob("*") if path.is_file())
    targets = [out / path.relative_to(work) for path in files]
    for target in targets:
        if target.exists():
            advice = "give another folder, seed, condition or split"
            raise CamsegError(f"{target} is there already; {advice}")
    for path, target in zip(files, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


def write_contact_sheet(
    path: Path, seed: int, size: tuple[int, int] = (320, 160), frames: tuple[int, ...] = (27, 47)
) -> None:
    """Write a JPEG file: a column per condition, for each frame images above their class colours.

    ``size`` is width and height of one image in pixels; ``frames`` are the frames' indices.

    Raises:
        CamsegError: a value out of its range, or the file cannot be written.
    """
    rows = []
    drives = [SyntheticDrive(seed, *size, condition) for condition in CONDITIONS]
    for index in frames:
        shown = [drive.frame(index) for drive in drives]
        rows.append(np.hstack([frame.image for frame in shown]))
        rows.append(np.hstack([CITYSCAPES.color_image(frame.class_ids) for frame in shown]))
    write_bytes(path, encode_jpeg(np.vstack(rows)))
