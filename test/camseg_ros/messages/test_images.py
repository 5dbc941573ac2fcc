# SPDX-License-Identifier: Apache-2.0
"""Conversion between messages and arrays: exact pixels, encodings, padding, what is refused."""

from __future__ import annotations

import importlib.util
import re
import struct
import sys
from array import array as byte_array
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from camseg_core.errors import CamsegWarning
from camseg_ros.messages import images as conversions
from camseg_ros.messages.images import (
    IMAGE_ENCODINGS,
    BadFrameError,
    array_from_image_message,
    image_message,
    rgb_from_compressed,
    rgb_from_image,
    stamp_ns,
)

BAYER_PATTERNS = {
    "bayer_rggb8": ("rg", "gb"),
    "bayer_bggr8": ("bg", "gr"),
    "bayer_gbrg8": ("gb", "rg"),
    "bayer_grbg8": ("gr", "bg"),
}
# Position of luma and of the two chroma values in the four bytes of two pixels.
YUV_ORDER = {
    "uyvy": "uyvy",
    "yuv422": "uyvy",
    "yuyv": "yuyv",
    "yuv422_yuy2": "yuyv",
}
COLOUR_ORDER = {"rgb8": "rgb", "bgr8": "bgr", "rgba8": "rgba", "bgra8": "bgra"}
# Order of the chroma below the luma.
PLANES = {"nv12": "uv", "nv21": "vu"}
BYTES_PER_PIXEL = {
    **dict.fromkeys(["mono8", "8UC1", *BAYER_PATTERNS, *PLANES], 1),
    "8UC3": 3,
    **dict.fromkeys(YUV_ORDER, 2),
    **{encoding: len(order) for encoding, order in COLOUR_ORDER.items()},
}
PADDING_BYTE = 0xEE

sizes = st.integers(1, 9)
layouts = st.fixed_dictionaries(
    {
        "padding": st.integers(0, 7),
        "last_row_padded": st.booleans(),
        "is_bigendian": st.integers(0, 1),
    }
)
seeds = st.integers(0, 2**32 - 1)


def packed(
    rows: NDArray[np.uint8],
    encoding: str,
    width: int,
    *,
    padding: int = 0,
    last_row_padded: bool = True,
    is_bigendian: int = 0,
) -> Image:
    """Build an image message from rows of bytes [H, row bytes]."""
    height, row_bytes = rows.shape
    if encoding in PLANES:
        height = height * 2 // 3
    padded = np.full((len(rows), row_bytes + padding), PADDING_BYTE, np.uint8)
    padded[:, :row_bytes] = rows
    file_bytes = padded.tobytes()
    if padding and not last_row_padded:
        file_bytes = file_bytes[:-padding]
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=is_bigendian)
    message.step = row_bytes + padding
    message.data = byte_array("B", file_bytes)
    return message


