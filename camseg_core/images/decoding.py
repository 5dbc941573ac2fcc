# SPDX-License-Identifier: Apache-2.0
"""Decoding of image files: by Pillow, one still picture of a stated size at most.

The file's header is read first: what would need more memory than it should is refused before it is
decoded. Files and messages come through here, so that a picture is the same wherever it came from.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.images.limits import MAX_IMAGE_MEGAPIXELS

FILE_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of the formats that files may have."""

PNG_END = b"IEND"
"""Name of the last part of a PNG file."""


class NotAnImageError(CamsegError):
    """The bytes are no whole image of a known format; they may be something else."""


def decode_image(
    content: bytes,
    formats: tuple[str, ...] = FILE_FORMATS,
    max_megapixels: float = MAX_IMAGE_MEGAPIXELS,
) -> UInt8:
    """Decode an image file to uint8: RGB [H, W, 3], or [H, W] if it is grey.

    Grey of 16 bits is cut to 8, transparency and a rotation note in the file are ignored.

    Args:
        content: the bytes of the file.
        formats: Pillow's names of the formats that it may have.
        max_megapixels: most pixels that it may have, in millions.

    Raises:
        NotAnImageError: the file is no whole image of these formats.
        CamsegError: the image is larger, is one of several pictures in the file, or has values of
            more than 16 bits. The text fits behind the name of the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's notes on odd files
            image = Image.open(io.BytesIO(content), formats=formats)
            check_size(image.height, image.width, max_megapixels)
            # A JPEG file may hold a small copy of itself, which Pillow counts as a picture.
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                raise CamsegError(
                    "holds several pictures (an animation, or pages); one is needed, so write each "
                    "to a file of its own"
                )
            image.load()
        if image.format == "PNG" and PNG_END not in content:
            raise EOFError  # Pillow is content with all pixels, whose checksum may be missing
    except CamsegError:
        raise
    except Image.DecompressionBombError:
        raise CamsegError(f"has far more than {max_megapixels:g} megapixels") from None
    except Exception:  # Pillow raises almost anything on damaged bytes
        raise NotAnImageError(
            f"is not an image: its {len(content)} bytes cannot be decoded (truncated, or of "
            f"another format than {', '.join(formats)})"
        ) from None
    if image.mode.startswith("I;16"):
        return np.ascontiguousarray(np.asarray(image) >> 8, np.uint8)
    if image.mode in ("I", "F"):
        raise CamsegError("has values of 32 bits; 8 or 16 are needed")
    return np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def check_size(height: int, width: int, max_megapixels: float = MAX_IMAGE_MEGAPIXELS) -> None:
    """Refuse an image that is too large to be decoded and segmented.

    Raises:
        CamsegError: it has more than ``max_megapixels`` million pixels.
    """
    if height * width > max_megapixels * 1e6:
        raise CamsegError(
            f"is {width} x {height} pixels; {max_megapixels:g} megapixels are the most"
        )
