# SPDX-License-Identifier: Apache-2.0
"""How a synthetic frame is filed in the folders of Cityscapes, KITTI-STEP and ACDC.

Depth is written in the units of the data sets themselves: Cityscapes' disparity (16-bit PNG,
(value - 1) / 256 pixels, 0 = none, depth = fx * baseline / disparity) and, elsewhere, that of
the KITTI depth benchmark (16-bit PNG, value / 256 metres, 0 = none or from 255.99 m on).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from camseg_core.data.known_layouts import KITTI_TRAIN as TRAIN_SEQUENCES
from camseg_core.data.known_layouts import KITTI_VAL as VAL_SEQUENCES
from camseg_core.images.arrays import UInt8
from camseg_core.images.drawing import encode_png
from camseg_core.labels import CITYSCAPES
from camseg_core.synthetic.camera import Camera, cos_sin
from camseg_core.synthetic.drive import SyntheticFrame

BASELINE_M = 0.5
"""Distance to the second camera that a disparity needs; there is none, as depth is exact."""
REFERENCE_FOLDER = "fog"
"""Condition under which clear weather is filed in ACDC, as a reference of it."""
FIRST_SPARE_SEQUENCE = {"train": 1000, "val": 5000}
"""First number of the KITTI-STEP sequences beyond the official ones, by split."""


@dataclass(frozen=True)
class FrameKey:
    """What a frame is filed under: its drive, its sequence and its place in that, from 0."""

    seed: int
    condition: str
    split: str
    sequence: int
    frame: int


@dataclass(frozen=True)
class DriveLayout:
    """How one data set files a frame and, from its frames' cameras, a sequence.

    Both functions return the contents of files by their paths below the data set's folder, a
    frame's image first.
    """

    frame_files: Callable[[SyntheticFrame, FrameKey], dict[str, bytes]]
    sequence_files: Callable[[list[Camera], FrameKey], dict[str, bytes]] = lambda cameras, key: {}


LABEL_IDS = np.zeros(256, np.uint8)
"""Cityscapes' label id of each class id, uint8 [256]; 0, "unlabeled", where there is no class."""
LABEL_IDS[list(CITYSCAPES.source_ids.values())] = list(CITYSCAPES.source_ids)


def _encode_16_bit(values: NDArray[np.uint16]) -> bytes:
    return encode_png(cast(UInt8, values))  # the encoder takes both depths


def disparity_image(depth_m: NDArray[np.float32], focal_px: float) -> NDArray[np.uint16]:
    """Turn depth [H, W] into Cityscapes' disparity; 0 where it is infinite."""
    disparity = np.float32(focal_px * BASELINE_M) / depth_m
    values = np.clip(np.round(disparity * 256) + 1, 1, 65535)
    return np.where(np.isfinite(depth_m), values, 0).astype(np.uint16)