def colour_rows(rgb: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """Return RGB [H, W, 3] as rows of bytes in a colour encoding; alpha gets a value of its own."""
    alpha = np.full_like(rgb[..., :1], 77)
    planes = dict(zip("rgba", np.moveaxis(np.concatenate([rgb, alpha], axis=2), 2, 0), strict=True))
    pixels: NDArray[np.uint8] = np.stack([planes[name] for name in COLOUR_ORDER[encoding]], axis=2)
    return pixels.reshape(rgb.shape[0], -1)


def yuv_rows(y: int, u: int, v: int, height: int, width: int, encoding: str) -> NDArray[np.uint8]:
    """Return the rows of a one-coloured 4:2:2 image."""
    values = {"y": y, "u": u, "v": v}
    pair = [values[name] for name in YUV_ORDER[encoding]]
    return np.tile(np.array(pair, np.uint8), (height, width // 2))


def mosaic(colour: dict[str, int], height: int, width: int, encoding: str) -> NDArray[np.uint8]:
    """Return what a Bayer sensor sees of one colour, pixel by pixel."""
    pattern = BAYER_PATTERNS[encoding]
    return np.array(
        [[colour[pattern[y % 2][x % 2]] for x in range(width)] for y in range(height)], np.uint8
    )


def random_image(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Return an RGB image [H, W, 3] of noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def compressed(data: bytes, image_format: str) -> CompressedImage:
    message = CompressedImage(format=image_format)
    message.data = byte_array("B", data)
    return message


def encoded(extension: str, pixels: NDArray[Any], *parameters: int) -> bytes:
    done, data = cv2.imencode(extension, pixels, list(parameters))
    assert done
    return bytes(data)


def load_conversions(
    monkeypatch: pytest.MonkeyPatch, **modules: ModuleType | SimpleNamespace | None
) -> ModuleType:
    """Load a second copy of the module while these modules are others, or missing."""
    spec = importlib.util.spec_from_file_location("conversions_copy", conversions.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        for name, replacement in modules.items():
            patch.setitem(sys.modules, name, replacement)
        spec.loader.exec_module(module)
    return module


def conversions_with_bridge(monkeypatch: pytest.MonkeyPatch, convert: Any) -> ModuleType:
    """Load a copy whose cv_bridge converts by ``convert``."""
    bridge = SimpleNamespace(CvBridge=lambda: SimpleNamespace(imgmsg_to_cv2=convert))
    boost = SimpleNamespace(cvtColor2=None)
    return load_conversions(
        monkeypatch, **{"cv_bridge": bridge, "cv_bridge.boost.cv_bridge_boost": boost}
    )


TROUBLES = Path(__file__).parents[2] / "data" / "troubles"


# --- rgb_from_image: what comes out ---


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "rows"),
    [
        ("rgb8", [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]),
        ("bgr8", [[3, 2, 1, 6, 5, 4], [9, 8, 7, 12, 11, 10]]),
        ("rgba8", [[1, 2, 3, 99, 4, 5, 6, 99], [7, 8, 9, 99, 10, 11, 12, 99]]),
        ("bgra8", [[3, 2, 1, 99, 6, 5, 4, 99], [9, 8, 7, 99, 12, 11, 10, 99]]),
    ],
)
def test_colour_encodings_give_the_same_known_pixels(
    encoding: str, rows: list[list[int]], padding: int
) -> None:
    message = packed(np.array(rows, np.uint8), encoding, width=2, padding=padding)
    expected = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]
    assert rgb_from_image(message).tolist() == expected


@given(sizes, sizes, layouts, st.sampled_from(["mono8", *COLOUR_ORDER]), seeds)
@settings(deadline=None, max_examples=50)
def test_reading_a_packed_image_is_the_identity(
    height: int, width: int, layout: dict[str, int], encoding: str, seed: int
) -> None:
    image = random_image(height, width, seed)
    if encoding == "mono8":
        image[:] = image[..., :1]
    rows = image[..., 0] if encoding == "mono8" else colour_rows(image, encoding)
    np.testing.assert_array_equal(rgb_from_image(packed(rows, encoding, width, **layout)), image)


@pytest.mark.parametrize("encoding", BAYER_PATTERNS)
def test_bayer_mosaic_of_one_colour_gives_that_colour_everywhere(encoding: str) -> None:
    for height, width, padding in ((4, 6, 0), (5, 7, 3), (3, 3, 0)):
        rows = mosaic({"r": 200, "g": 120, "b": 40}, height, width, encoding)
        rgb = rgb_from_image(packed(rows, encoding, width, padding=padding))
        np.testing.assert_array_equal(rgb, np.full((height, width, 3), (200, 120, 40)))


@pytest.mark.parametrize(("corner", "expected"), [("r", [255, 0, 0]), ("b", [0, 0, 255])])
@pytest.mark.parametrize("encoding", BAYER_PATTERNS)
def test_bayer_keeps_a_single_lit_pixel_in_its_place(
    encoding: str, corner: str, expected: list[int]
) -> None:
    rows = np.zeros((10, 10), np.uint8)
    pattern = BAYER_PATTERNS[encoding]
    (y, x) = next((y, x) for y in (0, 1) for x in (0, 1) if pattern[y][x] == corner)
    y, x = y + 4, x + 4
    rows[y, x] = 255
    rgb = rgb_from_image(packed(rows, encoding, 10))
    assert rgb[y, x].tolist() == expected
    lit_rows, lit_columns = np.nonzero(rgb.any(axis=2))
    assert (lit_rows.min(), lit_rows.max()) == (y - 1, y + 1)
    assert (lit_columns.min(), lit_columns.max()) == (x - 1, x + 1)


@pytest.mark.parametrize(
    ("yuv", "expected"),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((126, 128, 128), (128, 128, 128)),
        # BT.601 codes of pure red, green and blue.
        ((82, 90, 240), (255, 0, 0)),
        ((145, 54, 34), (0, 255, 0)),
        ((41, 240, 110), (0, 0, 255)),
    ],
)
@pytest.mark.parametrize("encoding", YUV_ORDER)
def test_yuv422_gives_known_colours(
    encoding: str, yuv: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    for padding, last_row_padded in ((0, True), (6, True), (6, False)):
        rgb = rgb_from_image(
            packed(
                yuv_rows(*yuv, 3, 4, encoding),
                encoding,
                width=4,
                padding=padding,
                last_row_padded=last_row_padded,
            )
        )
        assert rgb.shape == (3, 4, 3)
        np.testing.assert_allclose(rgb.astype(int), np.full((3, 4, 3), expected), atol=2)


@pytest.mark.parametrize("encoding", ["uyvy", "yuyv"])
def test_yuv422_keeps_the_luma_of_each_pixel(encoding: str) -> None:
    lumas = iter([16, 235])
    pair = [next(lumas) if name == "y" else 128 for name in YUV_ORDER[encoding]]
    rgb = rgb_from_image(packed(np.array([pair], np.uint8), encoding, width=2))
    assert rgb.tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(("encoding", "order"), PLANES.items())
@pytest.mark.parametrize(("padding", "last_row_padded"), [(0, True), (6, True), (6, False)])
def test_planes_of_luma_and_chroma_give_the_pixels_of_opencv(
    encoding: str, order: str, padding: int, last_row_padded: bool
) -> None:
    luma = np.random.default_rng(2).integers(16, 236, (4, 6), np.uint8)
    chroma = {"u": np.array([[90, 54, 240], [128, 128, 128]], np.uint8),
              "v": np.array([[240, 34, 110], [128, 90, 128]], np.uint8)}  # fmt: skip
    below = np.stack([chroma[name] for name in order], axis=-1).reshape(2, 6)
    rows = np.concatenate([luma, below])
    message = packed(rows, encoding, 6, padding=padding, last_row_padded=last_row_padded)
    assert (message.height, message.width) == (4, 6)
    rgb = rgb_from_image(message)
    # Each pair of chroma belongs to 2 x 2 pixels: the same image as 4:2:2, row by row.
    columns = {name: plane.repeat(2, axis=0) for name, plane in chroma.items()}
    yuyv = np.stack([luma[:, ::2], columns["u"], luma[:, 1::2], columns["v"]], axis=-1)
    expected = rgb_from_image(packed(yuyv.reshape(4, 12), "yuyv", 6))
    np.testing.assert_allclose(rgb.astype(int), expected, atol=1)


def test_images_that_say_too_little_are_gray_or_bgr_and_the_second_is_told() -> None:
    gray = np.array([[7, 9]], np.uint8)
    assert rgb_from_image(packed(gray, "8UC1", 2)).tolist() == [[[7, 7, 7], [9, 9, 9]]]
    told = "encoding 8UC3 does not say the order of its colours, and is read as bgr8"
    raw = packed(np.array([[3, 2, 1]], np.uint8), "8UC3", 1)
    png = compressed(encoded(".png", np.array([[[3, 2, 1]]], np.uint8)), "8UC3; png compressed ")
    for read, message in ((rgb_from_image, raw), (rgb_from_compressed, png)):
        with pytest.warns(CamsegWarning, match=told):
            assert read(message).tolist() == [[[1, 2, 3]]]


@pytest.mark.filterwarnings("ignore:image encoding 8UC3")
@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("encoding", IMAGE_ENCODINGS)
def test_result_owns_its_memory_and_the_message_is_left_alone(encoding: str, padding: int) -> None:
    height = 6 if encoding in PLANES else 4
    rows = np.full((height, 4 * BYTES_PER_PIXEL[encoding]), 90, np.uint8)
    message = packed(rows, encoding, width=4, padding=padding)
    data = message.data[:]
    rgb = rgb_from_image(message)
    before = rgb.copy()
    assert (rgb.shape, rgb.dtype) == ((4, 4, 3), np.uint8)
    assert rgb.flags.c_contiguous
    assert rgb.flags.owndata
    assert rgb.flags.writeable
    assert message.data == data
    message.data[:] = byte_array("B", bytes(len(message.data)))
    np.testing.assert_array_equal(rgb, before)


# --- rgb_from_image: what is refused ---


def refusal(message: Image) -> str:
    """Return the one line that says why a message is refused."""
    with pytest.raises(BadFrameError) as caught:
        rgb_from_image(message)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "size", "rule"),
    [
        ({"width": 0, "height": 2}, 12, r"image size 0 x 2: .* at least 1"),
        ({"width": 2, "height": 0}, 12, r"image size 2 x 0: .* at least 1"),
        ({"is_bigendian": 2}, 12, "is_bigendian 2: must be 0 or 1"),
        ({"width": 3, "step": 0}, 0, r"step 0: .* 9, 3 pixels of 3 bytes \(rgb8\)"),
        ({"width": 3, "step": 8}, 16, r"step 8: .* 9, 3 pixels of 3 bytes \(rgb8\)"),
        # A size that no memory holds.
        (
            {"encoding": "mono8", "width": 2**31, "height": 2**32 - 1, "step": 2**31},
            10,
            "data of 10 bytes",
        ),
    ],
)
def test_a_message_that_contradicts_itself_is_refused(
    fields: dict[str, Any], size: int, rule: str
) -> None:
    given = {"width": 2, "height": 2, "step": 6, "encoding": "rgb8"} | fields
    assert re.match(f".*{rule}", refusal(Image(**given, data=bytes(size))))


