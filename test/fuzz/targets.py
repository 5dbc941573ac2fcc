# SPDX-License-Identifier: Apache-2.0
"""What reads input of others, and how hostile input for it is made.

A target is called with a generator and an empty folder. It returns when the input was taken, and
raises one of `REFUSALS`, in one line, when it was refused. Anything else is a finding.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
import yaml
from dataset_trees import camvid, cityscapes, folder_pair
from made_bags import storage_file, write_bag, write_rosbag1
from mutations import NUMBERS, TEXTS, hostile_value, mutated_bytes, mutated_text, mutated_tree
from node_parts import parameter_values
from PIL import Image as PillowImage
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from camseg_core.data.check import check_tree
from camseg_core.data.image_list import read_list
from camseg_core.data.label_images import LabelFormat, read_ids
from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.sample import SampleMetadata
from camseg_core.diffusion.options import V_PROFILES
from camseg_core.errors import CamsegError
from camseg_core.images.decoding import decode_image
from camseg_core.images.reading import find_sources, read_frames
from camseg_core.labels import CITYSCAPES
from camseg_core.system.folders import files_below
from camseg_core.training.recipe import read_recipe
from camseg_core.weights.loading import load_model, random_model, save_model
from camseg_core.weights.published_format import read_autoencoder, read_transformer
from camseg_ros.bag.about import AboutDrive
from camseg_ros.bag.making.calibration import find_camera_info
from camseg_ros.bag.making.stamps import find_stamps
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.serialization import UnreadableMessageError
from camseg_ros.ground.camera_model import CameraModel
from camseg_ros.messages.images import BadFrameError, rgb_from_compressed, rgb_from_image
from camseg_ros.node.parameters import find_parameter
from camseg_ros.node.settings import camera_names, camera_settings, live_settings
from camseg_ros.replay.results.gates import read_gates

Target = Callable[[Random, Path], None]
REFUSALS = (CamsegError, BadFrameError, UnreadableMessageError)
ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "test" / "data"


def image_message(random: Random, folder: Path) -> None:
    """An image message whose size, step, encoding and data do not go together."""
    del folder
    height, width = random.choice((0, 1, 3, 24, 4096)), random.choice((0, 1, 2, 33, 4096))
    encoding = random.choice(
        ("rgb8", "bgra8", "mono8", "bayer_grbg8", "yuv422", "uyvy", "nv12", *TEXTS)
    )
    size = max(0, random.choice((0, 1, height * width * random.choice((1, 2, 3, 4)), 100_000)))
    message = Image()
    message.height, message.width = height, width
    message.encoding = encoding.encode("utf-8", "replace").decode()
    message.step = random.choice((0, 1, width, width * 3, width * 4 + 5, 2**32 - 1))
    message.is_bigendian = random.choice((0, 1, 255))
    message.data = array("B", bytes(min(size, 10**6)))
    if random.random() < 0.3:  # one that is right
        message.height, message.width, message.encoding, message.step = 24, 32, "rgb8", 100
        message.data = array("B", random.randbytes(2400))
    if random.random() < 0.1:
        message.height, message.width = random.choice(((2**32 - 1, 2**32 - 1), (2**31, 1)))
    pixels = rgb_from_image(message)
    assert pixels.shape == (message.height, message.width, 3)
    assert pixels.dtype == np.uint8


@cache
def _pictures() -> tuple[bytes, ...]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    made = []
    for mode in ("RGB", "L", "P", "1", "CMYK"):
        for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM"):
            buffer = io.BytesIO()
            try:
                PillowImage.fromarray(pixels).convert(mode).save(buffer, kind)
            except (OSError, KeyError):  # this format has no such mode
                continue
            made.append(buffer.getvalue())
    frames = [PillowImage.fromarray(pixels), PillowImage.fromarray(255 - pixels)]
    for kind in ("PNG", "GIF", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        made.append(buffer.getvalue())
    troubles = DATA / "troubles"
    made += [path.read_bytes() for path in sorted(troubles.iterdir()) if path.suffix != ".pth"]
    return tuple(made)


def _hostile_picture(random: Random) -> bytes:
    content = random.choice(_pictures())
    if random.random() < 0.1:
        return content
    if content.startswith(b"\x89PNG") and random.random() < 0.4:  # a true checksum of a lie
        size = [random.choice((0, 1, 32, 8000, 20_000, 2**31 - 1, 2**32 - 1)) for _ in range(2)]
        header = (
            b"IHDR"
            + struct.pack(">2I", *size)
            + bytes(
                (random.choice((1, 8, 16, 99)), random.randrange(8), 0, 0, random.choice((0, 1)))
            )
        )
        return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    return mutated_bytes(content, random)


def picture(random: Random, folder: Path) -> None:
    """Damaged pictures of all formats, with sizes that lie."""
    del folder
    pixels = decode_image(_hostile_picture(random))
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] in {(), (3,)}


def compressed_image(random: Random, folder: Path) -> None:
    """The same in compressed image messages, with any text as their format."""
    del folder
    text = random.choice(("jpeg", "png", "bgr8; jpeg compressed bgr8", "mono8; png", *TEXTS))
    message = CompressedImage(format=text.encode("utf-8", "replace").decode())
    message.data = array("B", _hostile_picture(random))
    pixels = rgb_from_compressed(message)
    assert pixels.shape[2] == 3


def label_image(random: Random, folder: Path) -> None:
    """A damaged PNG of class ids in a data set."""
    path = folder / "label.png"
    path.write_bytes(_hostile_picture(random))
    read_ids(path, LabelFormat("fuzz"))


def camera_info(random: Random, folder: Path) -> None:
    """A calibration of any numbers."""
    del folder
    numbers = [float(min(max(n, -1e308), 1e308)) if n == n else n for n in NUMBERS if n != 10**4000]
    info = CameraInfo(width=640, height=480, distortion_model="plumb_bob")
    info.k = [400.0, 0.0, 320.0, 0.0, 400.0, 240.0, 0.0, 0.0, 1.0]
    info.p = [400.0, 0.0, 320.0, 0.0, 0.0, 400.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.d = [random.choice(numbers) for _ in range(random.choice((0, 4, 5, 8, 12, 14, 1000)))]
    for field in (info.k, info.p, info.r):
        for _ in range(random.choice((0, 0, 1, 3))):
            field[random.randrange(len(field))] = random.choice((*numbers, float("nan")))
    info.width, info.height = random.choice(((640, 480), (0, 0), (2**32 - 1, 1)))
    info.distortion_model = random.choice(
        ("plumb_bob", "rational_polynomial", "equidistant", "", "x")
    )
    model = CameraModel.from_camera_info(info, rectified=random.random() < 0.5)
    places, _ = model.project(np.array([[0.0, 0.0, 5.0], [1.0, 2.0, -1.0], [3.0, 0.5, 1e-9]]))
    assert places.shape == (3, 2)


def parameters(random: Random, folder: Path) -> None:
    """Parameters of the right kind with any value, which rclpy has let through."""
    del folder
    values = parameter_values()
    for _ in range(random.choice((1, 2, 5))):
        name = random.choice(list(values))
        kind = type(values[name])
        if name in {"cameras", "outputs", "providers"}:
            values[name] = random.choice(([], ["front"], ["front", "front"], list(TEXTS[:3])))
            continue
        choices: dict[type, list[Any]] = {
            bool: [True, False],
            int: [n for n in NUMBERS if type(n) is int and abs(n) < 2**63],
            float: [float(n) for n in NUMBERS if isinstance(n, float)],
            str: [*TEXTS, "bicycle:0.5,road:2", "a:b:c", ",", ":"],
        }
        choices[list] = [[], list(TEXTS[:3]), ["mask", "mask"], ["road"], [0.0] * 6, [1.0]]
        value = random.choice(choices.get(kind, choices[list]))
        spec = find_parameter(name)
        if spec is not None and spec.lowest is not None and spec.highest is not None:
            value = min(max(value, spec.lowest), spec.highest) if value == value else spec.highest
        values[name] = value
    for name in camera_names(values):
        if f"{name}.transport" in values:
            camera_settings(name, values)
    live_settings(values, V_PROFILES, random.choice((None, CITYSCAPES)))


def _yaml(content: Any, random: Random) -> bytes:
    if random.random() < 0.1:
        lines = ["a0: &a0 [x, x]"]
        lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 30)]
        return "\n".join(lines).encode()
    of_text = random.random() < 0.3
    try:
        changed = content if of_text else mutated_tree(content, random)
        text = yaml.safe_dump(changed, sort_keys=False)
    except (ValueError, RecursionError):  # a number or a depth that cannot be written
        return b"[" * 5000
    return mutated_text(text, random) if of_text else text.encode("utf-8", "surrogatepass")


def label_set(random: Random, folder: Path) -> None:
    """A file of classes, their names and colours."""
    path = folder / "classes.yaml"
    path.write_bytes(_yaml(CITYSCAPES.to_dict(), random))
    found = find_label_set(path)
    assert 1 <= found.num_classes <= 255


def recipe(random: Random, folder: Path) -> None:
    """Settings of a training."""
    path = folder / "recipe.yaml"
    content = yaml.safe_load((ROOT / "config" / "training" / "demo.yaml").read_text())
    path.write_bytes(_yaml(content, random))
    read_recipe(path, [])


def gates(random: Random, folder: Path) -> None:
    """Limits that a replay has to keep."""
    path = folder / "gates.yaml"
    content = {
        "mean_iou": {"min": 0.5},
        "latency_p99_ms": {"max": 150},
        "class_iou": {"road": {"min": 0.9}},
    }
    path.write_bytes(_yaml(content, random))
    read_gates(path)


def about_drive(random: Random, folder: Path) -> None:
    """The description of a drive in a bag."""
    del folder
    content = json.loads(AboutDrive(CITYSCAPES, "cityscapes", "val").to_json())
    if random.random() < 0.3:
        text = mutated_text(json.dumps(content), random).decode("utf-8", "surrogateescape")
    else:
        text = _json(mutated_tree(content, random))
    AboutDrive.from_json(text)


def _json(content: Any) -> str:
    try:
        return json.dumps(content)
    except (ValueError, RecursionError):
        return "[" * 100_000


def times(random: Random, folder: Path) -> None:
    """The times of a drive's images."""
    lines = "\n".join(f"2011-09-26 13:02:2{n}.964389445" for n in range(3))
    (folder / "timestamps.txt").write_bytes(mutated_text(lines, random))
    find_stamps(folder, [folder / f"{n}.png" for n in range(3)])