def depth_image(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Turn depth [H, W] into KITTI's: 1/256 metre, 0 where it does not fit."""
    known = np.where(depth_m < 65535 / 256, depth_m, 0)
    return np.asarray(np.round(known * 256), np.uint16)


def camera_json(camera: Camera) -> bytes:
    """Return a camera as Cityscapes describes it, and beside that its place in the world.

    ``intrinsic`` counts pixels from the centre of the first one, as Cityscapes does.
    """
    x, y, z = camera.position_m
    content = {
        "extrinsic": {
            "baseline": BASELINE_M, "pitch": camera.pitch_rad, "roll": 0.0, "yaw": 0.0,
            "x": 0.0, "y": 0.0, "z": z,
        },
        "intrinsic": {
            "fx": camera.focal_px, "fy": camera.focal_px,
            "u0": camera.center_x - 0.5, "v0": camera.center_y - 0.5,
        },
        "world": {"x": x, "y": y, "z": z, "yaw": camera.yaw_rad},
    }  # fmt: skip
    return json.dumps(content, indent=2).encode() + b"\n"


def instance_image(frame: SyntheticFrame) -> NDArray[np.uint16]:
    """Return Cityscapes' instance ids [H, W]: label id * 1000 + instance, or the label id alone."""
    label_ids = LABEL_IDS[frame.class_ids].astype(np.uint16)
    instances = label_ids * 1000 + frame.instance_ids % 1000
    return np.where(frame.instance_ids > 0, instances, label_ids).astype(np.uint16)


def _cityscapes_frame(frame: SyntheticFrame, key: FrameKey) -> dict[str, bytes]:
    city = f"{key.condition}{key.seed}"
    stem = f"{city}_{key.sequence:06d}_{key.frame:06d}"
    folder = f"{key.split}/{city}/{stem}"
    return {
        f"leftImg8bit/{folder}_leftImg8bit.png": encode_png(frame.image),
        f"gtFine/{folder}_gtFine_labelIds.png": encode_png(LABEL_IDS[frame.class_ids]),
        f"gtFine/{folder}_gtFine_instanceIds.png": _encode_16_bit(instance_image(frame)),
        f"disparity/{folder}_disparity.png": _encode_16_bit(
            disparity_image(frame.depth_m, frame.camera.focal_px)
        ),
        f"camera/{folder}_camera.json": camera_json(frame.camera),
    }


def kitti_sequence(split: str, sequence: int) -> str:
    """Return the name of a sequence: the split's official numbers first, then spare ones."""
    official = sorted(VAL_SEQUENCES if split == "val" else TRAIN_SEQUENCES)
    if sequence < len(official):
        return official[sequence]
    return f"{FIRST_SPARE_SEQUENCE[split] + sequence - len(official):04d}"


def _kitti_frame(frame: SyntheticFrame, key: FrameKey) -> dict[str, bytes]:
    name = f"{kitti_sequence(key.split, key.sequence)}/{key.frame:06d}.png"
    panoptic = np.dstack([frame.class_ids, frame.instance_ids >> 8, frame.instance_ids & 255])
    return {
        f"training/image_02/{name}": encode_png(frame.image),
        f"panoptic_maps/{key.split}/{name}": encode_png(panoptic.astype(np.uint8)),
        f"training/depth_02/{name}": _encode_16_bit(depth_image(frame.depth_m)),
    }


def _kitti_sequence_files(cameras: list[Camera], key: FrameKey) -> dict[str, bytes]:
    """Return one calibration, and the pose [right down ahead | position] of each frame by rows."""
    name = kitti_sequence(key.split, key.sequence)
    first = cameras[0]
    projection = [
        first.focal_px, 0.0, first.center_x - 0.5, 0.0,
        0.0, first.focal_px, first.center_y - 0.5, 0.0,
        0.0, 0.0, 1.0, 0.0,
    ]  # fmt: skip
    poses = []
    for camera in cameras:
        yaw_cos, yaw_sin = cos_sin(camera.yaw_rad)
        pitch_cos, pitch_sin = cos_sin(camera.pitch_rad)
        x, y, z = camera.position_m
        poses.append([
            yaw_cos, -pitch_sin * yaw_sin, pitch_cos * yaw_sin, x,
            -yaw_sin, -pitch_sin * yaw_cos, pitch_cos * yaw_cos, y,
            0.0, -pitch_cos, -pitch_sin, z,
        ])  # fmt: skip
    calibration, *lines = (
        " ".join(f"{value:.12e}" for value in values) + "\n" for values in (projection, *poses)
    )
    return {
        f"training/calib/{name}.txt": f"P2: {calibration}".encode(),
        f"training/pose_02/{name}.txt": "".join(lines).encode(),
    }


def _acdc_frame(frame: SyntheticFrame, key: FrameKey) -> dict[str, bytes]:
    condition, ref = (key.condition, "") if key.condition != "clear" else (REFERENCE_FOLDER, "_ref")
    drive = f"GOPR{key.seed:04d}{key.sequence:04d}"
    folder = f"{condition}/{key.split}{ref}/{drive}/{drive}_frame_{key.frame:06d}"
    return {
        f"rgb_anon/{folder}_rgb{ref}_anon.png": encode_png(frame.image),
        f"gt/{folder}_gt{ref}_labelIds.png": encode_png(LABEL_IDS[frame.class_ids]),
        f"depth/{folder}_depth{ref}.png": _encode_16_bit(depth_image(frame.depth_m)),
        f"camera/{folder}_camera{ref}.json": camera_json(frame.camera),
    }


DRIVE_LAYOUTS: Mapping[str, DriveLayout] = {
    "cityscapes": DriveLayout(_cityscapes_frame),
    "kitti-step": DriveLayout(_kitti_frame, _kitti_sequence_files),
    "acdc": DriveLayout(_acdc_frame),
}
"""Layouts by the names of their readers."""