# Besides those that are read, the whole list of sensor_msgs/image_encodings.hpp.
OTHER_ENCODINGS = {
    **dict.fromkeys(
        ["rgb16", "rgba16", "bgr16", "bgra16", "mono16", "bayer_rggb16", "bayer_bggr16",
         "bayer_gbrg16", "bayer_grbg16", *(f"16{sign}C{n}" for sign in "US" for n in "1234")],
        "has 16 bits a channel, not 8",
    ),
    **dict.fromkeys(
        [f"{kind}C{n}" for kind in ("8S", "32S", "32F", "64F") for n in "1234"],
        "holds no values of 0 to 255",
    ),
    **dict.fromkeys(["8UC2", "8UC4", "8UC"], "does not say what its channels are"),
    "nv24": "is a 4:4:4 image in planes, which is not read",
    **dict.fromkeys(["", "RGB8", "jpeg"], "is unknown"),
}  # fmt: skip


@pytest.mark.parametrize(("encoding", "reason"), OTHER_ENCODINGS.items())
def test_every_other_encoding_is_refused_by_name_raw_and_compressed(
    encoding: str, reason: str
) -> None:
    told = refusal(packed(np.zeros((2, 6), np.uint8), encoding, width=2))
    rule = f"image encoding {encoding!r} {reason}: must be one of {', '.join(IMAGE_ENCODINGS)}"
    assert told == rule
    content = encoded(".png", np.zeros((4, 4), np.uint8))
    with pytest.raises(BadFrameError) as caught:
        rgb_from_compressed(compressed(content, f"{encoding}; png compressed "))
    assert str(caught.value) == rule