def calibration(random: Random, folder: Path) -> None:
    """Calibration files beside a drive's images, of KITTI and of Cityscapes."""
    if random.random() < 0.5:
        values = "7.2e+02 0.0e+00 6.1e+02 4.5e+01 0.0 7.2e+02 1.7e+02 -3.0e-01 0.0 0.0 1.0 4.9e-03"
        lines = "\n".join(f"P{number}: {values}" for number in range(4))
        path = folder / "training" / "calib" / "0000.txt"
        sample = SampleMetadata("0.png", "kitti-step", "train", sequence="0000")
        content = mutated_text(lines, random)
    else:
        camera = {
            "extrinsic": {"baseline": 0.2, "pitch": 0.03},
            "intrinsic": {"fx": 2262.5, "fy": 2265.3, "u0": 1096.9, "v0": 513.1},
        }
        path = folder / "camera" / "a_camera.json"
        sample = SampleMetadata("leftImg8bit/a_leftImg8bit.png", "cityscapes", "val")
        content = _json(mutated_tree(camera, random)).encode("utf-8", "surrogatepass")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    find_camera_info(folder, sample, 24, 32)


def image_list(random: Random, folder: Path) -> None:
    """A list of a data set's images."""
    lines = "\n".join(f"./dataset/CityScapes/leftImg8bit/val/a/a_{n}.png" for n in range(4))
    path = folder / "list.txt"
    path.write_bytes(mutated_text(lines, random))
    read_list(random.choice(("list", "cityscapes", "folder")), folder, path)