# Three rows of 4 bytes with a step of 6: 18 bytes, or 16 without the last padding.
@pytest.mark.parametrize("size", [0, 12, 15, 16, 17, 18, 19, 24])
def test_only_the_last_rows_padding_may_be_missing(size: int) -> None:
    message = packed(np.full((3, 4), 8, np.uint8), "mono8", width=4, padding=2)
    message.data = byte_array("B", (message.data.tobytes() + bytes(6))[:size])
    if size in (16, 18):
        np.testing.assert_array_equal(rgb_from_image(message), np.full((3, 4, 3), 8))
    else:
        assert re.match(f".*data of {size} bytes: .* = 6 x 3 = 18, of which", refusal(message))


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("encoding", [*YUV_ORDER, *PLANES])
def test_odd_width_is_refused_where_neighbours_share_chroma(encoding: str, width: int) -> None:
    rows = np.zeros((3 if encoding in PLANES else 2, BYTES_PER_PIXEL[encoding] * width), np.uint8)
    message = packed(rows, encoding, width)
    assert refusal(message) == f"image width {width}: must be even for {encoding}"


def test_planes_of_another_height_are_refused() -> None:
    odd = Image(encoding="nv12", height=3, width=2, step=2, data=bytes(9))
    assert refusal(odd) == "image height 3: must be even for nv12"
    # Some drivers publish the rows of both planes as the height.
    rows = Image(encoding="nv12", height=6, width=2, step=2, data=bytes(12))
    assert refusal(rows).startswith(
        "image data of 12 bytes: must be step x 1.5 height = 2 x 9 = 18, of which only the last"
    )


@pytest.mark.parametrize("encoding", BAYER_PATTERNS)
def test_bayer_of_any_size_converts_or_is_refused(encoding: str) -> None:
    for height in range(1, 8):
        for width in range(1, 8):
            message = packed(np.full((height, width), 50, np.uint8), encoding, width)
            if min(height, width) >= 3:
                np.testing.assert_array_equal(
                    rgb_from_image(message), np.full((height, width, 3), 50)
                )
                continue
            rule = f"image size {width} x {height}: both must be at least 3 for {encoding}"
            assert refusal(message) == rule


# --- cv_bridge and OpenCV ---


@pytest.mark.parametrize(
    "error", [KeyError("('a', 'b')"), TypeError("no"), cv2.error("two\nlines")]
)
def test_cv_bridge_error_becomes_bad_frame(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_message: Image, _encoding: str) -> None:
        raise error

    copy = conversions_with_bridge(monkeypatch, fail)
    rule = "bgr8 image of 2 x 1: cannot be converted"
    with pytest.raises(copy.BadFrameError, match=rule) as caught:
        copy.rgb_from_image(packed(np.zeros((1, 6), np.uint8), "bgr8", width=2))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("encoding", ["uyvy", "yuyv", "bayer_grbg8"])
def test_opencv_error_becomes_bad_frame(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    def fail(*_arguments: object) -> None:
        raise cv2.error("scn is unsupported")

    monkeypatch.setattr(cv2, "cvtColor", fail)
    rows = np.zeros((4, 4 if encoding == "bayer_grbg8" else 8), np.uint8)
    with pytest.raises(BadFrameError, match=rf"{encoding} image of 4 x 4: .*scn is unsupported"):
        rgb_from_image(packed(rows, encoding, width=4))


@pytest.mark.parametrize(("padding", "is_bigendian"), [(0, 0), (3, 0), (0, 1)])
def test_cv_bridge_is_given_only_rows_without_padding_in_native_order(
    monkeypatch: pytest.MonkeyPatch, padding: int, is_bigendian: int
) -> None:
    seen: list[Image] = []

    def record(message: Image, _encoding: str) -> NDArray[np.uint8]:
        seen.append(message)
        return np.zeros((2, 2, 3), np.uint8)

    rows = np.arange(12, dtype=np.uint8).reshape(2, 6)
    message = packed(rows, "bgr8", 2, padding=padding, is_bigendian=is_bigendian)
    rgb = conversions_with_bridge(monkeypatch, record).rgb_from_image(message)
    by_bridge = not (padding or is_bigendian)
    assert seen == ([message] if by_bridge else [])
    assert rgb.any() == (not by_bridge)


@pytest.mark.filterwarnings("ignore:image encoding 8UC3")
@pytest.mark.parametrize("missing", ["cv_bridge", "cv_bridge.boost.cv_bridge_boost"])
def test_without_cv_bridge_the_results_are_the_same(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    alone = load_conversions(monkeypatch, **{missing: None})
    generator = np.random.default_rng(5)
    for encoding in IMAGE_ENCODINGS:
        for height, width, padding in [(6, 8, 0), (9, 10, 4), (3, 4, 1)]:
            row_bytes = width * BYTES_PER_PIXEL[encoding]
            rows = generator.integers(0, 256, (height, row_bytes), dtype=np.uint8)
            message = packed(rows, encoding, width, padding=padding)
            expected = rgb_from_image(message)
            result = alone.rgb_from_image(message)
            np.testing.assert_array_equal(result, expected)
            assert result.flags.owndata
            assert len(np.unique(result)) > 1


# --- rgb_from_compressed ---


@given(sizes, sizes, seeds)
@settings(deadline=None, max_examples=30)
def test_png_gives_the_exact_pixels(height: int, width: int, seed: int) -> None:
    image = random_image(height, width, seed)
    message = compressed(encoded(".png", image[..., ::-1]), "bgr8; png compressed bgr8")
    rgb = rgb_from_compressed(message)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    assert rgb.flags.owndata
    np.testing.assert_array_equal(rgb, image)


def test_jpeg_gives_the_colour() -> None:
    image = np.full((16, 24, 3), (200, 100, 30), np.uint8)
    message = compressed(encoded(".jpg", image[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, 98), "jpeg")
    rgb = rgb_from_compressed(message)
    assert rgb.shape == (16, 24, 3)
    np.testing.assert_allclose(rgb.astype(int), image, atol=3)


def test_exif_orientation_is_ignored() -> None:
    jpeg = encoded(".jpg", np.full((8, 16, 3), 90, np.uint8))
    # TIFF header, one entry: tag 0x0112 (orientation), a short, value 6 (turn by 90 degrees).
    tiff = b"MM\x00\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    segment = b"Exif\x00\x00" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    as_viewed = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert as_viewed.shape == (16, 8, 3), "the file must carry an orientation that OpenCV obeys"
    assert rgb_from_compressed(compressed(turned, "jpeg")).shape == (8, 16, 3)


@pytest.mark.parametrize(
    ("image_format", "pixels", "expected"),
    [
        ("mono8; png compressed mono8", [[0, 255]], [[[0, 0, 0], [255, 255, 255]]]),
        ("png", [[[3, 2, 1, 50]]], [[[1, 2, 3]]]),  # transparent
        ("bayer_unknown", [[7, 9]], [[[7, 7, 7], [9, 9, 9]]]),  # no encoding is stated so
        ("bayer_rggb8; png compressed bgr8", [[[3, 2, 1]]], [[[1, 2, 3]]]),  # colour after all
        *(
            (
                f"{encoding}; png compressed ",
                mosaic({"r": 200, "g": 120, "b": 40}, 4, 6, encoding),
                np.full((4, 6, 3), (200, 120, 40)),
            )
            for encoding in BAYER_PATTERNS
        ),
    ],
)
def test_what_a_png_holds_becomes_rgb(image_format: str, pixels: Any, expected: Any) -> None:
    message = compressed(encoded(".png", np.array(pixels, np.uint8)), image_format)
    np.testing.assert_array_equal(rgb_from_compressed(message), expected)


def test_compressed_bayer_mosaic_too_small_is_refused() -> None:
    message = compressed(encoded(".png", np.zeros((2, 5), np.uint8)), "bayer_rggb8; png compressed")
    with pytest.raises(BadFrameError, match="image size 5 x 2: both must be at least 3"):
        rgb_from_compressed(message)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "its 0 bytes cannot be decoded"),
        (b"not an image", "its 12 bytes cannot be decoded"),
        (encoded(".jpg", random_image(32, 32, 0))[:-40], "bytes cannot be decoded"),
        (encoded(".png", random_image(32, 32, 0))[:-40], "bytes cannot be decoded"),
    ],
)
def test_a_file_that_is_none_or_cut_is_refused(data: bytes, rule: str) -> None:
    with pytest.raises(BadFrameError, match=f"^compressed image of format 'jpeg' .*{rule}"):
        rgb_from_compressed(compressed(data, "jpeg"))