@cache
def _weights(kind: str) -> bytes:
    if kind != "ours":
        return (DATA / "parity" / kind).read_bytes()
    path = Path(os.environ["FUZZ_FOLDER"]) / "ours.safetensors"
    save_model(random_model("tiny"), path)
    return path.read_bytes()


def our_weights(random: Random, folder: Path) -> None:
    """Our weights file: its header, its numbers, its tensors."""
    content = _weights("ours")
    (size,) = struct.unpack("<Q", content[:8])
    if random.random() < 0.4:
        changed = mutated_bytes(content[: size + 8], random) + content[size + 8 :]
    else:
        header = json.loads(content[8 : size + 8])
        if random.random() < 0.6:
            about = json.loads(header["__metadata__"]["camseg"])
            header["__metadata__"]["camseg"] = _json(mutated_tree(about, random))
        else:
            header = mutated_tree(header, random)
        text = _json(header).encode("utf-8", "surrogatepass")
        changed = struct.pack("<Q", len(text)) + text + content[size + 8 :]
    path = folder / "model.safetensors"
    path.write_bytes(changed)
    load_model(path)


def published_weights(random: Random, folder: Path) -> None:
    """The two published weights files: their archive, their pickle."""
    kind = random.choice(("transformer.pth", "vae.ckpt"))
    content = _weights(kind)
    if random.random() < 0.5 and zipfile.is_zipfile(io.BytesIO(content)):
        changed = _with_mutated_pickle(content, random)
    else:
        changed = mutated_bytes(content, random)
    path = folder / kind
    path.write_bytes(changed)
    if kind == "vae.ckpt":
        read_autoencoder(path)
    else:
        read_transformer(path)