@pytest.mark.parametrize(
    ("image_format", "is_swapped"),
    [
        ("jpeg", False),
        ("rgb8; png compressed bgr8", False),
        ("bgr8; png compressed bgr8", False),
        ("rgb8; png compressed rgb8", True),
        ("bgra8; png compressed ", True),
        ("mono8; png compressed mono8", False),
    ],
)
def test_colours_are_swapped_where_image_transport_swaps_them(
    image_format: str, is_swapped: bool
) -> None:
    # compressed_image_transport's subscriber goes by "compressed bgr" in the format.
    message = compressed(encoded(".png", np.array([[[3, 2, 1]]], np.uint8)), image_format)
    expected = [[[3, 2, 1]]] if is_swapped else [[[1, 2, 3]]]
    np.testing.assert_array_equal(rgb_from_compressed(message), expected)


@pytest.mark.parametrize("image_format", ["png", "mono8; png compressed mono8"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_16_bits_a_channel_are_refused(image_format: str, channels: tuple[int, ...]) -> None:
    message = compressed(encoded(".png", np.zeros((4, 4, *channels), np.uint16)), image_format)
    with pytest.raises(BadFrameError, match="has 16 bits a channel; 8 are needed$"):
        rgb_from_compressed(message)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("a_badfilter_2.png", "holds several pictures|is not an image"),  # OpenCV 4.11 crashes
        ("bomb_20000_1bit.png", "has far more than 64 megapixels|is 20000 x 20000 pixels"),
        ("claim_32000.jpg", "has far more than 64 megapixels|is 32000 x 32000 pixels"),
    ],
)
def test_a_file_that_would_end_a_node_is_refused_before_it_is_decoded(name: str, rule: str) -> None:
    content = (TROUBLES / name).read_bytes()
    for image_format in ("png", "bgr8; jpeg compressed bgr8"):
        with pytest.raises(BadFrameError, match=rule):
            rgb_from_compressed(compressed(content, image_format))


@pytest.mark.parametrize("suffix", [".jp2", ".bmp", ".tiff", ".webp"])
def test_only_jpeg_and_png_are_read_from_messages(suffix: str) -> None:
    message = compressed(encoded(suffix, np.zeros((64, 64, 3), np.uint8)), "jpeg")
    with pytest.raises(BadFrameError, match="of another format than JPEG, PNG"):
        rgb_from_compressed(message)


def test_an_image_over_the_limit_is_refused_raw_and_compressed() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    rule = "is 200 x 100 pixels; 0.01 megapixels are the most$"
    raw = image_message(image, "rgb8", Header())
    small = compressed(encoded(".png", image), "png")
    assert rgb_from_image(raw, 0.02).shape == rgb_from_compressed(small, 0.02).shape == image.shape
    with pytest.raises(BadFrameError, match=rule):
        rgb_from_image(raw, 0.01)
    with pytest.raises(BadFrameError, match=rule):
        rgb_from_compressed(small, 0.01)


@pytest.mark.parametrize("text", ["x" * 10_000, "x" * 10_000 + "; png", "\n" * 9000])
def test_a_message_about_a_frame_is_short_whatever_the_frame_says(text: str) -> None:
    with pytest.raises(BadFrameError) as caught:
        rgb_from_compressed(compressed(b"none", text))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


# --- image_message ---


def a_header() -> Header:
    return Header(stamp=Time(sec=1_700_000_000, nanosec=987_654_321), frame_id="camera_left")


@pytest.mark.parametrize(
    ("encoding", "array", "step", "data"),
    [
        ("mono8", np.array([[1, 2, 3], [4, 5, 255]], np.uint8), 3, [1, 2, 3, 4, 5, 255]),
        ("rgb8", np.array([[[1, 2, 3]], [[4, 5, 6]]], np.uint8), 3, [1, 2, 3, 4, 5, 6]),
        ("8UC1", np.array([[[9], [8]]], np.uint8), 2, [9, 8]),
        ("8UC19", np.arange(38, dtype=np.uint8).reshape(1, 2, 19), 38, list(range(38))),
        ("32FC2", np.array([[[1.0, -2.0]]], np.float32), 8, [0, 0, 128, 63, 0, 0, 0, 192]),
    ],
)
def test_image_message_holds_these_bytes(
    encoding: str, array: NDArray[Any], step: int, data: list[int]
) -> None:
    message = image_message(array, encoding, a_header())
    assert (message.height, message.width) == array.shape[:2]
    assert message.encoding == encoding
    assert message.is_bigendian == 0
    assert message.step == step
    assert isinstance(message.data, byte_array)
    assert message.data.typecode == "B"
    assert message.data.tolist() == data