def _with_mutated_pickle(content: bytes, random: Random) -> bytes:
    """Change the pickle inside an archive, with checksums that are right again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w") as changed:
        for entry in source.infolist():
            part = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                part = mutated_bytes(part, random)
            changed.writestr(entry.filename, part)
    return buffer.getvalue()


@cache
def _bags() -> tuple[Path, ...]:
    home = Path(os.environ["FUZZ_FOLDER"]) / "bags"
    return (
        write_bag(home / "mcap", 2),
        write_bag(home / "zstd", 2, compression="zstd"),
        write_bag(home / "sqlite", 2, storage="sqlite3"),
        write_rosbag1(home / "one.bag", 2, "lz4"),
    )


def bag(random: Random, folder: Path) -> None:
    """Bags of both systems: their files, and the description beside them."""
    source = random.choice(_bags())
    if source.is_file():
        path = folder / source.name
        path.write_bytes(mutated_bytes(source.read_bytes(), random))
    else:
        path = folder / "bag"
        path.mkdir()
        file, text = storage_file(source), (source / "metadata.yaml").read_bytes()
        content = file.read_bytes()
        if random.random() < 0.3:
            text = _yaml(yaml.safe_load(text), random)
        else:
            content = mutated_bytes(content, random)
        (path / file.name).write_bytes(content)
        if random.random() < 0.8:
            (path / "metadata.yaml").write_bytes(text)
    with open_bag(path) as opened:
        for message in opened.messages(opened.topics):
            with suppress(*REFUSALS):  # a damaged message costs itself
                message.decode()


@cache
def _videos() -> tuple[tuple[str, bytes], ...]:
    made = []
    for name, codec in (
        ("a.mp4", "h264"),
        ("a.avi", "mjpeg"),
        ("a.mkv", "mpeg4"),
        ("a.webm", "vp9"),
    ):
        path = Path(os.environ["FUZZ_FOLDER"]) / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height = 32, 24
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for index in range(6):
                pixels = np.random.default_rng(index).integers(0, 256, (24, 32, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
        made.append((name, path.read_bytes()))
    return tuple(made)


def video(random: Random, folder: Path) -> None:
    """Damaged videos of four containers."""
    name, content = random.choice(_videos())
    path = folder / name
    path.write_bytes(mutated_bytes(content, random))
    for source in find_sources(path):
        for frame in read_frames(source):
            assert frame.image.dtype == np.uint8


def tree(random: Random, folder: Path) -> None:
    """A data set's folders with pipes, devices, loops of links and odd names in them."""
    kind = random.choice(("cityscapes", "camvid", "folder"))
    root = folder / "root"
    {"cityscapes": cityscapes, "camvid": camvid, "folder": folder_pair}[kind](root)
    places = [path for path in root.rglob("*") if path.is_dir()] + [root]
    for number in range(random.choice((1, 3, 6))):
        home = random.choice(places)
        name = random.choice(("x.png", "._a.png", "a\nb.png", "\udcff.png", "loop", "val"))
        place = home / f"{number}{name}"
        if random.random() < 0.3 and (files := list(root.rglob("*.png"))):
            place = random.choice([path for path in files if not path.is_dir()] or [place])
            place.unlink(missing_ok=True)
        match random.randrange(6):
            case 0:
                os.mkfifo(place)
            case 1:
                place.symlink_to(random.choice(("/dev/zero", "/dev/stdin", "nowhere", ".", "..")))
            case 2:
                place.symlink_to(random.choice(places), target_is_directory=True)
            case 3:
                place.mkdir()
            case 4:
                place.write_bytes(random.choice((b"", b"x" * 100, _hostile_picture(random))))
            case 5:
                place.write_text("x") if place.suffix != ".png" else place.write_bytes(
                    _pictures()[0]
                )
    assert len(set(files_below(root))) == len(files_below(root)) < 100
    report = check_tree(kind, root)
    bad = [line for line in report.lines() if "\n" in line]
    assert not bad, bad
    find_sources(root)


def plain_values(random: Random, folder: Path) -> None:
    """Any plain value at all, as the description of a drive and as classes."""
    path = folder / "classes.yaml"
    path.write_bytes(_yaml([hostile_value(random)], random))
    find_label_set(path)


TARGETS: dict[str, tuple[Target, int]] = {
    "image messages": (image_message, 10),
    "compressed image messages": (compressed_image, 20),
    "pictures": (picture, 10),
    "label images": (label_image, 10),
    "camera_info": (camera_info, 10),
    "parameters": (parameters, 10),
    "label sets": (label_set, 5),
    "training recipes": (recipe, 4),
    "gates": (gates, 6),
    "descriptions of drives": (about_drive, 10),
    "plain values": (plain_values, 2),
    "times": (times, 10),
    "calibration files": (calibration, 6),
    "image lists": (image_list, 10),
    "our weights": (our_weights, 6),
    "published weights": (published_weights, 10),
    "bags": (bag, 15),
    "videos": (video, 10),
    "trees": (tree, 4),
}
"""Name -> what to call, and its share of the cases."""