def test_image_message_has_the_header_and_shares_no_memory_with_the_array() -> None:
    array = np.full((2, 2), 5, np.uint8)
    message = image_message(array, "mono8", a_header())
    array[:] = 0
    assert message.header == a_header()
    assert message.data.tolist() == [5, 5, 5, 5]


def test_image_message_takes_any_memory_layout() -> None:
    whole = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert image_message(whole[::2, ::-3], "mono8", Header()).data.tolist() == [5, 2, 17, 14]
    assert image_message(whole[:2, :2].T, "mono8", Header()).data.tolist() == [0, 6, 1, 7]
    planes = np.array([[[1, 2]], [[3, 4]], [[5, 6]]], np.uint8)
    message = image_message(planes.transpose(1, 2, 0), "rgb8", Header())
    assert message.data.tolist() == [1, 3, 5, 2, 4, 6]
    swapped = np.array([[[1.0, -2.0]]], ">f4")
    message = image_message(swapped, "32FC2", Header())
    assert message.data.tolist() == [0, 0, 128, 63, 0, 0, 0, 192]


# --- array_from_image_message ---


@pytest.mark.parametrize("encoding", ["", "bgr8", "8UC", "8UC0", "8UC03", "8UC3 ", "32FC1"])
def test_unknown_output_encoding_is_refused(encoding: str) -> None:
    rule = rf"^output encoding '{encoding}': must be mono8, rgb8, 8UC<channels> or 32FC2$"
    with pytest.raises(BadFrameError, match=rule):
        array_from_image_message(packed(np.zeros((2, 6), np.uint8), encoding, width=2))


@given(sizes, sizes, st.sampled_from(["mono8", "rgb8", "8UC1", "8UC3", "8UC19", "32FC2"]), seeds)
@settings(deadline=None, max_examples=50)
def test_output_round_trip(height: int, width: int, encoding: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    channels = {"mono8": (), "rgb8": (3,), "8UC1": (1,), "8UC3": (3,), "8UC19": (19,)}
    array: NDArray[Any]
    if encoding == "32FC2":
        array = generator.normal(size=(height, width, 2)).astype(np.float32)
    else:
        shape = (height, width, *channels[encoding])
        array = generator.integers(0, 256, shape, dtype=np.uint8)
    result = array_from_image_message(image_message(array, encoding, Header()))
    assert result.dtype == array.dtype
    assert result.dtype.isnative
    assert result.flags.c_contiguous
    assert result.flags.owndata
    np.testing.assert_array_equal(result, array)


@given(sizes, sizes, layouts, st.sampled_from(["mono8", "32FC2"]), seeds)
@settings(deadline=None, max_examples=40)
def test_an_output_is_read_with_its_step_and_byte_order(
    height: int, width: int, layout: dict[str, int], encoding: str, seed: int
) -> None:
    values: NDArray[Any] = random_image(height, width, seed)[..., 0]
    rows = values
    if encoding == "32FC2":
        values = np.random.default_rng(seed).normal(size=(height, width, 2)).astype(np.float32)
        order = ">f4" if layout["is_bigendian"] else "<f4"
        rows = values.astype(order).reshape(height, -1).view(np.uint8)
    result = array_from_image_message(packed(rows, encoding, width, **layout))
    assert result.dtype == values.dtype
    np.testing.assert_array_equal(result, values)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("width", 0, "image size 0 x 1"),
        ("height", 0, "image size 2 x 0"),
        ("is_bigendian", 3, "is_bigendian 3: must be 0 or 1"),
        ("step", 15, r"step 15: must be at least 16, 2 pixels of 8 bytes \(32FC2\)"),
        ("height", 2, "data of 16 bytes: must be step x height = 16 x 2 = 32"),
        ("data", byte_array("B", bytes(20)), "data of 20 bytes"),
    ],
)
def test_output_reader_checks_the_message(field: str, value: object, rule: str) -> None:
    message = image_message(np.zeros((1, 2, 2), np.float32), "32FC2", Header())
    setattr(message, field, value)
    with pytest.raises(BadFrameError, match=rule):
        array_from_image_message(message)


# --- stamp_ns ---


def test_stamp_is_exact_in_nanoseconds() -> None:
    assert stamp_ns(a_header()) == 1_700_000_000_987_654_321
    assert stamp_ns(Header()) == 0
